"""One axis of a space: a fixed value, a choice or a range; read from a plain YAML value, suggested through a trial."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, Protocol

from search_spaces.candidate import Scalar
from search_spaces.values import SpaceError, kind_of, near, nearest, number_in_text, same

_DIGITS = 10  # decimals kept on a stepped axis, so that 3 x 0.1 is 0.3 in every candidate's key


class TrialLike(Protocol):
    """The part of optuna.Trial that a space talks to."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float: ...

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int: ...

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any: ...


@dataclass(frozen=True)
class Fixed:
    """An axis with one value; nothing is suggested."""

    value: Scalar

    @property
    def start(self) -> Scalar:
        return self.value

    def suggest(self, trial: TrialLike, name: str) -> Scalar:  # noqa: ARG002 - the same call as the other axes
        return self.value

    def parameter(self, value: Scalar) -> Scalar:
        return value

    def take(self, value: Any) -> Scalar | None:
        return Choice((self.value,)).take(value)

    def contains(self, value: Any) -> bool:
        return self.take(value) is not None

    def values(self) -> tuple[Scalar, ...]:
        return (self.value,)

    def narrowed(self, raw: Any) -> Dimension:
        return Choice((self.value,)).narrowed(raw)

    def describe(self) -> Any:
        return self.value

    def __str__(self) -> str:
        return str(self.value)


@dataclass(frozen=True)
class Choice:
    """An axis with listed values, all numbers (kept in rising order), all text or all booleans."""

    options: tuple[Scalar, ...]
    default: Scalar | None = None

    def __post_init__(self) -> None:
        if not self.options:
            raise SpaceError("an empty list leaves nothing to choose; give at least one value")
        if len({kind_of(option) for option in self.options}) > 1:
            raise SpaceError(f"{list(self.options)!r} mixes kinds of values; give numbers, text or booleans alone")
        options = tuple(dict.fromkeys(self.options))
        if kind_of(options[0]) == "number":
            number = float if any(isinstance(option, float) for option in options) else int
            options = tuple(sorted(number(option) for option in options))
        object.__setattr__(self, "options", options)

    @property
    def start(self) -> Scalar:
        """The value of a recipe that says nothing of this axis."""
        return self.options[0] if self.default is None else nearest(self.options, self.default)

    def suggest(self, trial: TrialLike, name: str) -> Scalar:
        """Ask for one of the values; numbers are asked for in their order, never as unordered categories."""
        if len(self.options) == 1:
            return self.options[0]
        if not self._numbers:
            chosen: Scalar = trial.suggest_categorical(name, self.options)
            return chosen
        if self._as_range is not None:
            return self._as_range.suggest(trial, name)
        return self.options[trial.suggest_int(name, 0, len(self.options) - 1)]

    def parameter(self, value: Scalar) -> Scalar:
        """What `suggest` must be given by the sampler to return `value`: itself, or its place in the list."""
        if self._numbers and self._as_range is None:
            return self.options.index(value)
        return value

    def take(self, value: Any) -> Scalar | None:
        """`value` as this axis writes it (2 becomes 2.0 on an axis of floats), None if it is not an option."""
        value = number_in_text(value) if self._numbers else value
        return same(self.options, value)

    def contains(self, value: Any) -> bool:
        return self.take(value) is not None

    def values(self) -> tuple[Scalar, ...]:
        return self.options

    def narrowed(self, raw: Any) -> Dimension:
        """This axis with fewer values: a scalar, a list, or low/high bounds. Errors: SpaceError."""
        if not isinstance(raw, Mapping):
            return _listed(self, raw, self.default)
        if not self._numbers:
            raise SpaceError(f"{dict(raw)!r} is a range, but this is a choice; give {self}")
        low, high = _bounds(raw, ("low", "high"), min(self.options), max(self.options))
        inside = tuple(option for option in self.options if low <= option <= high)  # type: ignore[operator]
        if not inside:
            raise SpaceError(f"{dict(raw)!r} holds none of the possible values; give {self}")
        return Fixed(inside[0]) if len(inside) == 1 else Choice(inside, self.default)

    def describe(self) -> Any:
        return list(self.options)

    # Cached: a search puts thousands of candidates together for each that it tries.

    @cached_property
    def _numbers(self) -> bool:
        return kind_of(self.options[0]) == "number"

    @cached_property
    def _as_range(self) -> Range | None:
        numbers: tuple[Any, ...] = self.options
        step = numbers[1] - numbers[0] if len(numbers) > 1 else 0
        even = all(math.isclose(b - a, step, rel_tol=1e-9) for a, b in pairwise(numbers))
        if not step or not even:
            return None
        whole = isinstance(numbers[0], int)
        return Range(numbers[0], numbers[-1], step if whole else round(step, _DIGITS), integer=whole)

    def __str__(self) -> str:
        return f"one of {', '.join(str(option) for option in self.options)}"


@dataclass(frozen=True)
class Range:
    """An axis from `low` to `high`, both included; whole numbers where `integer`, on a grid where `step` is given."""

    low: float
    high: float
    step: float | None = None
    log: bool = False
    integer: bool = False
    default: Scalar | None = None

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise SpaceError(f"low {self.low:g} is above high {self.high:g}; swap them")
        if self.log and self.low <= 0:
            raise SpaceError(f"low {self.low:g} has no logarithm; give a low above 0 or `log: false`")
        if self.log and self.step is not None:
            raise SpaceError(f"step {self.step:g} and log do not go together; leave out one of them")
        if self.step is not None and not self._on_grid(self.high):
            last = self.low + self.step * math.floor((self.high - self.low) / self.step + 1e-9)
            raise SpaceError(f"high {self.high:g} is no whole number of steps of {self.step:g}; give `high: {last:g}`")

    @property
    def start(self) -> Scalar:
        """The value of a recipe that says nothing of this axis; the end nearest to a default that was cut off."""
        wanted = self.low if self.default is None else self.default
        inside = min(max(float(wanted), self.low), self.high)
        if self.step is not None:
            inside = self.low + self.step * round((inside - self.low) / self.step)
        return self._own(inside)

    def suggest(self, trial: TrialLike, name: str) -> Scalar:
        """Ask for a value; a whole number, or a float rounded to the grid."""
        if self.low == self.high:
            return self._own(self.low)
        if self.integer:
            return trial.suggest_int(name, int(self.low), int(self.high), step=int(self.step or 1), log=self.log)
        return self._own(trial.suggest_float(name, self.low, self.high, step=self.step, log=self.log))

    def parameter(self, value: Scalar) -> Scalar:
        return value

    def take(self, value: Any) -> Scalar | None:
        """`value` as this axis writes it, None if it is outside or off the grid."""
        value = number_in_text(value)
        if kind_of(value) != "number" or not self.low <= value <= self.high:
            return None
        if self.integer and value != int(value):
            return None
        if self.step is not None and not self._on_grid(value):
            return None
        return self._own(value)

    def contains(self, value: Any) -> bool:
        return self.take(value) is not None

    def values(self) -> tuple[Scalar, ...] | None:
        """Every value in order, None where they cannot be counted."""
        step = 1.0 if self.step is None and self.integer else self.step
        if self.low == self.high:
            return (self._own(self.low),)
        if step is None:
            return None
        return tuple(self._own(self.low + index * step) for index in range(round((self.high - self.low) / step) + 1))

    def narrowed(self, raw: Any) -> Dimension:
        """This axis with fewer values: a scalar, a list, or low/high(/step/log). Errors: SpaceError."""
        if not isinstance(raw, Mapping):
            return _listed(self, raw, self.default)
        low, high = _bounds(raw, ("low", "high", "step", "log"), self.low, self.high)
        for end in (low, high):
            _inside(self, end)
        step = self._narrowed_step(raw.get("step"))
        log = raw.get("log", self.log and step is None)
        if not isinstance(log, bool):
            raise SpaceError(f"log: {log!r} is neither true nor false; give one of them")
        inner = replace(self, low=float(self._own(low)), high=float(self._own(high)), step=step, log=log)
        return Fixed(inner.start) if inner.low == inner.high else inner

    def describe(self) -> Any:
        step = {} if self.step is None else {"step": int(self.step) if self.integer else self.step}
        return {"low": self._own(self.low), "high": self._own(self.high), **step, "log": self.log}

    def _narrowed_step(self, raw: Any) -> float | None:
        if raw is None:
            return self.step
        unit = 1 if self.step is None and self.integer else self.step
        times = raw / unit if unit and kind_of(raw) == "number" else 1.0
        if kind_of(raw) != "number" or raw <= 0 or not math.isclose(times, round(times), abs_tol=1e-9):
            wanted = f"a multiple of {unit:g}" if unit else "a number above 0"
            raise SpaceError(f"step: {raw!r} does not fit; give {wanted}")
        return int(raw) if self.integer else float(raw)

    def _on_grid(self, value: float) -> bool:
        steps = (value - self.low) / (self.step or 1)
        return math.isclose(steps, round(steps), abs_tol=1e-6)

    def _own(self, value: float) -> Scalar:
        if self.integer:
            return round(value)
        return float(value) if self.step is None else round(float(value), _DIGITS)

    def __str__(self) -> str:
        step = f" in steps of {self.step:g}" if self.step is not None else ""
        return f"{'a whole number' if self.integer else 'a number'} from {self.low:g} to {self.high:g}{step}"


Dimension = Fixed | Choice | Range


def _inside(dimension: Choice | Range, value: Any) -> Scalar:
    own = dimension.take(value)
    if own is None:
        raise SpaceError(f"{value!r} is not possible here; give {dimension}")
    return own


def _listed(dimension: Choice | Range, raw: Any, default: Scalar | None) -> Dimension:
    if not isinstance(raw, list | tuple):
        return Fixed(_inside(dimension, raw))
    if not raw:
        raise SpaceError(f"[] leaves nothing to choose; give {dimension}")
    options = tuple(dict.fromkeys(_inside(dimension, value) for value in raw))
    return Fixed(options[0]) if len(options) == 1 else Choice(options, default)


def _bounds(raw: Mapping[Any, Any], known: tuple[str, ...], low: Any, high: Any) -> tuple[float, float]:
    for key in raw:
        if key not in known:
            raise SpaceError(f"unknown key {key!r} in a range{near(str(key), known)}")
    ends = [number_in_text(raw.get("low", low)), number_in_text(raw.get("high", high))]
    for name, end in zip(("low", "high"), ends, strict=True):
        if kind_of(end) != "number":
            raise SpaceError(f"{name}: {end!r} is not a number; give one from {low:g} to {high:g}")
    if ends[0] > ends[1]:
        raise SpaceError(f"low {ends[0]:g} is above high {ends[1]:g}; swap them")
    return ends[0], ends[1]
