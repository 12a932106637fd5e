"""In the place of MLflow, which takes most of a synthetic search's time."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any


class Untracked:
    """Takes what `pipeline.tracking.Tracker` takes, and writes nothing."""

    def __init__(self, *_: Any) -> None:
        self.running = nullcontext

    def __getattr__(self, _: str) -> Any:
        return lambda *_: None
