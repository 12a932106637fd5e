"""The search as one page that needs no network: scatter, parallel coordinates, a table of every trial."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from pipeline.arrays import fresh
from pipeline.metrics import METRICS, text
from pipeline.record import TrialRecord
from pipeline.report import FrontReport, footnotes, headline, interval_text
from pipeline.report_plot import (
    COLOURS,
    FAINT,
    INK,
    OTHER_COLOUR,
    STAR,
    cost_axis,
    family_names,
    precision_title,
    staircase,
)
from pipeline.report_trials import hover, trials_table
from pipeline.thinned import thinned

SYMBOLS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "hexagon")
_TEXT_ONLY = "%{text}<extra></extra>"
_LOG_FROM = 20.0  # an axis whose largest value is this many times its smallest is drawn by logarithm
MOST_OTHERS = 2000  # trials off the front on the page: thousands more make a browser slow
_SHARED = 0.5  # parallel coordinates show parameters that at least this share of the trials have


def page(report: FrontReport) -> str:
    """The whole HTML page, plotly's library inside (about 5 MB)."""
    from plotly.offline import get_plotlyjs

    drawn = shown(report)
    notes = [*footnotes(report), *_left_out(report, drawn), *report.footprint.get("sentences", ())]
    lines = "<p>This picture needs two complete trials.</p>"
    if len(drawn.complete) > 1:
        lines = _figure_html(parallel(drawn), "parallel")
    template = Template(files("pipeline").joinpath("templates/front.html.txt").read_text(encoding="utf-8"))
    return template.substitute(
        title=html.escape(report.name),
        headline=html.escape(headline(report)),
        teacher=html.escape(_teacher_line(report)),
        notes="\n".join(f"<p>{html.escape(note)}</p>" for note in notes),
        plotly=get_plotlyjs(),
        scatter=_figure_html(scatter(drawn), "scatter"),
        parallel=lines,
        table=trials_table(drawn),
    )


def shown(report: FrontReport) -> FrontReport:
    """The report with the front and few enough of the other trials for a browser, spread evenly over the search."""
    on_front = set(report.front_numbers)
    others = thinned([record for record in report.records if record.number not in on_front], MOST_OTHERS)
    return replace(report, records=sorted([*report.front, *others], key=lambda record: record.number))


def _left_out(report: FrontReport, drawn: FrontReport) -> list[str]:
    others = len(report.records) - len(report.front_numbers)
    few = len(drawn.records) - len(report.front_numbers)
    said = f"This page shows the front and {few} of the {others} other trials, spread evenly over the search"
    return [f"{said}; all of them are in MLflow: niwaki ui {report.name}"] if few < others else []


def write_page(report: FrontReport, path: Path) -> None:
    """Write front.html, whole or not at all."""
    with fresh(path) as beside:
        beside.write_text(page(report), encoding="utf-8")


def scatter(report: FrontReport) -> Any:
    """Quality over a cost that the reader chooses; hovering shows everything of a trial."""
    import plotly.graph_objects as go

    costs = _cost_choices(report)
    on_front = set(report.front_numbers)
    used = {record.precision for record in report.front}
    precisions = [scheme for scheme in COLOURS if scheme in used] + sorted(used - set(COLOURS))
    groups = [("off the front", FAINT, [record for record in report.complete if record.number not in on_front])]
    for scheme in precisions:
        members = [record for record in report.front if record.precision == scheme]
        groups.append((f"front, {precision_title(scheme)}", COLOURS.get(scheme, OTHER_COLOUR), members))
    figure = go.Figure()
    line = {"shape": "hv", "color": INK, "width": 1.2}
    figure.add_scatter(mode="lines", line=line, opacity=0.5, hoverinfo="skip", showlegend=False)
    for name, colour, members in groups:
        figure.add_trace(_markers(report, name, colour, members))
    figure.add_trace(_star(report))
    places = {cost: _places(report, cost, [members for _, _, members in groups]) for cost in costs}
    for trace, x, y in zip(figure.data, *places[costs[0]], strict=True):
        trace.x, trace.y = x, y
    _lay_out(figure, report.quality, places)
    return figure


def parallel(report: FrontReport) -> Any:
    """Parameters and objectives of every complete trial, one line each, coloured by quality."""
    import plotly.graph_objects as go

    records = report.complete
    flats = [record.candidate.flat() for record in records]
    axes = [_dimension(name, [flat.get(name) for flat in flats]) for name in _parameters(records)]
    axes += [_dimension(name, [record.metrics.get(name) for record in records]) for name in report.objectives]
    quality = [record.metrics.get(report.quality, math.nan) for record in records]
    bar = {"title": {"text": report.quality}, "thickness": 14}
    line = {"color": quality, "colorscale": "Viridis", "showscale": True, "colorbar": bar}
    figure = go.Figure(go.Parcoords(dimensions=axes, line=line, labelangle=-18, labelside="top"))
    margin = {"l": 70, "r": 40, "t": 110, "b": 30}
    return figure.update_layout(height=440, margin=margin, font={"size": 11, "color": INK})


def _markers(report: FrontReport, name: str, colour: str, records: Sequence[TrialRecord]) -> Any:
    import plotly.graph_objects as go

    families, front = family_names(report), name != "off the front"
    shapes = [SYMBOLS[families.index(record.candidate.student) % len(SYMBOLS)] for record in records]
    marker: dict[str, Any] = {
        "color": colour,
        "size": 13 if front else 8,
        "symbol": shapes,
        "opacity": 1 if front else 0.6,
    }
    marker["line"] = {"width": 1.5 if front else 0, "color": "white"}
    said = [hover(report, record) for record in records]
    return go.Scatter(mode="markers", name=name, marker=marker, text=said, hovertemplate=_TEXT_ONLY)


def _star(report: FrontReport) -> Any:
    import plotly.graph_objects as go

    figures = [f"{name}: {text(name, report.teacher[name])}" for name in METRICS if name in report.teacher]
    said = "<br>".join(["<b>teacher</b>", *figures])
    marker = {"symbol": "star", "size": 20, "color": STAR, "line": {"width": 1, "color": INK}}
    return go.Scatter(mode="markers", name="teacher", marker=marker, text=[said], hovertemplate=_TEXT_ONLY)


def _places(report: FrontReport, cost: str, groups: Sequence[Sequence[TrialRecord]]) -> tuple[list[Any], list[Any]]:
    """The x and the y of each trace, where `cost` is the horizontal axis: staircase, groups, teacher."""
    quality = report.quality
    pairs = [(record.metrics.get(cost), record.metrics.get(quality)) for record in report.front]
    corners = staircase([(x, y) for x, y in pairs if x is not None and y is not None], METRICS[cost].maximize)
    xs = [[x for x, _ in corners], *([record.metrics.get(cost) for record in members] for members in groups)]
    ys = [[y for _, y in corners], *([record.metrics.get(quality) for record in members] for members in groups)]
    return [*xs, [report.teacher.get(cost)]], [*ys, [report.teacher.get(quality)]]


def _lay_out(figure: Any, quality: str, places: Mapping[str, tuple[list[Any], list[Any]]]) -> None:
    buttons = [
        {"label": cost, "method": "update", "args": [{"x": x, "y": y}, {"xaxis.title.text": cost}]}
        for cost, (x, y) in places.items()
    ]
    menu = {"buttons": buttons, "x": 1.0, "xanchor": "right", "y": 1.02, "yanchor": "bottom", "bgcolor": "white"}
    axis = {"gridcolor": "#e8ebee", "zeroline": False, "linecolor": FAINT}
    ticks = [step * 10.0**power for power in range(-6, 7) for step in (1, 2, 5)]
    figure.update_layout(
        height=540,
        template="none",
        font={"color": INK},
        margin={"l": 70, "r": 40, "t": 50, "b": 60},
        modebar={"orientation": "v"},
        updatemenus=[menu] if len(buttons) > 1 else [],
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        xaxis={**axis, "type": "log", "title": {"text": next(iter(places))}, "tickvals": ticks},
        yaxis={**axis, "title": {"text": f"{quality} on validation"}},
        hoverlabel={"align": "left", "bgcolor": "white", "font": {"color": INK, "size": 12}},
    )


def _cost_choices(report: FrontReport) -> list[str]:
    costs = [name for name in report.objectives if not METRICS[name].quality]
    wanted = dict.fromkeys([cost_axis(report), *costs, "latency_p50_ms", "size_mb"])
    known = [name for name in wanted if any(name in record.metrics for record in report.complete)]
    return known or [cost_axis(report)]


def _parameters(records: Sequence[TrialRecord]) -> list[str]:
    flats = [record.candidate.flat() for record in records]
    names = dict.fromkeys(["student", *(name for flat in flats for name in flat)])

    def worth(name: str) -> bool:
        values = [flat[name] for flat in flats if name in flat]
        return len(set(values)) > 1 and len(values) >= _SHARED * len(flats)

    return [name for name in names if worth(name)]


def _dimension(name: str, values: Sequence[Any]) -> dict[str, Any]:
    """One axis of the parallel coordinates; a trial without this parameter runs through a place of its own."""
    present = [value for value in values if value is not None]
    if any(isinstance(value, str | bool) for value in present):
        names = sorted({str(value) for value in values if value is not None}) + ["-"] * (None in values)
        places = [names.index("-" if value is None else str(value)) for value in values]
        return {"label": name, "values": places, "tickvals": list(range(len(names))), "ticktext": names}
    numbers = [float(value) for value in present]
    logarithmic = bool(numbers) and min(numbers) > 0 and max(numbers) > _LOG_FROM * min(numbers)
    scale = math.log10 if logarithmic else float
    ends = [scale(value) for value in numbers] or [0.0]
    low, high = min(ends), max(ends)
    aside = low - 0.15 * ((high - low) or 1)
    ticks = [low + (high - low) * step / 4 for step in range(5)] if high > low else [low]
    words = [f"{10**tick if logarithmic else tick:.3g}" for tick in ticks]
    if None in values:
        ticks, words = [aside, *ticks], ["-", *words]
    along = [aside if value is None else scale(float(value)) for value in values]
    return {"label": name, "values": along, "tickvals": ticks, "ticktext": words}


def _figure_html(figure: Any, name: str) -> str:
    from plotly.io import to_html

    # plotly's own default is a button that uploads the data to its maker's server.
    settings = {"displaylogo": False, "responsive": True, "showSendToCloud": False, "plotlyServerURL": ""}
    return str(to_html(figure, full_html=False, include_plotlyjs=False, div_id=name, config=settings))


def _teacher_line(report: FrontReport) -> str:
    names = dict.fromkeys([report.quality, *report.objectives, "size_mb"])
    figures = [
        f"{name} {text(name, report.teacher[name])}{interval_text(name, report.teacher_intervals.get(name))}"
        for name in names
        if name in report.teacher
    ]
    return f"Teacher: {', '.join(figures)}."
