"""What is to be learned. A file here without a leading underscore is a kind of task, holding a class `Task`."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from pipeline.config import TaskConfig
from pipeline.errors import ConfigError, near


class Task(Protocol):
    """A prepared data set; splits are train, validation, selection (never seen by the search) and test."""

    name: str
    classes: list[str]
    channels: int
    size: int  # side in pixels at which students get their inputs by default
    augmentations: list[str]
    metric: str

    @property
    def fingerprint(self) -> str: ...
    @property
    def mean(self) -> tuple[float, ...]: ...
    @property
    def std(self) -> tuple[float, ...]: ...
    def rows(self, split: str) -> int: ...
    def labels(self, split: str) -> np.ndarray: ...
    def pixels(self, split: str, size: int) -> np.ndarray: ...
    def feeds(self, split: str, size: int, limit: int | None = None) -> Path: ...
    def raw_images(self, split: str, limit: int) -> Sequence[Image.Image]: ...
    def preprocess(self, image: Image.Image, size: int) -> np.ndarray: ...
    def preprocessing(self, size: int) -> dict[str, Any]: ...
    def score(self, labels: np.ndarray, logits: np.ndarray) -> dict[str, float]: ...
    def class_weight_vector(self) -> np.ndarray: ...


def available() -> list[str]:
    """Kinds of task, by file name; nothing is imported."""
    return sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py"))


def load(config: TaskConfig, cache: Path) -> Task:
    """The task that `config` describes, its rows checked; `cache` is a folder for what is computed once.

    Errors: ConfigError for what the user can mend, Unavailable when the hub cannot be reached.
    """
    if config.kind not in available():
        raise ConfigError(f"no task of kind {config.kind!r}{near(config.kind, available())}")
    task: Task = importlib.import_module(f"pipeline.tasks.{config.kind}").Task(config, cache)
    return task
