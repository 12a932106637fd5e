"""Distinct candidates to choose among: all of a small space; of a large one a random part, and neighbours of the best.

Each is put together by the space itself, through a trial-like object, so none is impossible.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from search_spaces import SearchSpace
from search_spaces.candidate import Candidate, Scalar

MOST_LISTED = 2000  # a space with no more candidates is listed whole
SIZE = 600  # of the part of a larger one
_NEAR = 0.5  # of that part: neighbours of the best
_CHANGED = 0.2  # chance that a neighbour differs in an axis
_TRIES = 20  # for each place, before a small remainder is taken as it is


def candidates(
    space: SearchSpace, tried: Collection[str], best: Sequence[Candidate], chance: np.random.Generator
) -> list[Candidate]:
    """Candidates of `space` whose keys are not in `tried`, each once; `best` are those worth a look around them."""
    size = space.size()
    if size is not None and size <= MOST_LISTED:
        return [candidate for candidate in every(space) if candidate.key not in tried]
    around = [space.params_of(candidate.flat()) for candidate in best]
    known = [params for params in around if not isinstance(params, str)]
    found: dict[str, Candidate] = {}
    for _ in range(SIZE * _TRIES):
        near = known and chance.random() < _NEAR
        start = known[int(chance.integers(len(known)))] if near else {}
        candidate = space.sample(_Drawn(chance, start), 0)
        if candidate.key not in tried:
            found.setdefault(candidate.key, candidate)
        if len(found) >= SIZE:
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
    """A trial that draws evenly, and mostly keeps to the parameters of `start` where these say something."""

    def __init__(self, chance: np.random.Generator, start: Mapping[str, Scalar]) -> None:
        self._chance, self._start = chance, start

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        if self._keeps(name):
            return float(self._start[name])
        if step is not None:
            return low + step * int(self._chance.integers(round((high - low) / step) + 1))
        drawn = self._chance.uniform(np.log(low), np.log(high)) if log else self._chance.uniform(low, high)
        return float(min(max(np.exp(drawn) if log else drawn, low), high))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        if self._keeps(name):
            return int(self._start[name])
        if log:
            drawn = np.exp(self._chance.uniform(np.log(low - 0.5), np.log(high + 0.5)))
            return int(min(max(round(drawn), low), high))
        return low + step * int(self._chance.integers((high - low) // step + 1))

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._start[name] if self._keeps(name) else choices[int(self._chance.integers(len(choices)))]

    def _keeps(self, name: str) -> bool:
        return name in self._start and self._chance.random() >= _CHANGED
