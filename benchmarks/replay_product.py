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
from pipeline.search.knowledge import Known, gains_nothing, propose
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


def device_aware(search: Search, listed: Sequence[Candidate] | None = None) -> Candidate | None:
    """What `sampler: device_aware` proposes; None while it knows too little.

    It draws from the whole space, as in the product, and its proposal is met by the nearest candidate of the bank, as
    every sampler's is. Figures of the device are known of files that were measured; of the others they are predicted,
    and measured where one is about to be proposed and the bank has its shape.
    """
    return propose(_known(search, listed), search.config)


def leaves(search: Search, recipe: Candidate) -> bool:
    """Whether a recipe is left to it, for the device shows that it is no better than the teacher."""
    return gains_nothing(recipe, _known(search), search.config)


def of_the_bank(search: Search) -> Candidate | None:
    """`device_aware` told what the bank holds, and proposing only that: as where the bank was the whole space."""
    return device_aware(search, [point.candidate for point in search.bank.students()])


def _known(search: Search, listed: Sequence[Candidate] | None = None) -> Known:
    bank = search.bank
    return Known(
        search.space,
        search.standing,
        bank.teacher_metrics,
        bank.chance,
        figures=lambda wanted: [known_figures(bank.of_shape(one), search) for one in wanted],
        lenders=search.lenders,
        screen=partial(_screen, search),
        listed=listed,
    )


def _screen(search: Search, candidate: Candidate) -> bool:
    if (point := search.bank.of_shape(candidate)) is None:
        return False
    search.screen(point)
    return True


def known_figures(point: Point | None, search: Search) -> dict[str, float] | None:
    """Figures of the device where the file was measured in this search, or before it."""
    return None if point is None or point.file not in search.measured else device_of(point.metrics)


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
