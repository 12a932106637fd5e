"""The front as one picture: quality over cost, the teacher a star, what dominates what a staircase.

matplotlib through its objects alone: pyplot keeps global state, and a search must not open windows.
"""

from __future__ import annotations

import io
import logging
import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from pipeline.energy_words import energy_sentence
from pipeline.metrics import METRICS
from pipeline.record import TrialRecord
from pipeline.report import ALIKE, FrontReport, alike

# A machine's first picture makes matplotlib list the fonts, which it tells whoever listens: no news for a search.
logging.getLogger("matplotlib.font_manager").setLevel(logging.WARNING)

# Okabe and Ito's colours, which colour-blind readers can tell apart.
COLOURS = {
    "none": "#0072B2",
    "fp16": "#56B4E9",
    "dynamic_int8": "#D55E00",
    "static_int8": "#E69F00",
    "weight_int8": "#009E73",
    "qat_int8": "#CC79A7",
}
OTHER_COLOUR = "#7F7F7F"
INK, SOFT, FAINT, GRID, STAR, LIMIT = "#1c2733", "#55606b", "#a9b2bc", "#e8ebee", "#F0C000", "#B3261E"
MARKERS = ("o", "s", "^", "D", "v", "P", "h")
TIES_LISTED = 8  # more would run into the keys above
LABELLED = 24  # numbers beside more points than this hide the points

_TITLES = {
    "latency_p50_ms": "median latency at batch 1",
    "energy_mj": "energy of one inference",
    "size_mb": "file size",
}
_Point = tuple[TrialRecord, float, float]  # record, cost, quality


def picture(report: FrontReport) -> bytes:
    """PNG of 1000 x 650 pixels."""
    figure = Figure(figsize=(10, 6.5), dpi=100, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.085, 0.18, 0.71, 0.68))
    cost = cost_axis(report)
    markers = {name: MARKERS[index % len(MARKERS)] for index, name in enumerate(family_names(report))}
    on_front = set(report.front_numbers)
    best = _points(report, report.front, cost)
    rest = _points(report, [record for record in report.complete if record.number not in on_front], cost)
    _frame(axes, report.quality, cost)
    _dominated(axes, rest, markers)
    _front(axes, report, cost, best, markers)
    _zoom(axes, report, best, rest)
    _teacher(axes, report, cost)
    _limits(axes, report, cost)
    _words(figure, report)
    _keys(axes, report, markers)
    _ties(figure, report)
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()


def cost_axis(report: FrontReport) -> str:
    """The metric on the horizontal axis: a latency objective, else the first objective that is no quality."""
    costs = [name for name in report.objectives if not METRICS[name].quality]
    return next((name for name in costs if name.startswith("latency")), costs[0] if costs else "latency_p50_ms")


def family_names(report: FrontReport) -> list[str]:
    """Student families of the complete trials, in a fixed order, so that each keeps its marker."""
    return sorted({record.candidate.student for record in report.complete})


def staircase(points: Sequence[tuple[float, float]], maximize_cost: bool = False) -> list[tuple[float, float]]:
    """Those of (cost, quality) that no other beats in both, from the best cost on: the corners of the projection."""
    sign = -1 if maximize_cost else 1
    corners: list[tuple[float, float]] = []
    for point in sorted(points, key=lambda pair: (sign * pair[0], -pair[1])):
        if not corners or point[1] > corners[-1][1]:
            corners.append(point)
    return corners


def _points(report: FrontReport, records: Sequence[TrialRecord], cost: str) -> list[_Point]:
    found = ((record, record.metrics.get(cost), record.metrics.get(report.quality)) for record in records)
    return [(record, x, y) for record, x, y in found if x is not None and y is not None and x > 0]


def _frame(axes: Any, quality: str, cost: str) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_locator(MaxNLocator(7))
    axes.grid(color=GRID, linewidth=1)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=9.5, length=0, which="both")
    unit = f"{METRICS[cost].unit}, " if METRICS[cost].unit else ""
    axes.set_xlabel(f"{_title(cost)} ({unit}log scale)", color=INK, fontsize=10.5, labelpad=7)
    axes.set_ylabel(f"{_title(quality)} on validation", color=INK, fontsize=10.5, labelpad=7)


def _title(name: str) -> str:
    return _TITLES.get(name, name.replace("_", " "))


def _dominated(axes: Any, rest: Sequence[_Point], markers: dict[str, str]) -> None:
    style = {"color": FAINT, "markersize": 5.5, "alpha": 0.6, "markeredgewidth": 0, "linestyle": "none", "zorder": 2}
    for student, marker in markers.items():  # one artist a family: one a trial takes seconds for thousands
        places = [(x, y) for record, x, y in rest if record.candidate.student == student]
        axes.plot([x for x, _ in places], [y for _, y in places], marker=marker, **style)


def _front(axes: Any, report: FrontReport, cost: str, best: Sequence[_Point], markers: dict[str, str]) -> None:
    corners = staircase([(x, y) for _, x, y in best], METRICS[cost].maximize)
    steps = {"drawstyle": "steps-post", "color": INK, "linewidth": 1.3, "alpha": 0.5, "zorder": 3}
    axes.plot([x for x, _ in corners], [y for _, y in corners], **steps)
    halo = [withStroke(linewidth=2.5, foreground="white")]
    for record, x, y in best:
        colour = COLOURS.get(record.precision, OTHER_COLOUR)
        low, high = record.intervals.get(report.quality, (y, y))
        axes.plot([x, x], [low, high], color=colour, linewidth=1.2, alpha=0.4, zorder=3)
        style = {"color": colour, "markersize": 9.5, "markeredgecolor": "white", "markeredgewidth": 1.2, "zorder": 5}
        axes.plot(x, y, markers[record.candidate.student], **style)
        if len(best) <= LABELLED:  # to the upper left: nothing on the front can be there
            place = {"xytext": (-5, 5), "textcoords": "offset points", "ha": "right", "fontsize": 8.5, "zorder": 6}
            axes.annotate(_name(report, record.number), (x, y), color=INK, path_effects=halo, **place)


def _name(report: FrontReport, number: int) -> str:
    """`4`, or `4≈` where there are others that cannot be told from it; `_ties` says which."""
    return f"{number}{ALIKE}" if alike(report, number) else str(number)


def _zoom(axes: Any, report: FrontReport, best: Sequence[_Point], rest: Sequence[_Point]) -> None:
    """Bounds by front and teacher: trials at chance would press everything of interest into one line."""
    levels = [end for record, _, y in best for end in (y, record.intervals.get(report.quality, (y, y))[1])]
    levels += [report.teacher[report.quality]] if report.quality in report.teacher else []
    if not levels:
        return
    room = max(max(levels) - min(levels), 0.02)
    bottom = min(levels) - 0.22 * room
    axes.set_ylim(bottom, max(levels) + 0.1 * room)
    below = sum(y < bottom for _, _, y in rest)
    if below:
        said = f"{below} more {'trial' if below == 1 else 'trials'} below ↓"
        axes.text(0.995, 0.015, said, transform=axes.transAxes, ha="right", fontsize=8.5, color=SOFT)


def _teacher(axes: Any, report: FrontReport, cost: str) -> None:
    x, y = report.teacher.get(cost), report.teacher.get(report.quality)
    if x is None or y is None:
        return
    axes.axhline(y, color=INK, linewidth=0.8, alpha=0.35, linestyle=(0, (1, 3)), zorder=1)
    axes.plot(x, y, "*", color=STAR, markersize=20, markeredgecolor=INK, markeredgewidth=0.9, zorder=7)
    axes.annotate("teacher", (x, y), (0, -18), textcoords="offset points", ha="center", fontsize=9, color=INK, zorder=7)


def _limits(axes: Any, report: FrontReport, cost: str) -> None:
    line = {"color": LIMIT, "linewidth": 1.1, "linestyle": (0, (5, 3)), "alpha": 0.8, "zorder": 1}
    halo = [withStroke(linewidth=3, foreground="white")]
    words = {"color": LIMIT, "fontsize": 8.5, "va": "bottom", "path_effects": halo}
    if cost in report.budget:
        limit = report.budget[cost]
        axes.axvline(limit, **line)
        axes.text(limit, 1.012, f"limit {limit:g}", transform=axes.get_xaxis_transform(), ha="center", **words)
    if report.quality in report.budget:
        limit = report.budget[report.quality]
        axes.axhline(limit, **line)
        axes.text(0.006, limit, f"limit {limit:g}", transform=axes.get_yaxis_transform(), **words)


def _words(figure: Figure, report: FrontReport) -> None:
    count = len(report.front_numbers)
    title = f"{report.name}: {count} {'model' if count == 1 else 'models'} on the front"
    figure.text(0.085, 0.945, title, fontsize=15, fontweight="bold", color=INK)
    facts = f"{len(report.complete)} complete trials, measured on {report.target}, {report.created[:10]}. "
    facts += "Numbers are trials; bars are 95 % intervals; grey trials are off the front."
    figure.text(0.085, 0.908, facts, fontsize=9.5, color=SOFT)
    energy = energy_sentence(report.energy_kind, report.energy_boundary, report.energy_source)
    caption = textwrap.fill(energy, 138)
    figure.text(0.085, 0.025, caption, fontsize=8.5, color=SOFT, va="bottom", linespacing=1.35)


def _keys(axes: Any, report: FrontReport, markers: dict[str, str]) -> None:
    used = {record.precision for record in report.front}
    precisions = [name for name in COLOURS if name in used] + sorted(used - set(COLOURS))
    shapes = [_key(marker, SOFT, name) for name, marker in markers.items()]
    colours = [_key("o", COLOURS.get(name, OTHER_COLOUR), precision_title(name)) for name in precisions]
    words: dict[str, Any] = {"fontsize": 9.5, "labelcolor": INK, "alignment": "left", "handletextpad": 0.4}
    words |= {"title_fontproperties": {"weight": "bold", "size": 9.5}, "frameon": False, "borderpad": 0}
    for handles, title, top in ((shapes, "student", 1.0), (colours, "quantization", 0.93 - 0.05 * len(shapes))):
        names = [str(handle.get_label()) for handle in handles]
        place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.025, top)}
        axes.add_artist(Legend(axes, handles, names, title=title, **place, **words))


def _ties(figure: Figure, report: FrontReport) -> None:
    """At the lower right: which points of the front a paired test cannot tell apart."""
    tied = [number for number in report.front_numbers if alike(report, number)]
    if not tied:
        return
    rows = [f"{number} {ALIKE} {alike(report, number, most=3)}" for number in tied[:TIES_LISTED]]
    rows += [f"and {len(tied) - TIES_LISTED} more"] if len(tied) > TIES_LISTED else []
    title = f"{ALIKE} {_title(report.quality)} not told\napart, paired test"
    place: dict[str, Any] = {"color": INK, "va": "bottom", "linespacing": 1.3}
    figure.text(0.819, 0.18, "\n".join(rows), fontsize=8.5, **place)
    figure.text(0.819, 0.195 + 0.0236 * len(rows), title, fontsize=9.5, fontweight="bold", **place)


def precision_title(scheme: str) -> str:
    """What a reader calls a quantization scheme."""
    return "float32" if scheme == "none" else scheme


def _key(marker: str, colour: str, label: str) -> Line2D:
    return Line2D([], [], marker=marker, color=colour, linestyle="none", markersize=8, label=label)
