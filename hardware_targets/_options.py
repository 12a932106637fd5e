"""Options of a target from a command line: `--set KEY=VALUE`, the same for every command that names a target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from hardware_targets._errors import TargetError

FLAGS = ("threads", "seconds")  # options of every target that have flags of their own


def options_of(pairs: Sequence[str]) -> dict[str, Any]:
    """`KEY=VALUE` each, the value read as YAML, so that `cores=[0,1]` is a list. Errors: TargetError."""
    found = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (key.isidentifier() and equals) or key in FLAGS:
            raise TargetError(f"--set {pair!r} sets no option of a target; give KEY=VALUE, e.g. --set memory_mb=512")
        try:
            found[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise TargetError(f"--set {pair!r} holds no YAML value; put quotes around it") from None
    return found
