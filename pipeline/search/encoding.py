"""Candidates as rows of numbers, for models that learn from a few dozen of them.

Ordered axes keep their order, axes over orders of magnitude are logged, text is one column per value. Axes of two
student families with the same name (`width`, `layers`) share a column: what width does to one says something of the
other. An axis that a candidate does not have stands at 0, the middle, and a column of its own says that it is there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from search_spaces import IDENTITY, SearchSpace
from search_spaces.candidate import Scalar
from search_spaces.dimension import Dimension, Range

Array = NDArray[np.float64]
Flat = Mapping[str, Scalar]

_LOG_FROM = 3.0  # positive numbers whose largest is so many times the smallest are compared by their ratios


def encode(candidates: Sequence[Flat], space: SearchSpace) -> Array:
    """[n, k] for n flat candidates of `space`; numbers lie in [-1, 1], marks and categories are 0 or 1.

    Columns that are the same for all of these candidates, or repeat another column, are left out.
    """
    columns = [np.array([float(flat["student"] == name) for flat in candidates]) for name in space.students]
    for dimensions in _axes(space).values():
        plain = tuple(dict.fromkeys(name.split("@")[0] for name in dimensions))
        found = [_own(flat, plain) for flat in candidates]
        columns += _columns(found, list(dimensions.values()))
    matrix = np.column_stack(columns) if columns else np.zeros((len(candidates), 0))
    return _telling(matrix)


def _axes(space: SearchSpace) -> dict[str, dict[str, Dimension]]:
    """The axes under their column's name: flat name -> dimension, several flat names where families share an axis."""
    axes: dict[str, dict[str, Dimension]] = {}
    for student, described in space.students.items():
        if student != IDENTITY:
            for axis, dimension in described.axes.items():
                axes.setdefault(axis, {})[f"{student}.{axis}"] = dimension
        axes.setdefault("quantize.scheme", {})[f"quantize.scheme@{student}"] = described.scheme
    for section, dimensions in (("distill", space.distill), ("prune", space.prune), ("quantize", space.quantize)):
        axes |= {f"{section}.{axis}": {f"{section}.{axis}": dimension} for axis, dimension in dimensions.items()}
    return axes


def _own(flat: Flat, names: Sequence[str]) -> Scalar | None:
    """A candidate's value on an axis, by whichever of its flat names it has; None where it does not have the axis."""
    for name in names:
        if name in flat:
            return flat[name]
    return None


def _columns(values: Sequence[Scalar | None], dimensions: Sequence[Dimension]) -> list[Array]:
    there = np.array([float(value is not None) for value in values])
    if any(isinstance(value, str | bool) for value in values):
        options = sorted({str(value) for value in values if value is not None})
        return [there, *(np.array([float(str(value) == option) for value in values]) for option in options)]
    ends = [end for dimension in dimensions for end in _ends(dimension)]
    if not ends or min(ends) == max(ends):
        return [there]
    low, high = min(ends), max(ends)
    logged = low > 0 and (high / low >= _LOG_FROM or any(isinstance(one, Range) and one.log for one in dimensions))
    scale = math.log if logged else float
    first, span = scale(low), scale(high) - scale(low)
    return [there, np.array([0.0 if v is None else 2 * (scale(float(v)) - first) / span - 1 for v in values])]


def _ends(dimension: Dimension) -> tuple[float, ...]:
    if isinstance(dimension, Range):
        return (dimension.low, dimension.high)
    return tuple(float(value) for value in dimension.values() or () if not isinstance(value, str | bool))


def _telling(matrix: Array) -> Array:
    varying = matrix[:, (matrix != matrix[:1]).any(axis=0)]
    _, first = np.unique(varying.round(9), axis=1, return_index=True)
    return varying[:, np.sort(first)]
