"""One measurement as one or several measuring processes, one after the other: a `final` takes its blocks from several.

Where a process puts a model in memory changes its speed by up to a percent, so one process alone cannot tell smaller
differences, however long it times. It is looked at twice: after half of the processes, and at the end.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hardware_targets._block_file import read_blocks
from hardware_targets._blocks import REFERENCE, Record, pooled
from hardware_targets._measurement import Conditions
from hardware_targets._plan import FIRST_LOOK, MET, PROCESSES, Plan, Shape, Tier
from hardware_targets._spawn import run_child

_START_S = 120.0  # that a process may take beside its timing


def limit_s(tier: Tier, seconds: float) -> float:
    """How long a measurement may take in all, when nothing else is said."""
    return _START_S * (PROCESSES if tier == "final" else 1) + Plan().patience * seconds


def sit(
    job: Mapping[str, Any], counting: Mapping[str, Any], *, threads: int, time_limit_s: float, counting_s: float
) -> tuple[dict[str, Any], Record]:
    """Do a `measure` job; what the first process found, the conditions of all, and their blocks as one session.

    The job's `known_ms` is what the reference took before, by the number of inputs (JSON's keys are text).
    `counting` names the counter of energy, if any, for which the first process has `counting_s` more. Errors:
    TargetError.
    """
    end = time.monotonic() + time_limit_s
    found: list[dict[str, Any]] = []
    records: list[Record] = []
    for place in range(PROCESSES if job["tier"] == "final" else 1):
        left = max(1.0, round(end - time.monotonic(), 1))
        more = dict(counting) if place == 0 else {"shape": found[0]["shape"], "known_ms": _fastest(job, found, records)}
        more["seed"] = job["seed"] + place  # what one order of the sides brings about must not be in all processes
        result, record = run_child(
            {**job, **more},
            threads=threads,
            time_limit_s=left + counting_s if place == 0 else left,
            read=lambda folder, result: (result, read_blocks(folder / "blocks.npz")),
        )
        found.append(result)
        records.append(record)
        end += counting_s if place == 0 else 0.0
        if len(records) == FIRST_LOOK and _precise(pooled(records)):
            break
    return {**found[0], "conditions": _conditions(found)}, pooled(records)


def _precise(record: Record) -> bool:
    return record.voided == 0 and record.log_ratio()[1] <= Plan().half_width


def _fastest(job: Mapping[str, Any], found: Sequence[Mapping[str, Any]], records: Sequence[Record]) -> dict[str, float]:
    """What the next process waits for: the reference as the job knew it, or as a process since has shown it.

    What those before have waited for in vain, all of them, is not waited for again.
    """
    inputs = str(Shape(**found[0]["shape"]).inputs)
    shown = min(record.sides[REFERENCE].typical() / 1e6 for record in records)
    known = float(job["known_ms"].get(inputs, shown))
    return {inputs: min(known, shown) if shown <= MET * known else shown}


def _conditions(found: Sequence[Mapping[str, Any]]) -> Conditions:
    """Of the first process, with the load that the last one saw and the mean shares of all."""
    told = [Conditions.from_json(item["conditions"]) for item in found]
    return replace(
        told[0],
        load_end=told[-1].load_end,
        steal_share=_mean([item.steal_share for item in told]),
        foreign_share=_mean([item.foreign_share for item in told]),
    )


def _mean(shares: Sequence[float | None]) -> float | None:
    known = [share for share in shares if share is not None]
    return sum(known) / len(known) if known else None
