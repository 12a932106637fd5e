"""The search as one page that needs no network: scatter, parallel coordinates, a table of every trial."""

from __future__ import annotations

import html
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from pipeline.arrays import fresh
from pipeline.metrics import METRICS, text
from pipeline.record import TrialRecord
from pipeline.report import FrontReport, footnotes, headline, interval_text
from pipeline.report_charts import parallel, scatter, shown_figures

_FIRST = ("student", "quantize.scheme")  # parameters that stand before the figures


def page(report: FrontReport) -> str:
    """The whole HTML page, plotly's library inside (about 5 MB)."""
    from plotly.offline import get_plotlyjs

    lines = "<p>This picture needs two complete trials.</p>"
    if len(report.complete) > 1:
        lines = _figure_html(parallel(report), "parallel")
    template = Template(files("pipeline").joinpath("templates/front.html.txt").read_text(encoding="utf-8"))
    return template.substitute(
        title=html.escape(report.name),
        headline=html.escape(headline(report)),
        teacher=html.escape(_teacher_line(report)),
        notes="\n".join(f"<p>{html.escape(note)}</p>" for note in footnotes(report)),
        plotly=get_plotlyjs(),
        scatter=_figure_html(scatter(report), "scatter"),
        parallel=lines,
        table=trials_table(report),
    )


def write_page(report: FrontReport, path: Path) -> None:
    """Write front.html, whole or not at all."""
    with fresh(path) as beside:
        beside.write_text(page(report), encoding="utf-8")


def trials_table(report: FrontReport) -> str:
    """Every trial, sortable; a click on a heading sorts, a second one turns the order."""
    figures = [name for name in METRICS if any(name in shown_figures(record) for record in report.records)]
    names = dict.fromkeys(name for record in report.records for name in record.candidate.flat())
    parameters = [*(name for name in _FIRST if name in names), *(name for name in names if name not in _FIRST)]
    heads = ["trial", "end", "front", *parameters[:2], *figures, *parameters[2:], "reason"]
    titles = "".join(f'<th title="{_tip(head)}"><button>{html.escape(head)}</button></th>' for head in heads)
    on_front = set(report.front_numbers)
    rows = [_row(record, record.number in on_front, figures, parameters) for record in report.records]
    return f"<table><thead><tr>{titles}</tr>{_teacher_row(report, heads)}</thead><tbody>{''.join(rows)}</tbody></table>"


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


def _row(record: TrialRecord, on_front: bool, figures: Sequence[str], parameters: Sequence[str]) -> str:
    shown, flat = shown_figures(record), record.candidate.flat()
    cells = [_cell(record.number, str(record.number)), _cell(None, record.end), _cell(None, "●" if on_front else "")]
    settings = [_cell(flat.get(name), _plain(flat.get(name))) for name in parameters]
    cells += [*settings[:2], *(_cell(shown.get(name), text(name, shown.get(name))) for name in figures), *settings[2:]]
    cells.append(_cell(None, record.reason or ""))
    return f'<tr class="{"front" if on_front else html.escape(record.end)}">{"".join(cells)}</tr>'


def _teacher_row(report: FrontReport, heads: Sequence[str]) -> str:
    known = {name: _cell(value, text(name, value)) for name, value in report.teacher.items() if name in METRICS}
    known["trial"] = _cell(None, "teacher")
    return f'<tr class="teacher">{"".join(known.get(head, "<td></td>") for head in heads)}</tr>'


def _cell(value: Any, shown: str) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    order = f' data-n="{value}"' if number else ""
    return f"<td{order}>{html.escape(shown)}</td>"


def _plain(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _tip(head: str) -> str:
    metric = METRICS.get(head)
    return html.escape(f"{metric.means}{f' ({metric.unit})' if metric.unit else ''}" if metric else head)
