"""Every trial as a row of the page's table, and as the text that a chart shows under the pointer."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

from pipeline.metrics import METRICS, known, text
from pipeline.record import TrialRecord
from pipeline.report import ALIKE, FrontReport, alike, interval_text

_FIRST = ("student", "quantize.scheme")  # parameters that stand before the figures


def trials_table(report: FrontReport) -> str:
    """Every trial, sortable; a click on a heading sorts, a second one turns the order."""
    there = {name for record in report.records for name in known(record.end, record.metrics)}
    figures = [name for name in METRICS if name in there]
    names = dict.fromkeys(name for record in report.records for name in record.candidate.flat())
    parameters = [*(name for name in _FIRST if name in names), *(name for name in names if name not in _FIRST)]
    heads = ["trial", "end", "front", ALIKE, *parameters[:2], *figures, *parameters[2:], "reason"]
    titles = "".join(f'<th title="{_tip(head)}"><button>{html.escape(head)}</button></th>' for head in heads)
    on_front = set(report.front_numbers)
    rows = [
        _row(record, record.number in on_front, alike(report, record.number), figures, parameters)
        for record in report.records
    ]
    return f"<table><thead><tr>{titles}</tr>{_teacher_row(report, heads)}</thead><tbody>{''.join(rows)}</tbody></table>"


def hover(report: FrontReport, record: TrialRecord) -> str:
    """HTML for the pointer: every parameter and every figure of a trial, with intervals."""
    place = "on the front" if record.number in report.front_numbers else "off the front"
    said = [f"<b>trial {record.number}</b>, {place}"]
    if others := alike(report, record.number):
        said.append(f"{ALIKE} {others}: a paired test cannot tell their {report.quality} from this one's")
    said += [f"{html.escape(name)}: {html.escape(str(value))}" for name, value in record.candidate.values]
    said.append("")
    for name, value in known(record.end, record.metrics).items():
        kind = f" ({record.energy_kind})" if name == "energy_mj" else ""
        said.append(f"{name}: {text(name, value)}{interval_text(name, record.intervals.get(name))}{html.escape(kind)}")
    return "<br>".join(said)


def _row(record: TrialRecord, on_front: bool, others: str, figures: Sequence[str], parameters: Sequence[str]) -> str:
    shown, flat = known(record.end, record.metrics), record.candidate.flat()
    cells = [_cell(record.number, str(record.number)), _cell(None, record.end), _cell(None, "●" if on_front else "")]
    cells.append(_cell(None, others))
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
    if head == ALIKE:
        return "front trials whose quality a paired test cannot tell from this one's"
    metric = METRICS.get(head)
    return html.escape(f"{metric.means}{f' ({metric.unit})' if metric.unit else ''}" if metric else head)
