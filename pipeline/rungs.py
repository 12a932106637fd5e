"""Early stopping with several objectives: who goes on from a rung. Pure functions over records.

A rung is a number of epochs. Whoever reaches it, with more to learn, is compared there at once with all that have been
there, by its accuracy so far and its device figures, which are known before training. This begins with MO-ASHA
(Schmucker, Donini, Zafar, Salinas and Archambeau 2021, arXiv 2106.12639) and departs from it in three things:

* Who is beaten by nobody goes on, however many these are: each may become a point of the front.
* The share of 1 / `reduction` that goes on at least is filled up in layers of who is beaten only by those before, and
  within a layer by hypervolume contribution.
* One student beats another only if its learning rate had not fallen further: at the same epoch a short training is
  ahead of a long one, which may yet overtake it.

A stopped student is not judged for good: whenever others have come to its rung, it may be among those that go on.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline import budget
from pipeline.metrics import METRICS, PERCENTILES, yardstick
from pipeline.pareto import contributions, domination
from pipeline.record import TrialRecord
from search_spaces.candidate import Candidate

SHORTEST = 1e-6  # a shortfall that is none would be a constraint that holds


@dataclass(frozen=True)
class Peers:
    """The search's trials so far, and the rung that a student was let pass when it took up its training again."""

    records: Sequence[TrialRecord]
    passed: int = 0


@dataclass(frozen=True)
class Terms:
    """By what students are compared; `teacher` and `chance` are what their volume is measured against."""

    objectives: tuple[str, ...]
    budget: Mapping[str, float]
    teacher: Mapping[str, float]
    chance: Mapping[str, float]
    reduction: int


@dataclass(frozen=True)
class Standing:
    """A student at a rung: `point` is its record with the accuracy that it had there in the place of its quality."""

    point: TrialRecord
    accuracy: float
    epochs: int  # that its training takes in all
    answers: int  # of the epochs until the rung, those in which it learned the teacher's answers


@dataclass(frozen=True)
class Verdict:
    """Whether a student goes on; `of` students were compared, and `beaten_by` are the trials that beat it."""

    goes_on: bool
    of: int
    beaten_by: tuple[int, ...] = ()
    shortfall: float = 0.0  # how far the best of them is ahead in accuracy


def verdict(student: TrialRecord, peers: Sequence[TrialRecord], rung: int, terms: Terms) -> Verdict:
    """Of a student that has just come to `rung`, or comes back to it. What cannot be compared goes on."""
    own = standing(student, rung, terms)
    if own is None:
        return Verdict(True, 0)
    others = at_rung([peer for peer in peers if peer.candidate.key != student.candidate.key], rung, terms)
    all_of_them = [*others, own]
    beating = [other for other, beats in zip(others, _beats(all_of_them, terms)[:-1, -1], strict=True) if beats]
    goes_on = len(others) in going_on(all_of_them, terms)
    ahead = max((other.accuracy - own.accuracy for other in beating), default=0.0)
    return Verdict(goes_on, len(all_of_them), tuple(other.point.number for other in beating), max(ahead, SHORTEST))


def deserving(records: Sequence[TrialRecord], rungs: Sequence[int], terms: Terms) -> list[TrialRecord]:
    """Stopped students that would go on by now: from the highest rung, the best first."""
    found = []
    for rung in sorted(rungs, reverse=True):
        standings = at_rung(records, rung, terms) if any(waits(record, rung) for record in records) else []
        chosen = [standings[place].point.number for place in going_on(standings, terms)]
        waiting = {record.number: record for record in records if waits(record, rung)}
        found += [waiting[number] for number in chosen if number in waiting]
    return found


def waits(record: TrialRecord, rung: int) -> bool:
    """Whether this is a student that was left at `rung` and not gone on with."""
    return record.end == "stopped" and record.counts and record.rung == rung


def standing(record: TrialRecord, rung: int, terms: Terms) -> Standing | None:
    """Where a trained student stood after `rung` epochs; None if it never was there, or cannot be compared there."""
    settings = record.candidate.section("distill")
    epochs, first = int(settings.get("epochs", 0)), inside_first(record.candidate)
    row = next((row for row in record.curve if row["epoch"] == rung), None)
    if row is None or not first < rung < epochs or not record.screened:
        return None
    accuracy = float(row["rung_accuracy"])
    # After `niwaki rescore` the old figure of energy is gone from `screened`, and the new one stands in `metrics`.
    # A short screen has calls enough for a percentile of the fast ones only, so all are compared by their medians.
    screened = {name: value for name, value in record.screened.items() if name not in PERCENTILES}
    told = {**record.metrics, **yardstick(screened)}
    device = {name: value for name, value in told.items() if not METRICS[name].quality}
    qualities = {name: accuracy for name in terms.objectives if METRICS[name].quality}
    return Standing(record.with_(metrics={**device, **qualities}), accuracy, epochs, rung - first)


def inside_first(candidate: Candidate) -> int:
    """Epochs at the beginning in which the teacher's inside alone is learned; accuracy says nothing until then."""
    settings = candidate.section("distill")
    return round(float(settings.get("first_stage", 0.0)) * int(settings.get("epochs", 0)))


def at_rung(records: Sequence[TrialRecord], rung: int, terms: Terms) -> list[Standing]:
    """All that have been there and did not break afterwards, each candidate once; finals have no rungs."""
    able = [
        record
        for record in records
        if record.counts and record.end in ("complete", "stopped", "pending")
        and record.final_of is None and record.trained_by is None
    ]  # fmt: skip
    return [found for record in able if (found := standing(record, rung, terms)) is not None]


def going_on(standings: Sequence[Standing], terms: Terms) -> list[int]:
    """Places in `standings` of those that go on: all that nobody beats, then the best, to one in `reduction`."""
    beats = _beats(standings, terms)
    left = beats.any(axis=0)
    chosen = np.flatnonzero(~left).tolist()
    quota = len(standings) // terms.reduction
    while len(chosen) < quota and left.any():
        layer = np.flatnonzero(left & ~beats[left].any(axis=0))
        layer = layer if len(layer) else np.flatnonzero(left)  # energies not compared among all can close a ring
        chosen += _best(layer.tolist(), standings, terms, quota - len(chosen))
        left[layer] = False
    return chosen


def expendable(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Stopped students that wait, the least promising first: from the lowest rung, the farthest behind."""
    waiting = [record for record in records if record.rung is not None and waits(record, record.rung)]
    return sorted(waiting, key=lambda record: (record.rung, -record.violations.get("stopped", 0.0), record.number))


def _beats(standings: Sequence[Standing], terms: Terms) -> NDArray[np.bool_]:
    """bool [n, n]: the row beats the column."""
    known = _known(standings)
    objectives = _compared(terms, known)
    if not objectives:
        return np.zeros((len(standings), len(standings)), dtype=bool)
    limits = {name: limit for name, limit in terms.budget.items() if name in known and not METRICS[name].quality}
    better = domination([each.point for each in standings], objectives)
    epochs, answers = (np.array([getattr(each, name) for each in standings]) for name in ("epochs", "answers"))
    fits = np.array([budget.fits(limits, each.point.metrics) for each in standings], dtype=bool)
    fair = (epochs[:, None] >= epochs[None, :]) & (answers[:, None] <= answers[None, :])
    return np.asarray(better & fair & (fits[:, None] | ~fits[None, :]), dtype=bool)


def _known(standings: Sequence[Standing]) -> set[str]:
    """The figures that all have. A trained student has some that its own untrained twin, and others', had not."""
    return set.intersection(*(set(each.point.metrics) for each in standings)) if standings else set()


def _compared(terms: Terms, known: Collection[str]) -> tuple[str, ...]:
    """The objectives that are known of all; none where no figure of the device is: accuracy alone would favour size."""
    found = tuple(name for name in terms.objectives if name in known)
    asked = any(not METRICS[name].quality for name in terms.objectives)
    return found if not asked or any(not METRICS[name].quality for name in found) else ()


def _best(layer: list[int], standings: Sequence[Standing], terms: Terms, room: int) -> list[int]:
    """Up to `room` places of a layer by falling hypervolume contribution in it; of equal ones the earlier trial first.

    All of them, in their own order, where there is room.
    """
    if len(layer) <= room:
        return layer
    points = [standings[place].point for place in layer]
    volumes = contributions(points, _compared(terms, _known(standings)), terms.teacher, terms.chance)
    ranked = sorted(range(len(layer)), key=lambda place: (-volumes[place], points[place].number))
    return [layer[place] for place in ranked[:room]]
