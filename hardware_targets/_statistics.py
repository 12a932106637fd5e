"""The small statistics of measuring: intervals, drift, percentiles, and which blocks were undisturbed. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

# Student's t, two-sided, at 1 - 0.05 / 3, by the number of segments: a session may stop at any of three looks, so each
# look may err a third as often as a 95 % interval does (Bonferroni).
T_THREE_LOOKS = {2: 38.188, 3: 7.649, 4: 4.857, 5: 3.961, 6: 3.534, 7: 3.287, 8: 3.128}
Z_THREE_LOOKS = 2.394  # the same for many degrees of freedom
# The same for a final, by the number of processes that count. It may end early, and is then given a hundredth of error;
# the last look, where all eight processes count, the other four.
T_PROCESSES = {2: 63.657, 3: 9.925, 4: 5.841, 5: 4.604, 6: 4.032, 7: 3.707, 8: 2.517}

FASTEST = 0.01  # the share of a side's blocks that says how fast it can be
NEAR = 1.08  # blocks up to this factor slower are undisturbed; the spread of most quiet machines' blocks fits in
FARTHEST = 1.25  # where a machine's blocks spread more, the window grows with them, up to here
_WIDTH = 5.0  # standard deviations of a block between the fastest hundredth and the slowest undisturbed one
_GAP = {2: 0.954, 3: 0.690}  # of so many normal values: median distance of the two lowest, in standard deviations

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


def undisturbed(values: np.ndarray, near: float = NEAR) -> np.ndarray:
    """A mask of the values near the fastest hundredth; others were slowed by something else on the machine."""
    mask: np.ndarray = values <= near * fastest(np.sort(values))
    return mask


def undisturbed_median(values: np.ndarray, near: float = NEAR) -> float:
    """The median of the values near the fastest hundredth; sorted once, for a session asks for it a thousand times."""
    ordered = np.sort(values)
    count = int(np.searchsorted(ordered, near * fastest(ordered), side="right"))
    return float(ordered[(count - 1) // 2] + ordered[count // 2]) / 2


def fastest(ordered: np.ndarray) -> float:
    """The quantile `FASTEST` of sorted values, interpolated."""
    place = FASTEST * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return float(ordered[low] + (place - low) * (ordered[high] - ordered[low]))


def nearness(bursts: np.ndarray) -> float:
    """How many times slower than its fastest hundredth an undisturbed block may be; [bursts, blocks in a row].

    At least `NEAR`. The scatter of blocks in a row, in bursts that are undisturbed but for one block at most, is the
    machine's own; where five times of it is wider than `NEAR`, a window that cut it would make the median too low. Each
    wider window finds more such bursts, so it is looked at again. Bursts of one block tell nothing.
    """
    blocks = bursts.shape[1]
    if blocks not in _GAP:
        return NEAR
    logs = np.sort(np.log(bursts / fastest(np.sort(bursts, axis=None))), axis=1)
    width = math.log(NEAR)
    for _ in range(4):
        calm = logs[:, blocks - 2] <= width  # the fastest of two, the middle one of three: robust to one slow block
        if not calm.any():
            break
        scatter = float(np.median((logs[:, 1] - logs[:, 0])[calm])) / _GAP[blocks]
        width = min(math.log(FARTHEST), max(width, _WIDTH * scatter))
    return math.exp(width)


def median_error(pools: Sequence[np.ndarray]) -> float:
    """Relative standard error of the mean of the pools' medians, were all values independent.

    A median's error is sqrt(pi / 2) times a mean's (normal distribution); pools of one value tell nothing and add 0.
    """
    shares = [
        math.sqrt(math.pi / 2) * float(np.std(np.log(pool), ddof=1)) / math.sqrt(len(pool)) if len(pool) > 1 else 0.0
        for pool in pools
    ]
    return math.hypot(*shares) / len(shares)


def replicates(values: Sequence[float]) -> tuple[float, float]:
    """Mean of independent figures of a final's processes, and the half-width of its 95 % interval over two looks."""
    return float(np.mean(values)), T_PROCESSES[len(values)] * float(np.std(values, ddof=1)) / math.sqrt(len(values))


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
    return statistic(everything), T_THREE_LOOKS[segments] * math.sqrt((segments - 1) / segments * spread)
