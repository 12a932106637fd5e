"""Trial doubles: they stand where an Optuna trial would, and write down what they are asked."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any


class RandomTrial:
    """Answers at random; `asked` maps each name to the set of values it was asked for."""

    def __init__(self, seed: int, asked: dict[str, Any] | None = None) -> None:
        self.random = random.Random(seed)
        self.asked: dict[str, Any] = {} if asked is None else asked

    def _note(self, name: str, kind: Any) -> None:
        # Optuna refuses a name whose values change; so does this double
        assert self.asked.setdefault(name, kind) == kind, f"{name} was {self.asked[name]}, now {kind}"

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        self._note(name, ("float", low, high, step, log))
        if step is not None:
            return low + step * self.random.randint(0, round((high - low) / step))
        return (
            min(high, math.exp(self.random.uniform(math.log(low), math.log(high))))
            if log
            else self.random.uniform(low, high)
        )

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        self._note(name, ("int", low, high, step, log))
        return self.random.randrange(low, high + 1, step)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        self._note(name, ("categorical", tuple(choices)))
        return self.random.choice(list(choices))


class OdometerTrial(RandomTrial):
    """Walks through every path of a finite space: `turn()` moves on and is False after the last one."""

    def __init__(self) -> None:
        super().__init__(0)
        self.wheels: list[list[int]] = []  # [position, count] per question
        self.place = 0

    def turn(self) -> bool:
        self.place = 0
        while self.wheels:
            self.wheels[-1][0] += 1
            if self.wheels[-1][0] < self.wheels[-1][1]:
                return True
            self.wheels.pop()
        return False

    def _next(self, count: int) -> int:
        if self.place == len(self.wheels):
            self.wheels.append([0, count])
        self.place += 1
        return self.wheels[self.place - 1][0]

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        self._note(name, ("float", low, high, step, log))
        assert step is not None, f"{name} is continuous"
        return low + step * self._next(round((high - low) / step) + 1)

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        self._note(name, ("int", low, high, step, log))
        return low + step * self._next((high - low) // step + 1)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        self._note(name, ("categorical", tuple(choices)))
        return choices[self._next(len(choices))]
