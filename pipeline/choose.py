"""One model for one budget. The finalists are scored anew on rows that the search never saw, before any limit applies.

The best of many trials is partly the luckiest on validation; the selection slice takes that luck away again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from pipeline import budget as budgets
from pipeline import pareto
from pipeline.errors import NothingFits
from pipeline.metrics import QUALITY
from pipeline.record import TrialRecord
from pipeline.statistics import tell_apart


@dataclass(frozen=True)
class Choice:
    """What was chosen. `rescored` has each finalist's figures: quality on the selection slice, the rest as measured."""

    record: TrialRecord
    metrics: Mapping[str, float]  # the chosen one's, rescored
    ties: tuple[int, ...]  # others that fit and whose quality cannot be told from the chosen one's, best quality first
    fastest_tie: int | None  # the tie that is fastest, where it is faster than the chosen one
    fitting: tuple[int, ...]
    rescored: Mapping[int, Mapping[str, float]]


def choose(
    records_on_front: Iterable[TrialRecord],
    selection_metrics: Mapping[int, Mapping[str, float]],
    budget: Mapping[str, float],
    *,
    quality: str,
    knee: bool = False,
    objectives: Sequence[str] = (),
    predictions: Mapping[int, NDArray[Any]] | None = None,
    labels: NDArray[Any] | None = None,
) -> Choice:
    """The best quality (or the knee over `objectives`) among the finalists that fit the budget.

    `predictions` and `labels` are class indices on the selection slice; without them no tie is named.
    Errors: NothingFits with the nearest misses.
    """
    finalists = [rescored(record, selection_metrics.get(record.number, {})) for record in records_on_front]
    finalists = [record for record in finalists if quality in record.metrics]
    fitting = [record for record in finalists if budgets.fits(budget, record.metrics)]
    if not fitting:
        raise NothingFits(_none(finalists, budget, quality))
    best = sorted(fitting, key=lambda record: _order(record, quality))
    chosen = (_knee(best, objectives, quality) if knee else None) or best[0]
    ties = tuple(r.number for r in best if r is not chosen and _tied(quality, chosen, r, predictions, labels))
    return Choice(
        record=chosen,
        metrics=chosen.metrics,
        ties=ties,
        fastest_tie=_fastest(chosen, [record for record in best if record.number in ties]),
        fitting=tuple(record.number for record in best),
        rescored={record.number: record.metrics for record in finalists},
    )


def rescored(record: TrialRecord, selection: Mapping[str, float]) -> TrialRecord:
    """The record with the selection slice's quality in place of validation's; no validation quality remains."""
    device = {name: value for name, value in record.metrics.items() if name not in QUALITY}
    intervals = {name: pair for name, pair in record.intervals.items() if name not in QUALITY}
    chosen = {name: value for name, value in selection.items() if name in QUALITY}
    return record.with_(metrics={**device, **chosen}, intervals=intervals, violations={})


def _none(finalists: Sequence[TrialRecord], budget: Mapping[str, float], quality: str) -> str:
    if not finalists:
        return "there is no front to pick from: no trial is complete and within the search's budget. Run the search on"
    return budgets.nearest_sentence(finalists, budget, quality)


def _order(record: TrialRecord, quality: str) -> tuple[float, float, int]:
    return -record.metrics[quality], _latency(record), record.number


def _latency(record: TrialRecord) -> float:
    return record.metrics.get("latency_p50_ms", float("inf"))


def _knee(fitting: Sequence[TrialRecord], objectives: Sequence[str], quality: str) -> TrialRecord | None:
    found = pareto.knee(fitting, objectives or (quality, "latency_p50_ms"))
    return next((record for record in fitting if found is not None and record.number == found.number), None)


def _tied(
    quality: str,
    chosen: TrialRecord,
    other: TrialRecord,
    predictions: Mapping[int, NDArray[Any]] | None,
    labels: NDArray[Any] | None,
) -> bool:
    if labels is None or predictions is None or not {chosen.number, other.number} <= predictions.keys():
        return False
    return not tell_apart(quality, labels, predictions[chosen.number], predictions[other.number])


def _fastest(chosen: TrialRecord, ties: Sequence[TrialRecord]) -> int | None:
    faster = [record for record in ties if _latency(record) < _latency(chosen)]
    return min(faster, key=_latency).number if faster else None
