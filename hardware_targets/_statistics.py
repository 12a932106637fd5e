"""The small statistics of measuring: intervals, drift, percentiles, and which blocks were undisturbed. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

# Student's t for 7 degrees of freedom, two-sided, at 1 - 0.05 / 3: a session may stop at any of three looks, so each
# look may err a third as often as a 95 % interval does (Bonferroni).
T_EIGHT_SEGMENTS_THREE_LOOKS = 3.128
Z_THREE_LOOKS = 2.394  # the same for many degrees of freedom

FASTEST = 0.01  # the share of a side's blocks that says how fast it can be
NEAR = 1.08  # blocks up to this factor slower are undisturbed; the spread of a quiet machine's blocks fits in

# Calls that a percentile needs before MLPerf's early-stopping rule accepts it at 99 % confidence (MLPerf inference
# rules).
CALLS_NEEDED = {50: 11, 90: 64, 95: 130, 99: 662}


def percentile(values: Sequence[float], percent: int) -> float | None:
    """The order statistic at `percent`, or None when there are too few values to speak of it."""
    if len(values) < CALLS_NEEDED[percent]:
        return None
    return sorted(values)[math.ceil(percent / 100 * len(values)) - 1]


def drifts(values: Sequence[float]) -> bool:
    """Whether the least-squares slope over equally spaced values exceeds its own standard error; needs three."""
    y = np.asarray(values, dtype=float)
    x = np.arange(len(y)) - (len(y) - 1) / 2
    slope = float(x @ y / (x @ x))
    rest = y - y.mean() - slope * x
    error = math.sqrt(float(rest @ rest) / (len(y) - 2) / float(x @ x))
    return abs(slope) > error


def undisturbed(values: np.ndarray) -> np.ndarray:
    """A mask of the values near the fastest hundredth; others were slowed by something else on the machine."""
    mask: np.ndarray = values <= NEAR * np.quantile(values, FASTEST)
    return mask


def median_error(pools: Sequence[np.ndarray]) -> float:
    """Relative standard error of the mean of the pools' medians, were all values independent.

    A median's error is sqrt(pi / 2) times a mean's (normal distribution); pools of one value tell nothing and add 0.
    """
    shares = [
        math.sqrt(math.pi / 2) * float(np.std(np.log(pool), ddof=1)) / math.sqrt(len(pool)) if len(pool) > 1 else 0.0
        for pool in pools
    ]
    return math.hypot(*shares) / len(shares)


def jackknife(statistic: Callable[[np.ndarray], float], count: int, segments: int) -> tuple[float, float]:
    """`statistic` of all `count` moments, and the half-width of its 95 % interval over three looks.

    `statistic(mask [count])` is computed again without each of `segments` stretches of time in turn; neighbouring
    moments depend on each other, stretches hardly do (M. H. Quenouille 1949; H. R. Kuensch, Ann. Statist. 17 (1989)).
    """
    everything = np.ones(count, dtype=bool)
    without = []
    for stretch in np.array_split(np.arange(count), segments):
        keep = everything.copy()
        keep[stretch] = False
        without.append(statistic(keep))
    spread = float(np.sum((np.asarray(without) - np.mean(without)) ** 2))
    return statistic(everything), T_EIGHT_SEGMENTS_THREE_LOOKS * math.sqrt((segments - 1) / segments * spread)
