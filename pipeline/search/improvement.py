"""Expected hypervolume improvement where the costs are known and only the quality is uncertain: a closed form.

A front is a stair over the plane of the costs: at costs u the best quality to be had is `height(u)`, the largest one of
the points that cost no more than u in every column, or `floor` where there is none. A new point with costs c and
quality q lifts the stair to q wherever u >= c, so the volume that it adds is

    gain(q) = integral over c <= u <= corner of max(q - height(u), 0) du.

The stair is constant on the cells of the grid that the points' costs draw, and the expectation goes into the sum: a
cell of height h counts with its area times E[max(q - h, 0)]. What is believed of a student is the logarithm of its
error e = 1 - q, a Gaussian of mean m and deviation s, for errors fall as powers of size. So with k = 1 - h

    E[max(q - h, 0)] = E[max(k - e, 0)] = k Phi(d) - exp(m + s^2 / 2) Phi(d - s),   d = (ln k - m) / s.

Nothing is sampled and nothing is approximated. The general case, every objective uncertain, needs much more: Emmerich,
Deutz and Klinkenberg, "Hypervolume-based expected improvement: monotonicity properties and exact computation", IEEE
CEC 2011. Pure functions over arrays; smaller costs and larger qualities are better.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from pipeline.pareto import efficient

Array = NDArray[np.float64]

_MOST_TERMS = 2_000_000  # candidates x cells at a time: bounds the memory of one call to some 50 MB


def expected_improvement(
    costs: Array, mean: Array, deviation: Array, front_costs: Array, front_quality: Array, corner: Array, floor: float
) -> Array:
    """Expected volume that each of n candidates adds to a front, [n].

    `costs` [n, d] are the candidates', `mean` and `deviation` [n] those of the logarithms of their errors;
    `front_costs` [m, d] and `front_quality` [m] those of points observed, with or without dominated ones. Volume counts
    up to `corner` [d] and above the quality `floor`. A deviation of 0 is a known error.
    """
    edges, heights = _stair(front_costs, front_quality, corner, floor)
    levels, which = np.unique(heights.reshape(-1), return_inverse=True)
    found = np.empty(len(costs))
    step = max(1, _MOST_TERMS // heights.size)
    for start in range(0, len(costs), step):
        rows = slice(start, start + step)
        excess = _expected_excess(mean[rows, None], deviation[rows, None], levels[None, :])
        found[rows] = (_areas(costs[rows], edges, which, len(levels)) * excess).sum(axis=1)
    return found


def _stair(costs: Array, quality: Array, corner: Array, floor: float) -> tuple[list[Array], Array]:
    """The edges of the cells in each column of the costs, the corner last, and the height over each cell [k1, k2, ...].

    The first cell of a column lies below every point: its lower edge is minus infinity.
    """
    inside = (costs < corner).all(axis=1) & (quality > floor)
    costs, quality = costs[inside], quality[inside]
    kept = efficient(np.column_stack([costs, -quality]))
    costs, quality = costs[kept], quality[kept]
    edges = [np.concatenate(([-np.inf], np.unique(column), [end])) for column, end in zip(costs.T, corner, strict=True)]
    heights = np.full([len(column) - 1 for column in edges], floor)
    places = tuple(np.searchsorted(column, values) for column, values in zip(edges, costs.T, strict=True))
    np.maximum.at(heights, places, quality)
    for axis in range(heights.ndim):
        np.maximum.accumulate(heights, axis=axis, out=heights)
    return edges, heights


def _areas(costs: Array, edges: list[Array], which: NDArray[np.intp], levels: int) -> Array:
    """How much of the plane beyond each candidate's costs lies at each height, [n, levels]."""
    cells = np.ones((len(costs), 1))
    for column, own in zip(edges, costs.T, strict=True):
        lengths = np.maximum(column[1:] - np.maximum(column[:-1], own[:, None]), 0.0)
        cells = (cells[:, :, None] * lengths[:, None, :]).reshape(len(costs), -1)
    order = np.argsort(which, kind="stable")
    starts = np.searchsorted(which[order], np.arange(levels))
    return np.add.reduceat(cells[:, order], starts, axis=1)


def _expected_excess(mean: Array, deviation: Array, height: Array) -> Array:
    """E[max(1 - exp(z) - height, 0)] for z ~ N(mean, deviation^2)."""
    room = 1 - height  # the error at which nothing is gained any more
    with np.errstate(divide="ignore", invalid="ignore"):
        place = (np.log(room) - mean) / deviation
    spread = room * ndtr(place) - np.exp(mean + np.square(deviation) / 2) * ndtr(place - deviation)
    found: Array = np.where(deviation > 0, spread, room - np.exp(mean))
    return np.where(room > 0, np.maximum(found, 0.0), 0.0)
