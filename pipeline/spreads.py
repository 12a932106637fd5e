"""What the finals of a trial came to, over their seeds. Apart from `finals`, which makes them and imports torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev

from pipeline.metrics import text
from pipeline.record import TrialRecord

Spread = tuple[list[int], float, float | None]  # numbers of the finals, mean, standard deviation: None of one alone


def in_full(record: TrialRecord, found: Mapping[int, Spread]) -> Spread | None:
    """What the finals came to that this trial has, or is one of."""
    if record.final_of is None:
        return found.get(record.number)
    of = found.get(record.final_of)
    return of if of is not None and record.number in of[0] else None


def spread_text(found: Spread) -> str:
    """` ±0.0138 (3)`: the standard deviation, where there is one, and how many finals stand behind it."""
    finals, _, deviation = found
    return f"{'' if deviation is None else f' ±{deviation:.4f}'} ({len(finals)})"


def sentence(number: int, found: Spread, quality: str) -> str:
    """What trial `number` came to in full."""
    finals, mean, _ = found
    named = f"trial{'s' if len(finals) > 1 else ''} {', '.join(map(str, finals))}"
    return f"trial {number} in full: {quality} {text(quality, mean)}{spread_text(found)}, {named}"


def spreads(records: Sequence[TrialRecord], metric: str) -> dict[int, Spread]:
    """By finalist: its finals' numbers, and mean and standard deviation of a metric over them (None of one alone).

    Of finals that were trained for different epochs, those that are like the latest.
    """
    found: dict[int, list[TrialRecord]] = {}
    for record in records:
        if record.final_of is not None and record.end == "complete" and metric in record.metrics:
            found.setdefault(record.final_of, []).append(record)
    for number, finals in found.items():
        found[number] = [final for final in finals if final.candidate.key == finals[-1].candidate.key]
    return {
        number: (
            [record.number for record in finals],
            fmean(record.metrics[metric] for record in finals),
            stdev(record.metrics[metric] for record in finals) if len(finals) > 1 else None,
        )
        for number, finals in found.items()
    }
