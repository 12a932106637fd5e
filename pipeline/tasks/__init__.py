"""What is to be learned. A file here without a leading underscore is a kind of task, holding a class `Task`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from pipeline.artifact import View
from pipeline.config import TaskConfig
from pipeline.errors import ConfigError, near
from search_spaces import TaskInput

if TYPE_CHECKING:
    import torch

    from pipeline.training import Batch


@dataclass(frozen=True)
class InputSpec:
    """An input of the exported file: its name, which is `forward`'s too, and the names of the axes that may vary."""

    name: str
    dynamic: Mapping[int, str] = field(default_factory=dict)  # axis -> its name


class Batches(Protocol):
    """Rows of one split as a model reads them, in batches."""

    @property
    def steps(self) -> int:
        """Batches per epoch."""
        ...

    def epoch(self, generator: torch.Generator) -> Iterator[Batch]:
        """One pass in random order; `generator` decides the order and every augmentation."""
        ...

    def in_order(self, batch_size: int = 256) -> Iterator[Batch]:
        """Every row once, as it is; `Batch.rows` says which, for batches may be sorted by length inside."""
        ...

    def pieces(self) -> np.ndarray | None:
        """int64 word pieces that an epoch can show, each once; None of images."""
        ...


class Task(Protocol):
    """A prepared data set; splits are train, validation, selection (never seen by the search) and test.

    A view is how a model reads a row: `{"input_size": 28}` of images, `{"max_length": 64, "vocabulary": "full"}` (or
    "used") of texts.
    """

    name: str
    classes: list[str]
    augmentations: list[str]
    metric: str
    template: str  # the script of a picked folder, in pipeline/templates

    @property
    def fingerprint(self) -> str: ...
    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of the data and how they are read, a sentence each; never of test."""
        ...

    def task_input(self) -> TaskInput: ...
    def rows(self, split: str) -> int: ...
    def labels(self, split: str) -> np.ndarray: ...
    def score(self, labels: np.ndarray, logits: np.ndarray) -> dict[str, float]: ...
    def class_weight_vector(self) -> np.ndarray: ...

    @property
    def extra(self) -> Mapping[str, str]:
        """Rows without labels that an epoch of train can show, numbered behind its own in this order.

        By name, under which `rows` and `batches` know them, with a key that changes when they change.
        """
        ...

    def check_extra(self) -> None:
        """Errors: ConfigError, Unavailable where such rows cannot be had."""
        ...

    def make_extra(self, progress: Callable[[str], None]) -> None:
        """Make them where that takes long and is not done; `progress` is told how far it is."""
        ...

    def view(self, shape: Mapping[str, Any]) -> View:
        """How a student of this shape reads a row."""
        ...

    def batches(
        self, split: str, view: View, augment: str = "none", batch_size: int | None = None, share: float = 1.0
    ) -> Batches:
        """`batch_size` None: as many rows as suit students of this data set. `share`: of the rows that an epoch shows,
        stratified and always the same ones."""
        ...

    def feeds(self, split: str, view: View, limit: int | None = None) -> Path:
        """Folder of inputs of the exported file, batch 1, written by hardware_targets.save_feeds; made once."""
        ...

    def io(self) -> tuple[InputSpec, ...]:
        """The inputs of an exported file."""
        ...

    def example(self, view: View) -> tuple[torch.Tensor, ...]:
        """One typical batch-1 input, in the order of `io`."""
        ...

    def examples(self, view: View, count: int) -> list[tuple[torch.Tensor, ...]]:
        """Real batch-1 inputs on which an exported file is compared with torch; none where noise will do."""
        ...

    def kept_pieces(self, view: View) -> np.ndarray | None:
        """int64 rows of the teacher's vocabulary that this view has left, in its order; None for all."""
        ...

    def raw(self, split: str, limit: int) -> Sequence[Any]:
        """Up to `limit` rows as a user would give them: the inputs on which preprocessing is timed."""
        ...

    def preprocess(self, item: Any, view: View) -> Any:
        """What a picked folder's own script does with one of them."""
        ...

    def preprocessing(self, view: View) -> dict[str, Any]:
        """The same in words, as JSON, for the picked folder."""
        ...

    def files(self, view: View) -> dict[str, bytes]:
        """Further files of the picked folder, by name."""
        ...


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
