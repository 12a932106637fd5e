"""What the finals of a trial came to, over their seeds. Apart from `finals`, which makes them and imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev

from pipeline.record import TrialRecord


def spreads(records: Sequence[TrialRecord], metric: str) -> dict[int, tuple[list[int], float, float]]:
    """By finalist: its finals' numbers, and mean and standard deviation of a metric over them (0 for one alone)."""
    found: dict[int, list[TrialRecord]] = {}
    for record in records:
        if record.final_of is not None and record.end == "complete" and metric in record.metrics:
            found.setdefault(record.final_of, []).append(record)
    return {
        number: (
            [record.number for record in finals],
            fmean(record.metrics[metric] for record in finals),
            stdev(record.metrics[metric] for record in finals) if len(finals) > 1 else 0.0,
        )
        for number, finals in found.items()
    }
