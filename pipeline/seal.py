"""The hash that shows whether the figures of the test split are those that were scored."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pipeline.errors import ConfigError
from pipeline.record import read_json
from pipeline.workspace import Workspace


def sealed(figures: Mapping[str, Any]) -> dict[str, Any]:
    """With their hash, as they are stored."""
    return {**figures, "seal": _hash(figures)}


def unsealed(workspace: Workspace) -> Mapping[str, Any]:
    """The stored figures. Errors: ConfigError when they were edited, or are none."""
    try:
        stored = dict(read_json(workspace.test_file))
    except (ValueError, TypeError):
        stored = {}
    seal = stored.pop("seal", None)
    if seal != _hash(stored):
        raise ConfigError(
            f"{workspace.test_file} was changed after it was sealed, so its figures are void; restore it, or begin a "
            "new search under another name: the test split of this one has been seen"
        )
    return {**stored, "seal": seal}


def _hash(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
