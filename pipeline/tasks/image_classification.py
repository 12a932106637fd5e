"""Images with one label each, from any table with an image column and a label column."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from hardware_targets import save_feeds
from pipeline.arrays import fresh, stored_array
from pipeline.artifact import View
from pipeline.config import TaskConfig
from pipeline.quality import quality_with_intervals
from pipeline.tasks import InputSpec
from pipeline.tasks._images import Images
from pipeline.tasks._notes import unread
from pipeline.tasks._pixels import mean_and_std, normalise, square
from pipeline.tasks._sources import open_source
from pipeline.tasks._table import LabelledTable, sha256
from search_spaces import ImageInput


class Task:
    """A labelled set of images; nothing is read before it is asked for, and `test` not before it is asked for by name.

    `selection` is always cut from train and is for finalists only; validation and test are cut from train, stratified,
    where the data bring none. `limit_rows` keeps a stratified part of a split: of train before the cuts, of what is cut
    after them.
    """

    template = "predict.py.txt"

    def __init__(self, config: TaskConfig, cache: Path) -> None:
        self.config = config
        self.name = config.kind
        self.channels: int = config.channels
        self.size = config.size
        self.metric = config.metric
        self.augmentations = config.augment_choices
        self.cache = cache
        self._table = LabelledTable(config, open_source(config, cache))
        self.classes: list[str] = self._table.classes

    @cached_property
    def fingerprint(self) -> str:
        """Hex SHA-256 of the raw training and validation rows and of all that decides who is in which split.

        Test rows are no part of it: they stay unread until the front is scored.
        """
        return self._table.fingerprint({"channels"})

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know, a sentence each."""
        return unread(self.config)

    @cached_property
    def _normalisation(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return mean_and_std(self.pixels("train", self.size))

    @property
    def mean(self) -> tuple[float, ...]:
        """Per channel, of the training pixels / 255 at the task's size."""
        return self._normalisation[0]

    @property
    def std(self) -> tuple[float, ...]:
        """Per channel, of the training pixels / 255 at the task's size."""
        return self._normalisation[1]

    @property
    def extra(self) -> dict[str, str]:
        """Images without labels: none yet."""
        return {}

    def check_extra(self) -> None:
        """There are none that could be wrong."""

    def make_extra(self, progress: Callable[[str], None]) -> None:
        """There are none to be made."""

    def task_input(self) -> ImageInput:
        return ImageInput(channels=self.channels, size=self.size, classes=len(self.classes))

    def view(self, shape: Mapping[str, Any]) -> View:
        """`{"input_size": side in pixels}` of a student."""
        return {"input_size": int(shape["input_size"])}

    def rows(self, split: str) -> int:
        """Number of rows in a split."""
        return self._table.rows(split)

    def labels(self, split: str) -> np.ndarray:
        """int64 [N] class numbers. Errors: ConfigError for a label that is missing or unknown."""
        return self._table.labels(split)

    def pixels(self, split: str, size: int) -> np.ndarray:
        """uint8 [N, C, S, S], memory-mapped; decoded once per size. Errors: ConfigError naming a row."""
        places = self._table.places(split)

        def fill(array: np.ndarray) -> None:
            for place, image in enumerate(self._table.source(split).images(places)):
                array[place] = square(image, self.channels, size)

        path = self.cache / "pixels" / f"{split}-{size}-{self._table.key(split, self.channels)}.npy"
        return stored_array(path, (len(places), self.channels, size, size), np.uint8, fill)

    def batches(
        self, split: str, view: View, augment: str = "none", batch_size: int | None = None, share: float = 1.0
    ) -> Images:
        """Batches of a split at the view's size, normalised."""
        # Some 30 steps an epoch at least, or a small data set would hardly be learned from; 128 fills two cores.
        rows = batch_size or max(32, min(128, int(share * self.rows(split)) // 30))
        only = self._table.part(split, share)
        return Images(self.pixels(split, view["input_size"]), self.mean, self.std, augment, rows, only)

    def io(self) -> tuple[InputSpec, ...]:
        return (InputSpec("pixels"),)

    def example(self, view: View) -> tuple[torch.Tensor, ...]:
        """Black pixels float32 [1, C, S, S]: every image costs the same."""
        return (torch.zeros(1, self.channels, view["input_size"], view["input_size"]),)

    def examples(self, view: View, count: int) -> list[tuple[torch.Tensor, ...]]:  # noqa: ARG002 - as all tasks do
        return []

    def kept_pieces(self, view: View) -> np.ndarray | None:  # noqa: ARG002 - as all tasks do
        return None

    def feeds(self, split: str, view: View, limit: int | None = None) -> Path:
        """Folder of normalised float32 [1, C, S, S] inputs named `pixels`, one per row of the split.

        With `limit`, a stratified choice that is the same for every model and every search. Made once.
        """
        size = view["input_size"]
        count = self.rows(split) if limit is None else min(limit, self.rows(split))
        key = sha256([self._table.key(split, self.channels), self.mean, self.std])[:16]
        folder = self.cache / "feeds" / f"{split}-{size}-{count}-{key}"
        if not folder.exists():
            pixels = self.pixels(split, size)
            with fresh(folder) as beside:
                save_feeds(
                    beside,
                    (
                        {"pixels": normalise(pixels[row : row + 1], self.mean, self.std)}
                        for row in self._table.some(split, count)
                    ),
                )
        return folder

    def raw(self, split: str, limit: int) -> Sequence[Image.Image]:
        """Up to `limit` decoded images at their own size: the inputs on which preprocessing is timed."""
        places = self._table.places(split)[self._table.some(split, limit)]
        return list(self._table.source(split).images(places))

    def preprocess(self, item: Image.Image, view: View) -> np.ndarray:
        """float32 [1, C, S, S]: what a shipped model's own script does with Pillow and numpy."""
        return normalise(square(item, self.channels, view["input_size"])[None], self.mean, self.std)

    def preprocessing(self, view: View) -> dict[str, Any]:
        """The same in words, as JSON, for the picked folder."""
        return {
            "size": view["input_size"],
            "channels": self.channels,
            "mean": list(self.mean),
            "std": list(self.std),
            "resample": "bilinear",
            "scale": "pixel / 255",
        }

    def files(self, view: View) -> dict[str, bytes]:  # noqa: ARG002 - as all tasks do
        return {}

    def score(self, labels: np.ndarray, logits: np.ndarray) -> dict[str, float]:
        """Every quality metric of logits [N, K]."""
        return quality_with_intervals(labels, logits)[0]

    def class_weight_vector(self) -> np.ndarray:
        """float32 [K] weights of the classes in a cross entropy; all 1 unless `task.class_weights` says otherwise."""
        return self._table.class_weights()
