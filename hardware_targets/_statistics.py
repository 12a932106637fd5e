"""The small statistics of measuring: intervals, drift, percentiles, and which moments of a session were quiet. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import numpy as np

# Student's t, two-sided 97.5 %, by degrees of freedom (any statistics table). A session may stop at either of two
# looks, so each look may err half as often as a 95 % interval does (Bonferroni); that also covers what choosing quiet
# groups costs.
_T = (25.452, 6.205, 4.177, 3.495, 3.163, 2.969, 2.841, 2.752, 2.685, 2.634, 2.593, 2.560, 2.533, 2.510, 2.490)
_T_MORE = ((20, 2.423), (25, 2.385), (30, 2.360))

# Calls that a percentile needs before MLPerf's early-stopping rule accepts it at 99 % confidence (MLPerf inference
# rules).
CALLS_NEEDED = {50: 11, 90: 64, 95: 130, 99: 662}


def t_two_looks(degrees: int) -> float:
    """The t quantile of an interval that holds 95 % over two looks; between entries the wider one."""
    if degrees <= len(_T):
        return _T[degrees - 1]
    return next((value for limit, value in reversed(_T_MORE) if degrees >= limit), _T[-1])


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and the half-width of its 95 % t interval; needs two values."""
    half = t_two_looks(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return statistics.fmean(values), half


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


def trimmed_interval(values: Sequence[float], share: float = 0.2) -> tuple[float, float]:
    """Trimmed mean and the half-width of its 95 % interval; a burst in single values does not move it.

    `share` of the values is left out at each end and winsorised for the standard error: J. W. Tukey and D. H.
    McLaughlin, Sankhya A 25 (1963). Needs four values.
    """
    ordered = sorted(values)
    count, cut = len(ordered), int(share * len(ordered))
    inner = ordered[cut : count - cut]
    winsorised = [inner[0]] * cut + inner + [inner[-1]] * cut
    error = statistics.stdev(winsorised) / ((1 - 2 * cut / count) * math.sqrt(count))
    return statistics.fmean(inner), t_two_looks(len(inner) - 1) * error


def quiet(slowness: np.ndarray, slices: np.ndarray, keep: int) -> np.ndarray:
    """A mask of the `keep` groups whose neighbours in time were the least disturbed.

    `slowness` [groups] is the mean log time of each group's blocks, both sides; `slices` [groups] says which inputs it
    worked on, and only groups with the same inputs are compared. A group is judged by the slower of its two neighbours,
    never by itself: its own noise then has no part in the choice, and the choice cannot lean its ratio to either side.
    """
    disturbance = slowness.astype(float).copy()
    for part in np.unique(slices):
        disturbance[slices == part] -= disturbance[slices == part].min()
    padded = np.pad(disturbance, 1, constant_values=-np.inf)
    around = np.maximum(padded[:-2], padded[2:])
    mask = np.zeros(len(around), dtype=bool)
    mask[np.argsort(around, kind="stable")[:keep]] = True
    return mask
