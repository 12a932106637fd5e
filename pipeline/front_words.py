"""What stands under the front's table: the teacher's own 8-bit file, finals, sealed test figures, the next command."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from pipeline.budget import instead, nearest_sentence
from pipeline.config import SearchConfig
from pipeline.findings import best_int8
from pipeline.metrics import text
from pipeline.record import TrialRecord
from pipeline.spreads import sentence
from pipeline.workspace import root_flag

SHOWN = 8  # numbers of trials in one sentence


def footer(report: Any, root: Path) -> list[str]:
    """What stands under the table: the teacher's own 8-bit files beside the students, and the next command."""
    lines = []
    by_number = {record.number: record for record in report.records}
    own = best_int8(report.records, report.quality)
    if own:
        best = by_number[own[0]]
        lines.append(
            f"the teacher's own best int8 is trial {best.number} ({best.precision}): {report.quality} "
            f"{text(report.quality, best.metrics.get(report.quality))}, {text('speedup', best.metrics.get('speedup'))} "
            "as fast as the teacher"
        )
        for record in report.front:
            if record.candidate.student != "identity":
                ratio = record.metrics["speedup"] / best.metrics["speedup"]
                lines.append(f"  trial {record.number} is {ratio:.2f}x as fast as that")
    lines += [sentence(number, found, report.quality) for number, found in report.finals.items()]
    if left := [record.number for record in report.records if record.end == "stopped" and record.counts]:
        named = ", ".join(map(str, left[:SHOWN])) + (" ..." if len(left) > SHOWN else "")
        lines.append(
            f"{len(left)} student{'s were' if len(left) > 1 else ' was'} stopped at a rung (trial"
            f"{'s' if len(left) > 1 else ''} {named}): others were better there in all that was known; what was "
            "stopped waits, and goes on if later trials put it among the best"
        )
    if waiting := sum(record.end == "pending" for record in report.records):
        lines.append(
            f"{waiting} trials were trained while the device was away; "
            f"once it is back: niwaki measure-pending {report.name}{root_flag(root)}"
        )
    if busy := sum(record.unreliable for record in report.complete):
        lines.append(
            f"{busy} trials were timed while the machine was busy; once it is quiet, this times the same files again: "
            f"niwaki measure-pending {report.name}{root_flag(root)}"
        )
    if report.test:
        lines += _test_lines(report, own)
    elif own or report.front_numbers:
        lines.append(
            f"next: niwaki pick {report.name} --speedup 4 --out picked{root_flag(root)}, "
            f"then niwaki front {report.name} --test{root_flag(root)}"
        )
    return [*report.footprint.get("sentences", ()), *lines]


def _test_lines(report: Any, own: list[int]) -> list[str]:
    test = report.test
    lines = [
        f"test split, scored once on {test['created'][:10]}, {test['rows']} rows, batch 1, the files that would ship:"
    ]
    whole = test["teacher"][report.quality]
    lines.append(f"  teacher {report.quality} {text(report.quality, whole)}")
    for number in [*report.front_numbers, *own]:
        row = test["trials"].get(str(number))
        if row:
            value = row[report.quality]
            kind = " (the teacher's own)" if number in own else ""
            lines.append(
                f"  trial {number}{kind} {text(report.quality, value)}, {100 * value / whole:.2f} % of the teacher's"
            )
    for number, finals in test.get("finals", {}).items():
        low = finals.get("of_teacher_low")
        span = "" if low is None else f" (lower end of the paired 95 % interval {100 * low:.2f} %)"
        spread = "" if finals["sd"] is None else f" ± {finals['sd']:.4f}"
        lines.append(
            f"  trial {number} in full, mean of {len(finals['trials'])} seeds "
            f"{text(report.quality, finals['mean'])}{spread}, {100 * finals['of_teacher']:.2f} % of the teacher's{span}"
        )
    return list(dict.fromkeys(lines))


def nothing_fits(records: Collection[TrialRecord], config: SearchConfig) -> str:
    """Why a search has no front: the nearest misses of its budget, or how its trials ended instead."""
    if not config.budget:
        return f"no trial is complete{instead(records)}"
    found = nearest_sentence(records, config.budget, config.task.metric)
    return f"{found}. A search with another budget needs another name"
