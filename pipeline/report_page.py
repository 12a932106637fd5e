"""The search as one page that needs no network: scatter, parallel coordinates, a table of every trial."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from pipeline.arrays import fresh
from pipeline.metrics import METRICS, QUALITY, text
from pipeline.record import TrialRecord
from pipeline.report import FrontReport, footnotes, headline, interval_text
from pipeline.report_plot import COLOURS, FAINT, INK, OTHER_COLOUR, cost_axis, family_names, staircase

SYMBOLS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "hexagon")
_LOG_FROM = 20.0  # an axis whose largest value is this many times its smallest is drawn by logarithm
_SHARED = 0.5  # parallel coordinates show parameters that at least this share of the trials have


def page(report: FrontReport) -> str:
    """The whole HTML page, plotly's library inside (about 5 MB)."""
    from plotly.offline import get_plotlyjs

    template = Template(files("pipeline").joinpath("templates/front.html.txt").read_text(encoding="utf-8"))
    return template.substitute(
        title=html.escape(report.name),
        headline=html.escape(headline(report)),
        teacher=html.escape(_teacher_line(report)),
        notes="\n".join(f"<p>{html.escape(note)}</p>" for note in footnotes(report)),
        plotly=get_plotlyjs(),
        scatter=_figure_html(scatter(report), "scatter"),
        parallel=_figure_html(parallel(report), "parallel")
        if len(report.complete) > 1
        else "<p>Two complete trials make a picture.</p>",
        table=trials_table(report),
    )


def write_page(report: FrontReport, path: Path) -> None:
    """Write front.html, whole or not at all."""
    with fresh(path) as beside:
        beside.write_text(page(report), encoding="utf-8")


def scatter(report: FrontReport) -> Any:
    """Quality over a cost that the reader chooses; hovering shows everything of a trial."""
    import plotly.graph_objects as go

    costs = _cost_choices(report)
    figure = go.Figure()
    views: dict[str, list[list[float | None]]] = {cost: [] for cost in costs}
    heights: dict[str, list[list[float | None]]] = {cost: [] for cost in costs}

    def add(records: Sequence[TrialRecord], name: str, colour: str, front: bool) -> None:
        shapes = [SYMBOLS[family_names(report).index(record.candidate.student) % len(SYMBOLS)] for record in records]
        edge = {"width": 1.5 if front else 0, "color": "white"}
        marker = {
            "color": colour,
            "size": 13 if front else 8,
            "symbol": shapes,
            "opacity": 1 if front else 0.6,
            "line": edge,
        }
        hover = [_hover(report, record) for record in records]
        figure.add_scatter(mode="markers", name=name, marker=marker, text=hover, hovertemplate="%{text}<extra></extra>")
        for cost in costs:
            views[cost].append([record.metrics.get(cost) for record in records])
            heights[cost].append([record.metrics.get(report.quality) for record in records])

    _stairs(report, figure, views, heights)
    on_front = set(report.front_numbers)
    add([record for record in report.complete if record.number not in on_front], "dominated", FAINT, False)
    for precision in sorted(
        {record.precision for record in report.front}, key=lambda name: (name not in COLOURS, name)
    ):
        name = "float32" if precision == "none" else precision
        colour = COLOURS.get(precision, OTHER_COLOUR)
        add([record for record in report.front if record.precision == precision], f"front, {name}", colour, True)
    star = {"symbol": "star", "size": 20, "color": "#F0C000", "line": {"width": 1, "color": INK}}
    figure.add_scatter(
        mode="markers",
        name="teacher",
        marker=star,
        text=[_teacher_hover(report)],
        hovertemplate="%{text}<extra></extra>",
    )
    for cost in costs:
        views[cost].append([report.teacher.get(cost)])
        heights[cost].append([report.teacher.get(report.quality)])
    for trace, x, y in zip(figure.data, views[costs[0]], heights[costs[0]], strict=True):
        trace.x, trace.y = x, y
    _lay_out(figure, report, costs, views, heights)
    return figure


def parallel(report: FrontReport) -> Any:
    """Parameters and objectives of every complete trial, one line each, coloured by quality."""
    import plotly.graph_objects as go

    records = report.complete
    quality = [record.metrics.get(report.quality, math.nan) for record in records]
    dimensions = [
        _dimension(name, [record.candidate.flat().get(name) for record in records]) for name in _parameters(records)
    ]
    dimensions += [_dimension(name, [record.metrics.get(name) for record in records]) for name in report.objectives]
    line = {
        "color": quality,
        "colorscale": "Viridis",
        "showscale": True,
        "colorbar": {"title": {"text": report.quality}, "thickness": 14},
    }
    figure = go.Figure(go.Parcoords(dimensions=dimensions, line=line, labelangle=-18, labelside="top"))
    figure.update_layout(height=440, margin={"l": 60, "r": 40, "t": 110, "b": 30}, font={"size": 11, "color": INK})
    return figure


def trials_table(report: FrontReport) -> str:
    """Every trial, sortable; a click on a heading sorts, a second one turns the order."""
    figures = [name for name in METRICS if any(name in _shown(record) for record in report.records)]
    parameters = list(dict.fromkeys(name for record in report.records for name in record.candidate.flat()))
    heads = ["trial", "end", "front", *figures, *parameters, "reason"]
    on_front = set(report.front_numbers)
    rows = [_row(record, record.number in on_front, figures, parameters) for record in report.records]
    teacher = [_cell(None, "teacher"), _cell(None, ""), _cell(None, "")]
    teacher += [_cell(report.teacher.get(name), text(name, report.teacher.get(name))) for name in figures]
    first = f'<tr class="teacher">{"".join(teacher)}{"<td></td>" * (len(parameters) + 1)}</tr>'
    titles = "".join(
        f'<th title="{html.escape(_tip(head))}"><button type="button">{html.escape(head)}</button></th>'
        for head in heads
    )
    return f"<table><thead><tr>{titles}</tr>{first}</thead><tbody>{''.join(rows)}</tbody></table>"


def _stairs(report: FrontReport, figure: Any, views: Mapping[str, list[Any]], heights: Mapping[str, list[Any]]) -> None:
    for cost in views:
        pairs = [(record.metrics.get(cost), record.metrics.get(report.quality)) for record in report.front]
        corners = staircase([(x, y) for x, y in pairs if x is not None and y is not None], METRICS[cost].maximize)
        views[cost].append([x for x, _ in corners])
        heights[cost].append([y for _, y in corners])
    line = {"shape": "hv", "color": INK, "width": 1.2}
    figure.add_scatter(mode="lines", line=line, opacity=0.5, hoverinfo="skip", showlegend=False)


def _lay_out(
    figure: Any, report: FrontReport, costs: list[str], views: Mapping[str, Any], heights: Mapping[str, Any]
) -> None:
    buttons = [
        {
            "label": cost,
            "method": "update",
            "args": [{"x": views[cost], "y": heights[cost]}, {"xaxis.title.text": cost}],
        }
        for cost in costs
    ]
    menu = {"buttons": buttons, "x": 1.0, "xanchor": "right", "y": 1.02, "yanchor": "bottom", "bgcolor": "white"}
    axis = {"gridcolor": "#e8ebee", "zeroline": False, "linecolor": FAINT}
    figure.update_layout(
        height=540, template="none", font={"color": INK}, margin={"l": 70, "r": 20, "t": 50, "b": 60},
        updatemenus=[menu] if len(costs) > 1 else [], legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        xaxis={**axis, "type": "log", "title": {"text": costs[0]}, "dtick": "D2"},
        yaxis={**axis, "title": {"text": f"{report.quality} on validation"}},
        hoverlabel={"align": "left", "bgcolor": "white", "font": {"color": INK, "size": 12}},
    )  # fmt: skip


def _cost_choices(report: FrontReport) -> list[str]:
    wanted = [
        cost_axis(report),
        *(name for name in report.objectives if not METRICS[name].quality),
        "latency_p50_ms",
        "size_mb",
    ]
    known = [name for name in dict.fromkeys(wanted) if any(name in record.metrics for record in report.complete)]
    return known or wanted[:1]


def _figure_html(figure: Any, name: str) -> str:
    from plotly.io import to_html

    settings = {"displaylogo": False, "responsive": True}
    return str(to_html(figure, full_html=False, include_plotlyjs=False, div_id=name, config=settings))


def _hover(report: FrontReport, record: TrialRecord) -> str:
    place = "on the front" if record.number in report.front_numbers else "dominated"
    said = [f"<b>trial {record.number}</b>, {place}"]
    said += [f"{html.escape(name)}: {html.escape(str(value))}" for name, value in record.candidate.values]
    said.append("")
    for name, value in _shown(record).items():
        kind = f" ({record.energy_kind})" if name == "energy_mj" else ""
        said.append(f"{name}: {text(name, value)}{interval_text(name, record.intervals.get(name))}{html.escape(kind)}")
    return "<br>".join(said)


def _teacher_hover(report: FrontReport) -> str:
    figures = [f"{name}: {text(name, report.teacher[name])}" for name in METRICS if name in report.teacher]
    return "<br>".join(["<b>teacher</b>", *figures])


def _teacher_line(report: FrontReport) -> str:
    names = dict.fromkeys([report.quality, *report.objectives, "size_mb"])
    figures = [
        f"{name} {text(name, report.teacher[name])}{interval_text(name, report.teacher_intervals.get(name))}"
        for name in names
        if name in report.teacher
    ]
    return f"Teacher: {', '.join(figures)}."


def _shown(record: TrialRecord) -> dict[str, float]:
    """A trial that did not end whole was never scored; what it carries for the sampler's sake is no quality."""
    whole = record.end == "complete"
    return {name: record.metrics[name] for name in METRICS if name in record.metrics and (whole or name not in QUALITY)}


def _parameters(records: Sequence[TrialRecord]) -> list[str]:
    flats = [record.candidate.flat() for record in records]
    names = dict.fromkeys(["student", *(name for flat in flats for name in flat)])

    def worth(name: str) -> bool:
        values = [flat[name] for flat in flats if name in flat]
        return len(set(values)) > 1 and len(values) >= _SHARED * len(flats)

    return [name for name in names if worth(name)]


def _dimension(name: str, values: Sequence[Any]) -> dict[str, Any]:
    """One axis of the parallel coordinates; a trial without this parameter runs through a place of its own, `none`."""
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
    places = [aside if value is None else scale(float(value)) for value in values]
    return {"label": name, "values": places, "tickvals": ticks, "ticktext": words}


def _row(record: TrialRecord, on_front: bool, figures: Sequence[str], parameters: Sequence[str]) -> str:
    shown, flat = _shown(record), record.candidate.flat()
    cells = [
        _cell(record.number, str(record.number)),
        _cell(None, record.end),
        _cell(int(on_front), "●" if on_front else ""),
    ]
    cells += [_cell(shown.get(name), text(name, shown.get(name))) for name in figures]
    cells += [_cell(flat.get(name), _plain(flat.get(name))) for name in parameters]
    cells.append(_cell(None, record.reason or ""))
    return f'<tr class="{"front" if on_front else html.escape(record.end)}">{"".join(cells)}</tr>'


def _cell(value: Any, shown: str) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    order = f' data-n="{value}"' if number else ""
    return f"<td{order}>{html.escape(shown)}</td>"


def _plain(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _tip(head: str) -> str:
    metric = METRICS.get(head)
    return f"{metric.means}{f' ({metric.unit})' if metric.unit else ''}" if metric else head
