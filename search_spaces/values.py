"""Single values of axes: their kinds, equality and nearness, and the error that quotes them."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable
from typing import Any

from search_spaces.candidate import Scalar


class SpaceError(ValueError):
    """A space cannot be what was written: what, why, and what to type."""


def near(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'? there are: a, b, x`, for the end of a sentence about an unknown name."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    hint = f"; did you mean {close[0]!r}?" if close else ";"
    return f"{hint} there are: {', '.join(names)}"


def kind_of(value: Any) -> str:
    """`number`, `text`, `boolean`, or the type's name for what no axis can hold."""
    # bool is a subclass of int in Python; here `true` is never 1
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number" if math.isfinite(value) else "no finite number"
    return "text" if isinstance(value, str) else type(value).__name__


def number_in_text(value: Any) -> Any:
    """The number that a text like `1e-3` writes; anything else as it is."""
    # PyYAML follows YAML 1.1 and reads 1e-3 as text; people mean the number
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value):
        return float(value)
    return value


def same(options: tuple[Scalar, ...], value: Any) -> Scalar | None:
    """The option that equals `value` and is of its kind, or None."""
    return next((option for option in options if option == value and kind_of(option) == kind_of(value)), None)


def nearest(options: tuple[Scalar, ...], wanted: Scalar) -> Scalar:
    """`wanted` if it is an option, else the nearest number, else the first option."""
    if wanted in options or kind_of(wanted) != "number":
        return wanted if wanted in options else options[0]
    return min(options, key=lambda option: abs(float(option) - float(wanted)))
