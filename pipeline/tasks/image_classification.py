"""Images with one label each, from any table with an image column and a label column."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hardware_targets import save_feeds
from pipeline.arrays import fresh, stored_array
from pipeline.config import TaskConfig
from pipeline.errors import ConfigError, near
from pipeline.quality import quality_with_intervals
from pipeline.tasks._labels import LabelMap, label_map
from pipeline.tasks._pixels import mean_and_std, normalise, square
from pipeline.tasks._sources import Rows, open_source
from pipeline.tasks._splits import cut, stratified

# Every cut and every choice of rows is drawn from this seed, so that all searches over a data set see the same rows.
SEED = 20260
SPLITS = ("train", "validation", "selection", "test")


class Task:
    """A labelled set of images; nothing is read before it is asked for, and `test` not before it is asked for by name.

    `selection` is always cut from train and is for finalists only; validation and test are cut from train, stratified,
    where the data bring none. `limit_rows` keeps a stratified part of a split; that of train counts before the cuts.
    """

    def __init__(self, config: TaskConfig, cache: Path) -> None:
        self.config = config
        self.name = config.kind
        self.channels: int = config.channels
        self.size = config.size
        self.metric = config.metric
        self.augmentations: list[str] = list(config.augmentations)
        self.cache = cache
        self._source = open_source(config, cache)
        self._opened: dict[str, Rows] = {}
        self._known_codes: dict[str, np.ndarray] = {}
        self._known_digests: dict[str, str] = {}
        self.classes: list[str] = self._label_map.classes
        self._check_class_weights()

    @cached_property
    def fingerprint(self) -> str:
        """Hex SHA-256 of the raw training and validation rows and of all that decides who is in which split.

        Test rows are no part of it: they stay unread until the front is scored.
        """
        plan = self.config.model_dump(mode="json", include={"split", "limit_rows", "channels"})
        digests = [self._digest(split) for split in ("train", "validation")]
        return _sha256([plan, self.classes, digests, SEED])

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

    def rows(self, split: str) -> int:
        """Number of rows in a split."""
        return len(self._places(split))

    def labels(self, split: str) -> np.ndarray:
        """int64 [N] class numbers. Errors: ConfigError for a label that is missing or unknown."""
        codes: np.ndarray = self._codes(self._home(split))[self._places(split)]
        return codes

    def pixels(self, split: str, size: int) -> np.ndarray:
        """uint8 [N, C, S, S], memory-mapped; decoded once per size. Errors: ConfigError naming a row."""
        rows = self._open(self._home(split))
        places = self._places(split)

        def fill(array: np.ndarray) -> None:
            for place, image in enumerate(rows.images(places)):
                array[place] = square(image, self.channels, size)

        path = self.cache / "pixels" / f"{split}-{size}-{self._split_key(split)}.npy"
        return stored_array(path, (len(places), self.channels, size, size), np.uint8, fill)

    def feeds(self, split: str, size: int, limit: int | None = None) -> Path:
        """Folder of normalised float32 [1, C, S, S] inputs named `pixels`, one per row of the split.

        With `limit`, a stratified choice that is the same for every model and every search. Made once.
        """
        count = self.rows(split) if limit is None else min(limit, self.rows(split))
        key = _sha256([self._split_key(split), self.mean, self.std])[:16]
        folder = self.cache / "feeds" / f"{split}-{size}-{count}-{key}"
        if not folder.exists():
            pixels = self.pixels(split, size)
            with fresh(folder) as beside:
                save_feeds(
                    beside,
                    (
                        {"pixels": normalise(pixels[row : row + 1], self.mean, self.std)}
                        for row in self._some(split, count)
                    ),
                )
        return folder

    def raw_images(self, split: str, limit: int) -> Sequence[Image.Image]:
        """Up to `limit` decoded images at their own size: the inputs on which preprocessing is timed."""
        places = self._places(split)[self._some(split, limit)]
        return list(self._open(self._home(split)).images(places))

    def preprocess(self, image: Image.Image, size: int) -> np.ndarray:
        """float32 [1, C, S, S]: what a shipped model's own script does with Pillow and numpy."""
        return normalise(square(image, self.channels, size)[None], self.mean, self.std)

    def preprocessing(self, size: int) -> dict[str, Any]:
        """The same in words, as JSON, for the picked folder."""
        return {
            "size": size,
            "channels": self.channels,
            "mean": list(self.mean),
            "std": list(self.std),
            "resample": "bilinear",
            "scale": "pixel / 255",
        }

    def score(self, labels: np.ndarray, logits: np.ndarray) -> dict[str, float]:
        """Every quality metric of logits [N, K]."""
        return quality_with_intervals(labels, logits)[0]

    def class_weight_vector(self) -> np.ndarray:
        """float32 [K] weights of the classes in a cross entropy; all 1 unless `task.class_weights` says otherwise."""
        weights = self.config.class_weights
        if weights == "balanced":
            counts = np.bincount(self.labels("train"), minlength=len(self.classes))
            return (counts.sum() / (len(self.classes) * np.maximum(counts, 1))).astype(np.float32)
        given = weights or {}
        return np.array([given.get(name, 1.0) for name in self.classes], dtype=np.float32)

    def _check_class_weights(self) -> None:
        weights = self.config.class_weights
        for name, weight in weights.items() if isinstance(weights, dict) else ():
            if name not in self.classes:
                raise ConfigError(
                    f"`task.class_weights` names no class of the task: {name!r}{near(name, self.classes)}"
                )
            if not weight > 0:
                raise ConfigError(f"`task.class_weights` gives {name!r} {weight:g}; a weight is above 0")

    def _home(self, split: str) -> str:
        """The split of the source in which the rows of `split` lie."""
        if split not in SPLITS:
            raise ConfigError(f"no split named {split!r}{near(split, SPLITS)}")
        return split if split in self._source else "train"

    def _open(self, home: str) -> Rows:
        if home not in self._opened:
            self._opened[home] = self._source[home]()
        return self._opened[home]

    @cached_property
    def _label_map(self) -> LabelMap:
        train = self._open("train")
        return label_map(train.labels, train.names, self.config.labels, self.config.label)

    def _codes(self, home: str) -> np.ndarray:
        if home not in self._known_codes:
            rows, train = self._open(home), self._open("train")
            if rows.names != train.names:
                raise ConfigError(
                    f"{home} declares the labels {_spoken(rows.names)} and train {_spoken(train.names)}, so that one "
                    "number would mean two things; make them alike"
                )
            self._known_codes[home] = self._label_map.codes(rows.labels, home, self.config.label)
        return self._known_codes[home]

    def _limited(self, home: str) -> np.ndarray:
        codes = self._codes(home)
        limit = self.config.limit_rows.get(home)  # type: ignore[call-overload]
        if limit is not None and limit < 1:
            raise ConfigError(f"`task.limit_rows.{home}` is {limit}; keep at least one row, or leave it out")
        return np.arange(len(codes)) if limit is None else stratified(codes, limit, SEED)

    @cached_property
    def _cut(self) -> dict[str, np.ndarray]:
        """Row numbers of the source's train for train, selection, and what else the data do not bring."""
        kept = self._limited("train")
        missing = [split for split in SPLITS[1:] if split not in self._source]
        fractions = {split: float(getattr(self.config.split, split)) for split in missing}
        slices = cut(self._codes("train")[kept], fractions, SEED)
        small = [split for split, places in slices.items() if len(places) == 0]
        if small:
            raise ConfigError(
                f"{len(kept)} training rows are too few to cut {', '.join(small)} from them; "
                "give more rows, or larger fractions in `task.split`"
            )
        return {split: kept[places] for split, places in slices.items()}

    def _places(self, split: str) -> np.ndarray:
        home = self._home(split)
        if split == home != "train":
            return self._limited(home)
        return self._cut[split]

    def _some(self, split: str, count: int) -> np.ndarray:
        chosen: np.ndarray = stratified(self.labels(split), count, SEED)
        return chosen

    def _digest(self, split: str) -> str:
        home = self._home(split)
        if home not in self._known_digests:
            self._known_digests[home] = self._open(home).digest()
        return self._known_digests[home]

    def _split_key(self, split: str) -> str:
        """16 hex digits that change when the rows of a split, or their order, or the colour conversion change."""
        return _sha256([self._digest(split), self._places(split).tolist(), self.channels])[:16]


def _spoken(names: Sequence[str] | None) -> str:
    return ", ".join(names) if names else "(none)"


def _sha256(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
