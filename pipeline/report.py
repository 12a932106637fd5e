"""The front as a table, as lines, as JSON and as CSV. The picture is in `report_plot`, the page in `report_page`.

No figure without its interval where there is one, and no energy without its kind and boundary.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.arrays import fresh
from pipeline.energy_words import MARKS, energy_sentence
from pipeline.metrics import METRICS, text
from pipeline.record import TrialRecord, write_json
from pipeline.spreads import Spread, in_full, spread_text, spreads
from pipeline.statistics import wilson

if TYPE_CHECKING:
    from rich.table import Table


IN_FULL = "in full"  # mean and standard deviation over the finals that a trial has, or is one of
ALIKE = "≈"  # beside a trial: those that a paired test cannot tell from it


@dataclass(frozen=True)
class FrontReport:
    """What a report shows; figures are on validation unless they are in `test`.

    `indistinguishable` maps a front trial to those front trials whose quality a paired test cannot tell from its own.
    `test` holds the sealed figures: {"created", "rows", "teacher": {metric: value}, "trials": {"12": {metric: value}}}.
    """

    name: str
    objectives: Sequence[str]
    quality: str
    records: Sequence[TrialRecord]
    front_numbers: Sequence[int]
    teacher: Mapping[str, float]
    teacher_intervals: Mapping[str, tuple[float, float]]
    target: str
    energy_kind: str | None
    energy_boundary: str | None
    energy_source: str | None
    indistinguishable: Mapping[int, Sequence[int]]
    test: Mapping[str, Any] | None
    created: str
    budget: Mapping[str, float] = field(default_factory=dict)
    footprint: Mapping[str, Any] = field(default_factory=dict)  # of `pipeline.footprint`
    test_void: str | None = None  # why figures of the test split are there and are not shown

    @property
    def front(self) -> list[TrialRecord]:
        """The records on the front, in the order of `front_numbers`."""
        by_number = {record.number: record for record in self.records}
        return [by_number[number] for number in self.front_numbers]

    @cached_property
    def finals(self) -> dict[int, Spread]:
        """What the finals of a trial came to, by its number."""
        return spreads(self.records, self.quality)

    @property
    def complete(self) -> list[TrialRecord]:
        return [record for record in self.records if record.end == "complete"]


def headline(report: FrontReport) -> str:
    """Name, target, date and how the trials ended."""
    ends = Counter(record.end for record in report.records)
    named = ("refused", "stopped", "failed", "duplicate", "interrupted", "pending")
    others = ", ".join(f"{ends[end]} {end}" for end in named if ends[end])
    count = f"{len(report.front_numbers)} of {ends['complete']} complete trials on the front"
    return f"{report.name} on {report.target}, {report.created[:10]}: {count}{f' ({others})' if others else ''}"


def footnotes(report: FrontReport) -> list[str]:
    """The sentences without which the table would say more than is known."""
    mark = f"({MARKS[report.energy_kind]}) " if report.energy_kind in MARKS else ""
    notes = [
        mark + energy_sentence(report.energy_kind, report.energy_boundary, report.energy_source),
        f"[ ]: 95 % interval. Figures are on validation; speedup is against the teacher on {report.target}.",
    ]
    notes += _unreliable(report)
    if any(report.indistinguishable.get(number) for number in report.front_numbers):
        notes.append(f"{ALIKE}: front trials whose {report.quality} a paired test cannot tell from this one's.")
    if any(_in_full_cells(report)):
        notes.append(f"{IN_FULL}: mean, standard deviation and number of the finals; one seed's figure can be luck.")
    if report.test is not None:
        notes.append(f"test: {report.test['rows']} rows, scored once, {report.test['created'][:10]}; it chose nothing.")
    if report.test_void is not None:
        notes.append(f"test: {report.test_void}.")
    return notes


def _unreliable(report: FrontReport) -> list[str]:
    bad = [record.number for record in report.complete if record.unreliable]
    if not bad:
        return []
    few = f"{len(bad)} of {len(report.complete)} complete trials ({_others(bad)}) were timed while the machine was busy"
    if set(report.front_numbers) & set(bad):
        return [f"No trial on the front was timed on a quiet machine: its latencies are unreliable ({few})."]
    return [f"{few}; they are unreliable, and kept off the front."]


def alike(report: FrontReport, number: int, most: int = 4) -> str:
    """`2 7 9 11 +3`: the front trials that a paired test cannot tell from this one; empty where there is none."""
    return _others(report.indistinguishable.get(number, ()), most)


def columns(report: FrontReport) -> list[tuple[str, list[str]]]:
    """The table by column: heading, then a cell for the teacher and one for each front trial."""
    teacher, front = report.teacher, report.front
    values = [("teacher", teacher, report.teacher_intervals)]
    values += [(str(record.number), record.metrics, record.intervals) for record in front]
    figures = [metrics for _, metrics, _ in values]
    kinds = [report.energy_kind, *(record.energy_kind for record in front)]
    table = [
        ("trial", [name for name, _, _ in values]),
        ("student", ["-", *(record.candidate.student for record in front)]),
        ("scheme", ["none", *(record.precision for record in front)]),
        (report.quality, [_quality(report.quality, found, spans) for _, found, spans in values]),
        (IN_FULL, ["", *_in_full_cells(report)]),
        ("of teacher", [_share(found.get(report.quality), teacher.get(report.quality)) for found in figures]),
        ("p50", [text("latency_p50_ms", found.get("latency_p50_ms")) for found in figures]),
        ("speedup", [_speedup(found, spans) for _, found, spans in values]),
        ("energy", [_energy(found, kind) for found, kind in zip(figures, kinds, strict=True)]),
        ("size", [text("size_mb", found.get("size_mb")) for found in figures]),
        (ALIKE, ["", *(alike(report, record.number) for record in front)]),
    ]
    if report.test is not None:
        table.append(("test", _test_cells(report, report.test)))
    return [(head, cells) for head, cells in table if head not in ("energy", ALIKE, IN_FULL) or {*cells} - {"", "-"}]


def table(report: FrontReport) -> Table:
    """The front for a terminal, the teacher first, the footnotes as caption."""
    from rich.box import SIMPLE_HEAD
    from rich.console import JustifyMethod
    from rich.table import Table
    from rich.text import Text

    caption = "\n".join(footnotes(report))
    shown = Table(title=headline(report), caption=caption, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    shown.title_justify = shown.caption_justify = "left"
    parts = columns(report)
    # No space inside the brackets of an interval: a narrow terminal breaks before them, and within only if it must.
    parts = [(head, [cell.replace(", ", ",") for cell in cells]) for head, cells in parts]
    for head, _ in parts:
        wide = head in (report.quality, IN_FULL, "of teacher", "speedup", ALIKE, "test")
        aside: JustifyMethod = "left" if head in ("student", "scheme", ALIKE) else "right"
        shown.add_column(head, justify=aside, no_wrap=not wide, overflow="fold")
    for index in range(len(report.front_numbers) + 1):
        # Text: brackets are not markup
        row = [Text(cells[index]) for _, cells in parts]
        shown.add_row(*row, style="dim" if index == 0 else None, end_section=index == 0)
    return shown


def lines(report: FrontReport) -> list[str]:
    """The same table as plain text, for logs and pipes."""
    parts = columns(report)
    widths = [max(len(head), *map(len, cells)) for head, cells in parts]
    rows = [[head for head, _ in parts]]
    rows += [[cells[index] for _, cells in parts] for index in range(len(report.front_numbers) + 1)]
    body = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [headline(report), *body, *footnotes(report)]


def to_json(report: FrontReport) -> dict[str, Any]:
    """The front as plain data."""
    energy = {"kind": report.energy_kind, "boundary": report.energy_boundary, "source": report.energy_source}
    return {
        "name": report.name,
        "target": report.target,
        "created": report.created,
        "objectives": list(report.objectives),
        "quality": report.quality,
        "budget": dict(report.budget),
        "energy": {**energy, "says": energy_sentence(**energy)},
        "trials": dict(Counter(record.end for record in report.records)),
        "teacher": {
            "metrics": dict(report.teacher),
            "intervals": {name: list(pair) for name, pair in report.teacher_intervals.items()},
        },
        "front": [_front_json(report, record) for record in report.front],
        "test": None if report.test is None else dict(report.test),
        "footprint": dict(report.footprint),
    }


def to_csv(report: FrontReport) -> str:
    """One row for the teacher and one per front trial: figures with their intervals, then parameters."""
    own = _kinds(report.energy_kind, report.energy_boundary)
    rows: list[dict[str, Any]] = [{"trial": "teacher", **_flat(report.teacher, report.teacher_intervals), **own}]
    for record in report.front:
        figures = _flat(record.metrics, record.intervals)
        kind = _kinds(record.energy_kind, record.energy_boundary)
        tied = {"indistinguishable": " ".join(map(str, report.indistinguishable.get(record.number, ())))}
        whole = _in_full_json(report, record)
        finals = {} if whole is None else {"in_full_mean": whole["mean"], "in_full_sd": whole["sd"]}
        rows.append({"trial": record.number, **figures, **finals, **kind, **tied, **record.candidate.flat()})
    names = list(dict.fromkeys(name for row in reversed(rows) for name in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _kinds(kind: str | None, boundary: str | None) -> dict[str, str]:
    return {"energy_kind": kind or "", "energy_boundary": boundary or ""}


def write_report(report: FrontReport, folder: Path) -> list[Path]:
    """Write front.json, front.csv, front.png and front.html into `folder`, each whole or not at all."""
    from pipeline.report_page import write_page

    paths = [folder / f"front.{ending}" for ending in ("json", "csv", "png", "html")]
    for path, write in zip(paths, (write_json_report, write_csv, write_png, write_page), strict=True):
        write(report, path)
    return paths


def write_json_report(report: FrontReport, path: Path) -> None:
    """Write front.json, whole or not at all."""
    write_json(path, to_json(report))


def write_csv(report: FrontReport, path: Path) -> None:
    """Write front.csv, whole or not at all."""
    with fresh(path) as beside:
        beside.write_text(to_csv(report), encoding="utf-8")


def write_png(report: FrontReport, path: Path) -> None:
    """Write front.png, whole or not at all."""
    from pipeline.report_plot import picture

    with fresh(path) as beside:
        beside.write_bytes(picture(report))


def interval_text(name: str, pair: Sequence[float] | None) -> str:
    """` [0.921, 0.940]`, empty where there is no interval."""
    if pair is None:
        return ""
    low, high = (f"{end:.3f}" if METRICS[name].quality else f"{end:#.3g}".rstrip(".") for end in pair)
    return f" [{low}, {high}]"


def sealed_text(name: str, value: float | None, rows: int) -> str:
    """A quality on `rows` test rows; accuracy with its Wilson interval, which needs no more than the two."""
    if value is None or name != "accuracy":
        return text(name, value)
    return text(name, value) + interval_text(name, wilson(round(value * rows), rows))


def _quality(name: str, metrics: Mapping[str, float], intervals: Mapping[str, Sequence[float]]) -> str:
    return text(name, metrics.get(name)) + interval_text(name, intervals.get(name))


def _speedup(metrics: Mapping[str, float], intervals: Mapping[str, Sequence[float]]) -> str:
    ratio, value = intervals.get("latency_ratio"), metrics.get("speedup")
    if value is None or ratio is None:
        return text("speedup", value)
    return text("speedup", value) + interval_text("speedup", (1 / ratio[1], 1 / ratio[0]))


def _energy(metrics: Mapping[str, float], kind: str | None) -> str:
    value = metrics.get("energy_mj")
    return "-" if value is None else f"{text('energy_mj', value)} ({MARKS.get(kind or '', '?')})"


def _in_full_cells(report: FrontReport) -> list[str]:
    cells = [in_full(record, report.finals) for record in report.front]
    return ["" if cell is None else f"{text(report.quality, cell[1])}{spread_text(cell)}" for cell in cells]


def _in_full_json(report: FrontReport, record: TrialRecord) -> dict[str, Any] | None:
    found = in_full(record, report.finals)
    return None if found is None else {"trials": found[0], "mean": found[1], "sd": found[2]}


def _share(value: float | None, whole: float | None) -> str:
    return "-" if value is None or not whole else f"{100 * value / whole:.1f} %"


def _others(numbers: Sequence[int], most: int = 4) -> str:
    more = f" +{len(numbers) - most}" if len(numbers) > most else ""
    return " ".join(str(number) for number in numbers[:most]) + more


def _test_cells(report: FrontReport, test: Mapping[str, Any]) -> list[str]:
    # A trial that joined the front after the seal has no figure.
    found = [test["teacher"], *(test["trials"].get(str(number), {}) for number in report.front_numbers)]
    return [sealed_text(report.quality, figures.get(report.quality), test["rows"]) for figures in found]


def _front_json(report: FrontReport, record: TrialRecord) -> dict[str, Any]:
    return {
        "number": record.number,
        "student": record.candidate.student,
        "parameters": record.candidate.flat(),
        "seed": record.candidate.seed,
        "metrics": dict(record.metrics),
        "intervals": {name: list(pair) for name, pair in record.intervals.items()},
        "energy_kind": record.energy_kind,
        "sha256": (record.artifact or {}).get("sha256"),
        "final_of": record.final_of,
        "in_full": _in_full_json(report, record),
        "indistinguishable": list(report.indistinguishable.get(record.number, ())),
    }


def _flat(metrics: Mapping[str, float], intervals: Mapping[str, Sequence[float]]) -> dict[str, float]:
    found = {name: metrics[name] for name in METRICS if name in metrics}
    for name, pair in intervals.items():
        found[f"{name}_low"], found[f"{name}_high"] = pair
    return found
