"""Which of many candidates is worth training next, where all but their quality is known: plain arrays in and out.

Accuracy is learned from the trials, device figures are not: they are given, so the model spends nothing on them. Where
one has been measured a candidate's place among the costs is certain; elsewhere it is given with its deviation, and the
worth is the mean over where it may be. What a candidate is worth is the volume that it is expected to add to the
front, per second that its training is expected to take.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.search.improvement import expected_improvement
from pipeline.search.surrogate import Belief, Near

Array = NDArray[np.float64]

LEAST_ERROR = 1e-3  # an error below it, perhaps 0 on few rows, is taken as this, so that it has a logarithm
# Before any student is trained: errors e^0.4 = 1.5 times the teacher's, give or take a quarter of it.
_EXPECTED, _GIVE_OR_TAKE = 0.4, 0.25
# What counts as one step of the covariance: nearly three quarters of an axis' half, one doubling of the size, two of a
# cost (of which there are two or more, that rise and fall together). Found on the MLPerf v2.x grids.
_AXIS, _DOUBLING = 0.7, 0.5
FEWEST = 2  # trained students before anything is predicted of others


@dataclass(frozen=True)
class Pool:
    """n candidates: `rows` [n, k] as `encoding` gives them, `costs` [n, d] as log2 of the teacher's.

    `sizes` [n, s], such as log2 of the multiply-accumulates over the teacher's, are no costs, but say much of accuracy.
    `doubts` [n, d] are standard deviations of costs that nobody measured, 0 where somebody has; None: all are known.
    `possible` [n] is how probable it is that all budgets are kept; None is certain. `seconds` [n] is what each takes
    where that is known beforehand, NaN elsewhere; None: of none.
    """

    rows: Array
    costs: Array
    sizes: Array
    possible: Array | None = None
    seconds: Array | None = None
    doubts: Array | None = None


@dataclass(frozen=True)
class Seen:
    """m trials: rows, costs and sizes as a pool's, `quality` [m], and `seconds` of training [m], NaN where not counted.

    `whole` [m] says which were trained to their end; the others teach the model and are no points of the front.
    """

    rows: Array
    costs: Array
    sizes: Array
    quality: Array
    seconds: Array
    whole: NDArray[np.bool_]


@dataclass(frozen=True)
class Goal:
    """Where volume begins: `corner` [d] of the costs, the quality `floor`; and the error of the teacher."""

    corner: Array
    floor: float
    teacher_error: float


def worth(pool: Pool, seen: Seen, goal: Goal) -> Array:
    """Expected hypervolume improvement per expected second of training, [n]; without timed trials, per training.

    Without any costs, a volume is what the best quality is ahead of the floor.
    """
    near = Near.of(_features(pool), _features(seen))
    error = np.log(np.maximum(1 - seen.quality, LEAST_ERROR))
    centre = np.log(max(goal.teacher_error, LEAST_ERROR)) + _EXPECTED
    errors = near.believe(error, centre=centre, scale=_GIVE_OR_TAKE)
    gain = _gain(pool, errors, seen, goal)
    seconds = _seconds(near, seen.seconds)
    if pool.seconds is not None and _timed(seen.seconds).sum() >= FEWEST:  # beside ones, seconds say nothing
        seconds = np.where(np.isfinite(pool.seconds), pool.seconds, seconds)
    return gain / seconds * (1.0 if pool.possible is None else pool.possible)


def _gain(pool: Pool, errors: Belief, seen: Seen, goal: Goal) -> Array:
    """Expected volume [n]; over costs in doubt by the three nodes of a Gauss-Hermite rule.

    All costs of a candidate move together, for what makes it fast makes it thrifty; none is hoped to be more than a
    doubling below the least one seen.
    """
    costs, spent, corner = pool.costs, seen.costs[seen.whole], goal.corner
    if not len(corner):
        costs, spent, corner = np.zeros((len(costs), 1)), np.zeros((len(spent), 1)), np.ones(1)
    quality = seen.quality[seen.whole]

    def expected(costs: Array, which: NDArray[np.bool_]) -> Array:
        mean, deviation = errors.mean[which], errors.deviation[which]
        return expected_improvement(costs, mean, deviation, spent, quality, corner, goal.floor)

    gain = expected(costs, np.ones(len(costs), dtype=bool))
    if pool.doubts is None or not (pool.doubts > 0).any():
        return gain
    unsure: NDArray[np.bool_] = np.any(pool.doubts > 0, axis=1)
    middle, away = costs[unsure], np.sqrt(3) * pool.doubts[unsure]
    least = np.minimum(middle, np.min(seen.costs, axis=0, initial=np.inf) - 1)
    low, high = expected(np.maximum(middle - away, least), unsure), expected(middle + away, unsure)
    gain[unsure] = (low + 4 * gain[unsure] + high) / 6
    return gain


def _features(of: Pool | Seen) -> Array:
    """What a student costs says much of what it can, so the costs are features, too."""
    return np.column_stack([of.rows * _AXIS, of.costs * _DOUBLING, of.sizes])


def _timed(seconds: Array) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(seconds) & (seconds > 0), dtype=bool)


def _seconds(near: Near, seconds: Array) -> Array:
    """Expected seconds of training, [n]; 1 where too few trials were timed."""
    timed = _timed(seconds)
    if timed.sum() < FEWEST:
        return np.ones(len(near.alone))
    logs = np.log(seconds[timed])
    return np.exp(near.among(timed).expect(logs, centre=float(logs.mean()), scale=max(float(logs.std()), 0.1)))
