"""Which students deserve to be distilled in full: the front's, and those that may belong there for all one knows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline.pareto import dominates, front
from pipeline.record import TrialRecord
from search_spaces import IDENTITY

Same = Callable[[TrialRecord, TrialRecord], bool]


def finalists(records: Sequence[TrialRecord], objectives: Sequence[str], same_quality: Same) -> list[int]:
    """Numbers of the students on the front, the fastest first, then of its near ties likewise.

    A near tie is beaten, but by nothing that is certainly better: a paired test (`same_quality`) cannot tell its
    quality from the other's, and the intervals of their latency ratios overlap. Finals have no say in it, so a run that
    is killed and started again means the same students.
    """
    trials = [record for record in records if record.final_of is None]
    best = front(trials, objectives)
    known = {record.number for record in best}
    beaten = [record for record in trials if _able(record) and record.number not in known]
    near = [
        record
        for record in beaten
        if not any(dominates(other, record, objectives) and _certainly(other, record, same_quality) for other in best)
    ]
    near.sort(key=lambda record: record.metrics.get("latency_ratio", 0.0))
    return [record.number for record in (*best, *near) if record.candidate.student != IDENTITY]


def _able(record: TrialRecord) -> bool:
    return record.end == "complete" and record.feasible and not record.unreliable


def _certainly(better: TrialRecord, worse: TrialRecord, same_quality: Same) -> bool:
    ours, theirs = better.intervals.get("latency_ratio"), worse.intervals.get("latency_ratio")
    faster = ours is None or theirs is None or ours[1] < theirs[0]
    return faster or not same_quality(better, worse)
