"""What can go wrong while measuring; every message is a sentence for the user.

TargetError           2  the user's input: a missing file, an odd thread count, feeds that do not fit
├── UnknownPart       2  no target, meter or runtime of that name
└── DeviceFailure     3  the device did not deliver: the child died, ran out of time, could not get the lock
    ├── BadModel      2  the runtime of the device does not take this model file
    └── DeviceAway    3  a remote device does not answer; the same call works when it is back
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TargetError(Exception):
    """The root: a sentence, and the exit code of `python -m hardware_targets`."""

    exit_code = 2


class UnknownPart(TargetError):
    """A name that no file in the folder answers to."""


class DeviceFailure(TargetError):
    """The device gave no figure; the trial fails, the search goes on."""

    exit_code = 3


class BadModel(DeviceFailure):
    """The runtime refused the model file or its inputs."""

    exit_code = 2


class DeviceAway(DeviceFailure):
    """The link to a remote device stays down; nothing is wrong with the model, which can be measured later."""


def unknown(role: str, name: str, known: Iterable[str]) -> UnknownPart:
    """The error for a name that does not exist, with the nearest one that does."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return UnknownPart(f"no {role} named {name!r}; {hint}there are: {', '.join(names)}")
