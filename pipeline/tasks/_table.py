"""Rows with one label each, cut into splits: what every kind of task over a labelled table needs.

Nothing is read before it is asked for, and `test` not before it is asked for by name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from pipeline.config import TaskConfig
from pipeline.errors import ConfigError, near
from pipeline.tasks._labels import LabelMap, label_map
from pipeline.tasks._sources import Rows, Source
from pipeline.tasks._splits import cut, stratified

# Every cut and every choice of rows is drawn from this seed, so that all searches over a data set see the same rows.
SEED = 20260
SPLITS = ("train", "validation", "selection", "test")


class LabelledTable:
    """A source's rows as train, validation, selection and test.

    `selection` is always cut from train and is for finalists only; validation and test are cut from train, stratified,
    where the data bring none. `limit_rows` keeps a stratified part of a split: of train before the cuts, of what is cut
    after them.
    """

    def __init__(self, config: TaskConfig, source: Source) -> None:
        self._config = config
        self._source = source
        self._opened: dict[str, Rows] = {}
        self._known_codes: dict[str, np.ndarray] = {}
        self._known_digests: dict[str, str] = {}
        self.classes: list[str] = self._label_map.classes
        self._check_class_weights()

    def fingerprint(self, include: set[str], *more: Any) -> str:
        """Hex SHA-256 of the raw training and validation rows and of all that decides who is in which split.

        `include` names further fields of the configuration that count, `more` is any JSON. Test rows are no part of
        it: they stay unread until the front is scored.
        """
        plan = self._config.model_dump(mode="json", include={"split", "limit_rows", *include})
        if self.rows("validation") < len(self._whole("validation")):  # which was whole in searches of before
            more = (*more, "a part of what is cut")
        return sha256([plan, self.classes, [self._digest(split) for split in ("train", "validation")], SEED, *more])

    def key(self, split: str, *more: Any) -> str:
        """16 hex digits that change when the rows of a split, or their order, or `more` (JSON) change."""
        return sha256([self._digest(split), self.places(split).tolist(), *more])[:16]

    def rows(self, split: str) -> int:
        """Number of rows in a split."""
        return len(self.places(split))

    def labels(self, split: str) -> np.ndarray:
        """int64 [N] class numbers. Errors: ConfigError for a label that is missing or unknown."""
        codes: np.ndarray = self._codes(self._home(split))[self.places(split)]
        return codes

    def places(self, split: str) -> np.ndarray:
        """Row numbers of a split in the rows that `source(split)` gives."""
        home = self._home(split)
        if split == home != "train":
            return self._limited(home)
        found, limit = self._whole(split), None if split == "train" else self._limit(split)
        return found if limit is None else found[stratified(self._codes(home)[found], limit, SEED)]

    def some(self, split: str, count: int) -> np.ndarray:
        """Ascending numbers of `count` rows of a split, stratified; the same for every model and every search."""
        chosen: np.ndarray = stratified(self.labels(split), count, SEED)
        return chosen

    def part(self, split: str, share: float) -> np.ndarray | None:
        """Row numbers of a stratified share of a split, None for the whole."""
        return None if share >= 1 else self.some(split, max(1, round(share * self.rows(split))))

    def source(self, split: str) -> Rows:
        """The source's rows in which those of a split lie, at `places(split)`."""
        return self._open(self._home(split))

    def class_weights(self) -> np.ndarray:
        """float32 [K] weights of the classes in a cross entropy; all 1 unless `task.class_weights` says otherwise."""
        weights = self._config.class_weights
        if weights == "balanced":
            counts = np.bincount(self.labels("train"), minlength=len(self.classes))
            return (counts.sum() / (len(self.classes) * np.maximum(counts, 1))).astype(np.float32)
        given = weights or {}
        return np.array([given.get(name, 1.0) for name in self.classes], dtype=np.float32)

    def _check_class_weights(self) -> None:
        weights = self._config.class_weights
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
        return label_map(train.labels, train.names, self._config.labels, self._config.label)

    def _codes(self, home: str) -> np.ndarray:
        if home not in self._known_codes:
            rows, train = self._open(home), self._open("train")
            if rows.names != train.names:
                raise ConfigError(
                    f"{home} declares the labels {_spoken(rows.names)} and train {_spoken(train.names)}, so that one "
                    "number would mean two things; make them alike"
                )
            codes = self._label_map.codes(rows.labels, home, self._config.label)
            if home == "validation" and len(np.unique(codes)) == 1:
                raise ConfigError(
                    f"all {len(codes)} rows of validation have one label, {self.classes[codes[0]]!r}, so that no model "
                    "could be told from one that always answers it; give rows of every class, or leave the split out: "
                    "it is then cut from train"
                )
            self._known_codes[home] = codes
        return self._known_codes[home]

    def _limited(self, home: str) -> np.ndarray:
        codes, limit = self._codes(home), self._limit(home)
        return np.arange(len(codes)) if limit is None else stratified(codes, limit, SEED)

    def _limit(self, split: str) -> int | None:
        limit: int | None = self._config.limit_rows.get(split)  # type: ignore[call-overload]
        if limit is not None and limit < 1:
            raise ConfigError(f"`task.limit_rows.{split}` is {limit}; keep at least one row, or leave it out")
        return limit

    def _whole(self, split: str) -> np.ndarray:
        """The rows of a split before those of a cut one are limited."""
        return self._cut[split] if self._home(split) == "train" else self._limited(split)

    @cached_property
    def _cut(self) -> dict[str, np.ndarray]:
        """Row numbers of the source's train for train, selection, and what else the data do not bring."""
        kept = self._limited("train")
        missing = [split for split in SPLITS[1:] if split not in self._source]
        fractions = {split: float(getattr(self._config.split, split)) for split in missing}
        slices = cut(self._codes("train")[kept], fractions, SEED)
        small = [split for split, places in slices.items() if len(places) == 0]
        if small:
            other = "smaller" if "train" in small else "larger"
            raise ConfigError(
                f"{len(kept)} training rows are too few: {', '.join(small)} would be empty; "
                f"give more rows, or {other} fractions in `task.split`"
            )
        return {split: kept[places] for split, places in slices.items()}

    def _digest(self, split: str) -> str:
        home = self._home(split)
        if home not in self._known_digests:
            self._known_digests[home] = self._open(home).digest()
        return self._known_digests[home]


def sha256(parts: list[Any]) -> str:
    """Hex digest of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _spoken(names: Sequence[str] | None) -> str:
    return ", ".join(names) if names else "(none)"
