"""The non-dominated set, its volume, and its knee. Pure functions over records.

Every metric counts in its own direction. A record without a figure for an objective is never on the front.

Energy is compared only where it may be. A figure of kind `modelled-generic` is watts of a textbook times measured time:
between two precisions it knows nothing of the difference that matters, so there energy_mj is left out and the other
objectives decide; if only one is left, it decides nothing. Figures of different kinds or boundaries are never compared.
The relation is therefore not transitive, and the front is taken over all pairs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.metrics import METRICS, yardstick
from pipeline.record import TrialRecord

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

_ROWS = 256  # of the pairwise comparison at a time: keeps the arrays inside the processor's cache
_TINY = 1e-6  # in any metric's unit: a cost below it is taken as this, so that its logarithm exists


def dominates(a: TrialRecord, b: TrialRecord, objectives: Sequence[str]) -> bool:
    """Whether `a` is at least as good as `b` in every objective that may be compared, and better in one."""
    costs = _costs((a, b), objectives)
    compared = [name != "energy_mj" or energy_comparable(a, b) for name in objectives]
    if not np.isfinite(costs[0]).all() or (not all(compared) and sum(compared) < 2):
        return False
    if not np.isfinite(costs[1]).all():
        return True
    better, worse = costs[0] < costs[1], costs[0] > costs[1]
    return bool((better & compared).any() and not (worse & compared).any())


def domination(records: Sequence[TrialRecord], objectives: Sequence[str]) -> Flags:
    """bool [n, n]: whether the record of the row dominates that of the column, as `dominates` says."""
    costs, energy = _costs(records, objectives), _energy_classes(records)
    whole = np.asarray(np.isfinite(costs).all(axis=1), dtype=bool)
    same = energy[:, None] == energy[None, :]
    better = np.zeros((len(records), len(records)), dtype=bool)
    worse = better.copy()
    for column, name in enumerate(objectives):
        ours, theirs = costs[:, None, column], costs[None, :, column]
        compared = same if name == "energy_mj" else np.True_
        better |= (ours < theirs) & compared
        worse |= (ours > theirs) & compared
    ranked = same if "energy_mj" in objectives and len(objectives) < 3 else np.True_
    return np.asarray(whole[:, None] & ranked & ((better & ~worse) | ~whole[None, :]), dtype=bool)


def energy_comparable(a: TrialRecord, b: TrialRecord) -> bool:
    """Whether the energy figures of two records may be ranked against each other."""
    if a.energy_class[:2] != b.energy_class[:2]:
        return False
    return not a.energy_coarse or a.precision == b.precision


def front(records: Iterable[TrialRecord], objectives: Sequence[str]) -> list[TrialRecord]:
    """Complete, feasible, non-dominated records, the fastest first; of points equal in everything the first stays.

    Records timed on a disturbed machine (`unreliable`) stay off it, unless there is no other.
    """
    able, costs = _ranked(records, objectives)
    reliable = [place for place, record in enumerate(able) if not record.unreliable]
    if reliable:
        able, costs = [able[place] for place in reliable], costs[reliable]
    beaten = _beaten(costs, _energy_classes(able), list(objectives))
    found = [record for record, lost in zip(able, beaten, strict=True) if not lost]
    return sorted(found, key=lambda record: (record.metrics.get("latency_p50_ms", math.inf), record.number))


def contenders(records: Iterable[TrialRecord], objectives: Sequence[str]) -> list[TrialRecord]:
    """Few of the records, by number, that stand for all: the front of these and any others is that of all and them.

    They are what decides in `_beaten`, among the reliable and among the others.
    """
    able, costs = _ranked(records, objectives)
    energy, doubtful = _energy_classes(able), np.array([record.unreliable for record in able], dtype=bool)
    free = costs[:, [name != "energy_mj" for name in objectives]]
    kept = np.zeros(len(able), dtype=bool)
    for number, doubt in itertools.product(np.unique(energy), (False, True)):
        places = np.flatnonzero((energy == number) & (doubtful == doubt))
        kept[places[efficient(costs[places]) | efficient(free[places])]] = True
    return [record for record, stays in zip(able, kept, strict=True) if stays]


def efficient(costs: Array) -> Flags:
    """Which rows of `costs` [n, d] no other row is at most equal to in every column; of equal rows the first is.

    In the order of its sum, a row can only be beaten by those before it: n times the number of efficient rows.
    """
    order = np.lexsort((*costs.T[::-1], costs.sum(axis=1)))
    kept = order[:0]
    for rows in _blocks(order):
        rows = rows[~_at_most(costs[kept], costs[rows]).any(axis=1)]
        beaten = np.tril(_at_most(costs[rows], costs[rows]), -1).any(axis=1)
        kept = np.concatenate([kept, rows[~beaten]])
    flags = np.zeros(len(costs), dtype=bool)
    flags[kept] = True
    return flags


def on_front(records: Iterable[TrialRecord], objectives: Sequence[str]) -> frozenset[int]:
    """The numbers of the trials on the front."""
    return frozenset(record.number for record in front(records, objectives))


def hypervolume(points: ArrayLike, reference: ArrayLike) -> float:
    """Exact volume between `points` [n, d] and `reference` [d], smaller being better in every column.

    Slices along the last objective down to a sweep in two: While, Hingston, Barone and Huband, "A faster algorithm for
    calculating hypervolume", IEEE Transactions on Evolutionary Computation 10 (2006). Errors: ValueError on shapes.
    """
    corner = np.asarray(reference, dtype=float)
    array = np.asarray(points, dtype=float).reshape(-1, len(corner))
    inside = array[(array < corner).all(axis=1)]
    return _volume(inside, corner) if len(inside) else 0.0


def front_hypervolume(
    records: Iterable[TrialRecord],
    objectives: Sequence[str],
    teacher_metrics: Mapping[str, float],
    chance: Mapping[str, float],
) -> float:
    """How much the front dominates, against a corner that has chance quality at the teacher's cost; 0 when nothing.

    Quality counts as the share of the way from chance to the teacher; costs as doublings (log2) of the teacher's figure
    over the model's. Energy is left out where the front's figures may not be ranked against each other.
    """
    gains = _gains(front(records, objectives), objectives, teacher_metrics, chance)
    return hypervolume(-gains, np.zeros(gains.shape[1])) if gains.size else 0.0


def contributions(
    records: Sequence[TrialRecord],
    objectives: Sequence[str],
    teacher_metrics: Mapping[str, float],
    chance: Mapping[str, float],
) -> Array:
    """float64 [n]: the volume that each record alone dominates among these, measured as `front_hypervolume` does."""
    costs = -_gains(records, objectives, teacher_metrics, chance)
    if not costs.size:
        return np.zeros(len(records))
    return np.array([_alone(costs[place], np.delete(costs, place, axis=0)) for place in range(len(costs))])


def _alone(point: Array, others: Array) -> float:
    """What a point dominates less what the others do of it: L. While, L. Bradstreet and L. Barone, "A fast way of
    calculating exact hypervolumes", IEEE Transactions on Evolutionary Computation 16 (2012)."""
    corner = np.zeros(len(point))
    inside = np.unique(np.maximum(others, point), axis=0)
    beaten = [bool((inside <= row).all(axis=1).sum() > 1) for row in inside]
    return max(0.0, hypervolume(point, corner) - hypervolume(inside[~np.array(beaten, dtype=bool)], corner))


def knee(records: Iterable[TrialRecord], objectives: Sequence[str]) -> TrialRecord | None:
    """The front point farthest beyond the plane through the best of each objective; None for an empty front.

    Quality and the logarithms of costs are scaled to [0, 1] over the front. I. Das, "On characterizing the 'knee' of
    the Pareto curve based on normal-boundary intersection", Structural Optimization 18 (1999).
    """
    points = front(records, objectives)
    if not points:
        return None
    axes = rankable(points, objectives)
    costs = np.column_stack([_knee_axis(name, points) for name in axes])
    span = costs.max(axis=0) - costs.min(axis=0)
    costs = (costs - costs.min(axis=0))[:, span > 0] / span[span > 0]
    if costs.shape[1] == 0:
        return points[0]
    return points[int(np.argmin(costs @ _plane(costs)))]


def _ranked(records: Iterable[TrialRecord], objectives: Sequence[str]) -> tuple[list[TrialRecord], Array]:
    """By number, those that can be on a front: feasible, with a figure for each objective; and their costs [n, d]."""
    able = sorted((record for record in records if record.feasible), key=lambda record: record.number)
    costs = _costs(able, objectives)
    whole = np.isfinite(costs.sum(axis=1))
    return [record for record, there in zip(able, whole, strict=True) if there], costs[whole]


def _costs(records: Sequence[TrialRecord], objectives: Sequence[str]) -> Array:
    columns = [[record.metrics.get(name, math.inf) for record in records] for name in objectives]
    values = np.array(columns, dtype=float).reshape(len(objectives), len(records)).T
    signs = np.array([-1.0 if METRICS[name].maximize else 1.0 for name in objectives])
    return np.where(np.isfinite(values), signs * values, math.inf)


def _energy_classes(records: Sequence[TrialRecord]) -> NDArray[np.int64]:
    numbers: dict[Any, int] = {}
    return np.array([numbers.setdefault(record.energy_class, len(numbers)) for record in records], dtype=np.int64)


def _beaten(costs: Array, energy: NDArray[np.int64], objectives: list[str]) -> Flags:
    """Which rows another row dominates, or equals with a lower index; rows of one number in `energy` compare energies.

    Among those the relation is transitive, so the efficient rows decide; between them the other objectives do, and
    there the efficient rows of each number by these objectives decide, whether or not they are beaten themselves.
    """
    found = np.zeros(len(costs), dtype=bool)
    groups = [np.flatnonzero(energy == number) for number in np.unique(energy)]
    if "energy_mj" not in objectives:
        groups = [np.arange(len(costs))]
    for group in groups:
        found[group] = ~efficient(costs[group])
    if len(groups) == 1 or len(objectives) < 3:  # one objective left over decides nothing
        return found
    free = costs[:, [name != "energy_mj" for name in objectives]]
    for group in groups:
        best = free[group[efficient(free[group])]]
        others = np.setdiff1d(np.flatnonzero(~found), group)
        for rows in _blocks(others):
            found[rows] = (_at_most(best, free[rows]) & (best < free[rows, None]).any(axis=2)).any(axis=1)
    return found


def _at_most(these: Array, those: Array) -> Flags:
    """[len(those), len(these)]: whether each of these is nowhere above each of those."""
    flags = np.ones((len(those), len(these)), dtype=bool)
    for column in range(these.shape[1]):
        flags &= these[:, column] <= those[:, column, None]
    return flags


def _blocks(rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [rows[start : start + _ROWS] for start in range(0, len(rows), _ROWS)]


def _volume(points: Array, corner: Array) -> float:
    if len(corner) == 1:
        return float(corner[0] - points[:, 0].min())
    points = points[np.argsort(points[:, -1], kind="stable")]
    if len(corner) == 2:
        reach = corner[0] - np.minimum.accumulate(points[:, 0])
        return float(reach @ np.diff(points[:, 1], append=corner[1]))
    depth = np.diff(points[:, -1], append=corner[-1])
    flat = points[:, :-1]
    return float(sum(_volume(flat[: i + 1], corner[:-1]) * depth[i] for i in range(len(points)) if depth[i] > 0))


def rankable(points: Sequence[TrialRecord], objectives: Sequence[str]) -> list[str]:
    """The objectives by which all of these points may be compared; energy is not always one."""
    generic = any(record.energy_coarse for record in points)
    mixed = len({record.energy_class for record in points}) > 1
    return [name for name in objectives if name != "energy_mj" or not (generic or mixed)]


def _gains(
    points: Sequence[TrialRecord],
    objectives: Sequence[str],
    teacher_metrics: Mapping[str, float],
    chance: Mapping[str, float],
) -> Array:
    """[n, k]: of each point what it gains over the teacher or over chance, by the objectives that rank these points."""
    unit = yardstick(teacher_metrics)
    usable = [name for name in rankable(points, objectives) if name in unit]
    columns = [_gain(name, points, unit[name], chance.get(name, 0.0)) for name in usable]
    return np.array(columns).reshape(len(usable), len(points)).T


def _gain(name: str, points: Sequence[TrialRecord], teacher: float, chance: float) -> Array:
    values = np.array([record.metrics[name] for record in points])
    if METRICS[name].quality:
        return (values - chance) / max(teacher - chance, _TINY)
    gain: Array = np.log2(max(teacher, _TINY) / np.maximum(values, _TINY))
    return -gain if METRICS[name].maximize else gain


def _knee_axis(name: str, points: Sequence[TrialRecord]) -> Array:
    values = np.array([record.metrics[name] for record in points])
    if METRICS[name].quality:
        return -values
    logs: Array = np.log(np.maximum(values, _TINY))
    return -logs if METRICS[name].maximize else logs


def _plane(costs: Array) -> Array:
    """Normal of the plane through each objective's best point; the even one where that plane slopes the wrong way.

    The smallest solution: where one point is the best in two costs that go together, these share one weight.
    """
    even = np.ones(costs.shape[1])
    normal: Array = np.linalg.lstsq(costs[np.argmin(costs, axis=0)], even)[0]
    return normal if (normal > 0).all() else even
