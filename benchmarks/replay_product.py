"""The product's own rules and its chooser for a replayed search, told what a bank knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from replay_bank import Point, Stored
from replay_rules import Reached, Violations
from replay_search import Search

from pipeline import dominated as refusal
from pipeline import rungs
from pipeline.at_rungs import STOPPED
from pipeline.metrics import METRICS
from pipeline.record import TrialRecord
from pipeline.screening import MARGIN
from pipeline.search.knowledge import Known, propose
from search_spaces import load_family
from search_spaces.candidate import Candidate


def dominated(point: Point, seen: Sequence[TrialRecord], bank: Stored) -> Violations | None:
    """Refuse before training what is certainly dominated."""
    found = refusal.dominated(
        point.candidate,
        device_of(point.metrics),
        point.measurement,
        seen,
        objectives=bank.config.objectives,
        teacher=bank.teacher_metrics,
        nested=load_family(point.candidate.student).nested,
        margin=bank.config.trials.dominated_margin,
        noise=MARGIN,
    )
    return None if found is None else {refusal.DOMINATED: found.excess}


def device_aware(search: Search) -> Point | None:
    """What `sampler: device_aware` proposes of all that the bank holds; None while it knows too little.

    Figures of the device are known of files that were measured, as in the product; of the others they are predicted,
    and measured where one is about to be proposed.
    """
    bank = search.bank
    found = propose(
        Known(
            search.space,
            search.standing,
            bank.teacher_metrics,
            bank.chance,
            figures=lambda wanted: [known_figures(bank.points[one.key], search) for one in wanted],
            lenders=search.lenders,
            screen=partial(_screen, search),
            listed=[point.candidate for point in bank.students()],
        ),
        search.config,
    )
    return None if found is None else bank.points[found.key]


def _screen(search: Search, candidate: Candidate) -> bool:
    search.screen(search.bank.points[candidate.key])
    return True


def known_figures(point: Point, search: Search) -> dict[str, float] | None:
    """Figures of the device where the file was measured in this search, or before it."""
    return device_of(point.metrics) if point.file in search.measured else None


def stopped(own: Reached, others: Sequence[Reached], bank: Stored) -> Violations | None:
    """Stop at a rung who is not among those that go on from it."""
    peers = [with_twin(one.record) for one in others]
    found = rungs.verdict(with_twin(own.record), peers, own.rung, terms(bank))
    return None if found.goes_on else {STOPPED: found.shortfall}


def goes_on(reached: Mapping[int, Sequence[Reached]], waiting: Mapping[str, int], bank: Stored) -> str | None:
    """The stopped student that deserves most to go on by now."""
    farthest = {one.record.candidate.key: one for rung in sorted(reached) for one in reached[rung]}
    records = []
    for key, one in farthest.items():
        left = {"end": "stopped", "rung": one.rung} if key in waiting else {}
        records.append(with_twin(one.record).with_(**left))
    found = rungs.deserving(records, list(reached), terms(bank))
    return found[0].candidate.key if found else None


def terms(bank: Stored) -> rungs.Terms:
    config = bank.config
    return rungs.Terms(
        tuple(config.objectives), config.budget, bank.teacher_metrics, bank.chance, config.trials.reduction
    )


def with_twin(record: TrialRecord) -> TrialRecord:
    """A record that knows the figures of its untrained twin, which in a bank are those of its file."""
    return record.with_(screened=device_of(record.metrics))


def device_of(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if not METRICS[name].quality}
