"""What can go wrong, as one small tree.

NiwakiError            70  our fault: a log is written, its path is printed
├── ConfigError         2  the user's input: what, why, what to type
├── Unavailable         3  something this machine does not have
├── NothingFits         1  a search or pick ended without a model
├── Refused             -  the candidate cannot be or need not be built: the trial ends, the search goes on
│   └── Stopped         -  it is left half-trained at a rung, and may go on later
└── Failed              -  the trial broke (NaN, time limit, a dead device): it ends, the search goes on

Interruption by Ctrl-C is exit 130 and no error of this tree.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

SHOWN = 20  # names in one sentence


class NiwakiError(Exception):
    """The root: a sentence for the user, and the process's exit code."""

    exit_code = 70


class ConfigError(NiwakiError):
    """The user's input is wrong; the sentence says what, why and what to type."""

    exit_code = 2


class Unavailable(NiwakiError):
    """Something needed is not on this machine."""

    exit_code = 3


class NothingFits(NiwakiError):
    """The question was good and the answer is: none."""

    exit_code = 1


class Refused(NiwakiError):
    """A trial ends before or without training; `violations` holds by how much each budget is exceeded.

    `measurement` is that of its untrained twin, as JSON, where there was one.
    """

    def __init__(
        self,
        reason: str,
        violations: dict[str, float] | None = None,
        metrics: dict[str, float] | None = None,
        measurement: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(reason)
        self.violations = violations or {}
        self.metrics = metrics or {}
        self.measurement = measurement


class Stopped(Refused):
    """A trial is left after `rung` epochs; `rung_accuracy` is the torch model's there."""

    def __init__(self, reason: str, rung: int, rung_accuracy: float, **known: Any) -> None:
        super().__init__(reason, **known)
        self.rung = rung
        self.rung_accuracy = rung_accuracy


class Failed(NiwakiError):
    """A trial broke: diverged, ran out of time, or its device died."""


def near(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'? there are: a, b, x`, for the end of a sentence about an unknown name; 20 of them at most."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    hint = f"; did you mean {close[0]!r}?" if close else ";"
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{hint} there are: {', '.join(names[:SHOWN])}{more}"
