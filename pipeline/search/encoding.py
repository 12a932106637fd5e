"""Candidates as rows of numbers, for models that learn from a few dozen of them.

Ordered axes keep their order, axes over orders of magnitude are logged, text is one column per value. Axes of two
student families with the same name (`width`, `layers`) share a column: what width does to one says something of the
other. An axis that a candidate does not have stands at 0, the middle, and a column of its own says that it is there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from search_spaces import IDENTITY, SearchSpace
from search_spaces.candidate import Scalar
from search_spaces.dimension import Dimension, Range

Array = NDArray[np.float64]
Flat = Mapping[str, Scalar]

_LOG_FROM = 3.0  # positive numbers whose largest is so many times the smallest are compared by their ratios


class Encoding:
    """The columns of a space; a value that it does not hold is only there, if it is text."""

    def __init__(self, space: SearchSpace) -> None:
        self._columns: dict[str, Callable[[Scalar], list[tuple[int, float]]]] = {}  # of a value, by flat name
        self._width = 0
        self._add(["student"], _named(list(space.students)), len(space.students))
        for dimensions in _axes(space).values():
            names = list(dict.fromkeys(name.split("@")[0] for name in dimensions))
            self._add(names, *_axis(list(dimensions.values())))

    def rows(self, candidates: Sequence[Flat], without: tuple[str, ...] = ()) -> Array:
        """[n, k] for n flat candidates; numbers lie in [-1, 1], marks and categories are 0 or 1.

        Axes whose names begin as one of `without` are left out, and columns that are the same for all of these
        candidates, or repeat another column.
        """
        asked = {name: of for name, of in self._columns.items() if not (without and name.startswith(without))}
        found = [[0.0] * self._width for _ in candidates]
        for row, flat in zip(found, candidates, strict=True):
            for name, value in flat.items():
                if name in asked:
                    for column, number in asked[name](value):
                        row[column] = number
        return _telling(np.array(found).reshape(len(found), self._width))

    def _add(self, names: Sequence[str], numbers: Callable[[Scalar], list[float]], count: int) -> None:
        first = self._width
        self._width += count
        # few values come again and again; of those that do not, no more are kept than memory bears
        found = lru_cache(maxsize=1024)(lambda value: list(enumerate(numbers(value), first)))
        self._columns |= dict.fromkeys(names, found)


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


def _axis(dimensions: Sequence[Dimension]) -> tuple[Callable[[Scalar], list[float]], int]:
    """What turns a value of these into numbers, the first of which says that it is there; and how many they are."""
    words = {str(value) for each in dimensions for value in each.values() or () if isinstance(value, str | bool)}
    if words:
        one_of = _named(sorted(words))
        return lambda value: [1.0, *one_of(value)], 1 + len(words)
    ends = [end for dimension in dimensions for end in _ends(dimension)]
    if not ends or min(ends) == max(ends):
        return lambda _: [1.0], 1
    low, high = min(ends), max(ends)
    logged = low > 0 and (high / low >= _LOG_FROM or any(isinstance(one, Range) and one.log for one in dimensions))
    scale = math.log if logged else float
    first, span = scale(low), scale(high) - scale(low)
    return lambda value: [1.0, 2 * (scale(float(value)) - first) / span - 1], 2


def _named(options: Sequence[str]) -> Callable[[Scalar], list[float]]:
    return lambda value: [float(str(value) == option) for option in options]


def _ends(dimension: Dimension) -> tuple[float, ...]:
    if isinstance(dimension, Range):
        return (dimension.low, dimension.high)
    return tuple(float(value) for value in dimension.values() or () if not isinstance(value, str | bool))


def _telling(matrix: Array) -> Array:
    varying = matrix[:, (matrix != matrix[:1]).any(axis=0)]
    _, first = np.unique(varying.round(9), axis=1, return_index=True)
    return varying[:, np.sort(first)]
