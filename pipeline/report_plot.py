"""The front as one picture: quality over cost, the teacher a star, what dominates what a staircase.

matplotlib through its objects alone: pyplot keeps global state, and a search must not open windows.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from pipeline.metrics import METRICS
from pipeline.record import TrialRecord
from pipeline.report import FrontReport, energy_sentence

# Okabe and Ito's colours, which colour-blind readers can tell apart.
COLOURS = {
    "none": "#0072B2",
    "fp16": "#56B4E9",
    "dynamic_int8": "#D55E00",
    "static_int8": "#E69F00",
    "weight_int8": "#009E73",
}
OTHER_COLOUR = "#CC79A7"
MARKERS = ("o", "s", "^", "D", "v", "P", "h")
INK, FAINT, GRID = "#1c2733", "#a9b2bc", "#e8ebee"
LABELLED = 24  # numbers beside more points than this hide the points


def picture(report: FrontReport) -> bytes:
    """PNG of 1000 x 650 pixels."""
    figure = Figure(figsize=(10, 6.5), dpi=100, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.085, 0.2, 0.71, 0.66))
    cost = cost_axis(report)
    families = family_names(report)
    _frame(axes, report, cost)
    _trials(axes, report, cost, families)
    _teacher(axes, report, cost)
    _limits(axes, report, cost)
    _words(figure, report)
    _keys(axes, report, families)
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
    """Those of (cost, quality) that no other beats in both, by cost: the corners of the front's projection."""
    sign = -1 if maximize_cost else 1
    corners: list[tuple[float, float]] = []
    for point in sorted(points, key=lambda pair: (sign * pair[0], -pair[1])):
        if not corners or point[1] > corners[-1][1]:
            corners.append(point)
    return corners


def _points(report: FrontReport, records: Sequence[TrialRecord], cost: str) -> list[tuple[TrialRecord, float, float]]:
    found = ((record, record.metrics.get(cost), record.metrics.get(report.quality)) for record in records)
    return [(record, x, y) for record, x, y in found if x is not None and y is not None and x > 0]


def _frame(axes: Any, report: FrontReport, cost: str) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_locator(MaxNLocator(7))
    axes.grid(color=GRID, linewidth=1)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=9.5, length=0, which="both")
    unit = f" ({METRICS[cost].unit}, log scale)" if METRICS[cost].unit else " (log scale)"
    axes.set_xlabel(_title(cost) + unit, color=INK, fontsize=10.5, labelpad=7)
    axes.set_ylabel(f"{_title(report.quality)} on validation", color=INK, fontsize=10.5, labelpad=7)


def _title(name: str) -> str:
    known = {
        "latency_p50_ms": "median latency at batch 1",
        "energy_mj": "energy of one inference",
        "size_mb": "file size",
    }
    return known.get(name, name.replace("_", " "))


def _trials(axes: Any, report: FrontReport, cost: str, families: list[str]) -> None:
    on_front = set(report.front_numbers)
    rest = _points(report, [record for record in report.complete if record.number not in on_front], cost)
    best = _points(report, report.front, cost)
    marker = {family: MARKERS[index % len(MARKERS)] for index, family in enumerate(families)}
    for record, x, y in rest:
        axes.plot(
            x, y, marker[record.candidate.student], color=FAINT, markersize=5.5, alpha=0.55, markeredgewidth=0, zorder=2
        )
    corners = staircase([(x, y) for _, x, y in best], METRICS[cost].maximize)
    where = "pre" if METRICS[cost].maximize else "post"
    axes.plot(
        [x for x, _ in corners],
        [y for _, y in corners],
        color=INK,
        linewidth=1.3,
        alpha=0.55,
        drawstyle=f"steps-{where}",
        zorder=3,
    )
    for record, x, y in best:
        colour = COLOURS.get(record.precision, OTHER_COLOUR)
        low, high = record.intervals.get(report.quality, (y, y))
        axes.plot([x, x], [low, high], color=colour, linewidth=1.1, alpha=0.45, zorder=3)
        axes.plot(
            x,
            y,
            marker[record.candidate.student],
            color=colour,
            markersize=9.5,
            markeredgecolor="white",
            markeredgewidth=1.2,
            zorder=5,
        )
    _zoom(axes, report, cost, best, rest)
    if len(best) <= LABELLED:
        for record, x, y in best:
            axes.annotate(
                str(record.number), (x, y), (6, 6), textcoords="offset points", fontsize=8.5, color=INK, zorder=6
            )


def _zoom(axes: Any, report: FrontReport, cost: str, best: list[Any], rest: list[Any]) -> None:
    """Bounds by front and teacher: trials at chance would press everything of interest into one line."""
    levels = [y for _, _, y in best] + [report.teacher[name] for name in (report.quality,) if name in report.teacher]
    if not levels:
        return
    spans = [record.intervals.get(report.quality, (y, y)) for record, _, y in best]
    top = max([*levels, *(high for _, high in spans)])
    room = max(top - min(levels), 0.02)
    bottom = min(levels) - 0.22 * room
    axes.set_ylim(bottom, top + 0.1 * room)
    below = sum(y < bottom for _, _, y in rest)
    if below:
        said = f"{below} more {'trial' if below == 1 else 'trials'} below"
        axes.text(0.995, 0.015, f"↓ {said}", transform=axes.transAxes, ha="right", fontsize=8.5, color="#6b7682")


def _teacher(axes: Any, report: FrontReport, cost: str) -> None:
    x, y = report.teacher.get(cost), report.teacher.get(report.quality)
    if x is None or y is None:
        return
    axes.axhline(y, color=INK, linewidth=0.8, alpha=0.35, linestyle=(0, (1, 3)), zorder=1)
    axes.plot(x, y, "*", color="#F0C000", markersize=20, markeredgecolor=INK, markeredgewidth=0.9, zorder=7)
    axes.annotate("teacher", (x, y), (0, -17), textcoords="offset points", ha="center", fontsize=9, color=INK, zorder=7)


def _limits(axes: Any, report: FrontReport, cost: str) -> None:
    style = {"color": "#B3261E", "linewidth": 1.1, "linestyle": (0, (5, 3)), "alpha": 0.8, "zorder": 1}
    words = {
        "color": "#B3261E",
        "fontsize": 8.5,
        "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.8},
    }
    if cost in report.budget:
        limit = report.budget[cost]
        axes.axvline(limit, **style)
        across = axes.get_xaxis_transform()
        axes.text(limit, 1.012, f"limit {limit:g}", transform=across, ha="center", va="bottom", **words)
    if report.quality in report.budget:
        limit = report.budget[report.quality]
        axes.axhline(limit, **style)
        axes.text(0.006, limit, f"limit {limit:g}", transform=axes.get_yaxis_transform(), va="bottom", **words)


def _words(figure: Figure, report: FrontReport) -> None:
    count = len(report.front_numbers)
    title = f"{report.name}: {count} {'model' if count == 1 else 'models'} on the front"
    figure.text(0.085, 0.945, title, fontsize=15, fontweight="bold", color=INK)
    facts = f"{len(report.complete)} complete trials, measured on {report.target}, {report.created[:10]}. "
    facts += "Numbers are trials; bars are 95 % intervals; grey trials are dominated."
    figure.text(0.085, 0.908, facts, fontsize=9.5, color="#55606b")
    energy = energy_sentence(report.energy_kind, report.energy_boundary, report.energy_source)
    figure.text(0.085, 0.025, textwrap.fill(energy, 150), fontsize=8.5, color="#55606b", va="bottom", linespacing=1.35)


def _keys(axes: Any, report: FrontReport, families: list[str]) -> None:
    used = {record.precision for record in report.front}
    precisions = [name for name in COLOURS if name in used] + sorted(used - set(COLOURS))
    shapes = [_key(MARKERS[index % len(MARKERS)], "#6b7682", family) for index, family in enumerate(families)]
    colours = [_key("o", COLOURS.get(name, OTHER_COLOUR), "float32" if name == "none" else name) for name in precisions]
    for handles, title, top in ((shapes, "student", 1.0), (colours, "quantization", 0.94 - 0.062 * len(shapes))):
        legend = axes.legend(
            handles=handles,
            title=title,
            loc="upper left",
            bbox_to_anchor=(1.025, top),
            frameon=False,
            fontsize=9.5,
            alignment="left",
            borderpad=0,
            handletextpad=0.4,
            labelcolor=INK,
        )
        legend.get_title().set_fontweight("bold")
        legend.get_title().set_fontsize(9.5)
        axes.add_artist(legend)


def _key(marker: str, colour: str, label: str) -> Line2D:
    return Line2D([], [], marker=marker, color=colour, linestyle="none", markersize=8, label=label)
