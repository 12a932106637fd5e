"""Distinct candidates to choose among: all of a small space; of a large one a random part, and neighbours of the best.

Each is put together by the space itself, through a trial-like object, so none is impossible.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain, count
from typing import Any

import numpy as np

from search_spaces import SearchSpace
from search_spaces.candidate import Candidate, Scalar

MOST_LISTED = 2000  # a space with no more candidates is listed whole
SIZE = 600  # of the part of a larger one, while few were tried
LATER, MANY = 300, 50  # its size from so many tried candidates on: half as many find no less then
_NEAR = 0.5  # of that part: neighbours of the best
_CHANGED = 0.2  # chance that a neighbour differs in an axis
_TRIES = 20  # for each place, before a small remainder is taken as it is


def whole(space: SearchSpace) -> list[Candidate] | None:
    """All candidates of a small space; None of a larger one."""
    size = space.size()
    return None if size is None or size > MOST_LISTED else list(every(space))


def candidates(
    space: SearchSpace, tried: Collection[str], starts: Sequence[Mapping[str, Scalar]], chance: np.random.Generator
) -> list[Candidate]:
    """Candidates of `space` whose keys are not in `tried`, each once; `starts` are parameters worth a look around."""
    found: dict[str, Candidate] = {}
    numbers, wanted = _numbers(chance), SIZE if len(tried) < MANY else LATER
    for _ in range(wanted * _TRIES):
        near = starts and next(numbers) < _NEAR
        start = starts[int(next(numbers) * len(starts))] if near else {}
        candidate = space.sample(_Drawn(numbers, start), 0)
        if candidate.key not in tried:
            found.setdefault(candidate.key, candidate)
        if len(found) >= wanted:
            break
    return list(found.values())


def every(space: SearchSpace) -> Iterator[Candidate]:
    """All candidates of a finite space, in a fixed order."""
    digits: list[int] = []
    while True:
        asked = _Counted(digits)
        yield space.sample(asked, 0)
        digits = [*asked.digits[: len(asked.bases)]]
        while digits and digits[-1] == asked.bases[len(digits) - 1] - 1:
            digits.pop()
        if not digits:
            return
        digits[-1] += 1


class _Counted:
    """A trial that answers with the option that each digit of a number says; its bases are the numbers of options."""

    def __init__(self, digits: Sequence[int]) -> None:
        self.digits, self.bases = list(digits), list[int]()

    def suggest_float(
        self,
        name: str,
        low: float,
        high: float,
        *,
        step: float | None = None,
        log: bool = False,  # noqa: ARG002
    ) -> float:
        if step is None:
            raise ValueError(f"{name}, {low:g} to {high:g} without a step, cannot be counted")
        return low + step * self._next(round((high - low) / step) + 1)

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:  # noqa: ARG002
        return low + step * self._next((high - low) // step + 1)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:  # noqa: ARG002
        return choices[self._next(len(choices))]

    def _next(self, base: int) -> int:
        place = len(self.bases)
        self.bases.append(base)
        if place == len(self.digits):
            self.digits.append(0)
        return self.digits[place]


class _Drawn:
    """A trial that draws evenly, and mostly keeps to the parameters of `start` where these say something.

    `numbers` lie in [0, 1); thousands are asked for, and drawn one by one they cost more than all else.
    """

    def __init__(self, numbers: Iterator[float], start: Mapping[str, Scalar]) -> None:
        self._numbers, self._start = numbers, start

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        if self._keeps(name):
            return float(self._start[name])
        if step is not None:
            return low + step * self._below(round((high - low) / step) + 1)
        if not log:
            return low + (high - low) * next(self._numbers)
        first, last = math.log(low), math.log(high)
        return min(max(math.exp(first + (last - first) * next(self._numbers)), low), high)

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        if self._keeps(name):
            return int(self._start[name])
        if log:
            first, last = math.log(low - 0.5), math.log(high + 0.5)
            return min(max(round(math.exp(first + (last - first) * next(self._numbers))), low), high)
        return low + step * self._below((high - low) // step + 1)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._start[name] if self._keeps(name) else choices[self._below(len(choices))]

    def _below(self, count: int) -> int:
        return int(next(self._numbers) * count)

    def _keeps(self, name: str) -> bool:
        return name in self._start and next(self._numbers) >= _CHANGED


def _numbers(chance: np.random.Generator) -> Iterator[float]:
    return chain.from_iterable(chance.random(4096).tolist() for _ in count())
