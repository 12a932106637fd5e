"""Texts, or pairs of texts, with one label each, from any table with a text column and a label column."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hardware_targets import save_feeds
from pipeline.arrays import fresh, stored_array
from pipeline.config import ReplaceConfig, TaskConfig
from pipeline.errors import ConfigError, near
from pipeline.quality import quality_with_intervals
from pipeline.tasks import InputSpec
from pipeline.tasks._buckets import TokenBatches
from pipeline.tasks._notes import blank, repeated, unread
from pipeline.tasks._pretrained import Pretrained, digest, is_wordpiece, read_pretrained
from pipeline.tasks._replace import Replaced
from pipeline.tasks._sources import open_source
from pipeline.tasks._table import LabelledTable, sha256
from pipeline.tasks._text_cells import text_cells
from pipeline.tasks._tokens import IDS, TYPES, TokenTable, chunks, feed_of, joined, stored_tokens
from pipeline.tasks._transfer import Transfer
from pipeline.tasks._trim import used_pieces
from pipeline.tasks._unlabelled import Unlabelled
from pipeline.tasks._views import Tokenizers
from search_spaces import TextInput

BATCH_SIZE = 64


class Task:
    """A labelled set of texts, read by the teacher's tokenizer or by one that is trimmed to what training uses.

    A view is `{"max_length": pieces, "vocabulary": "full" | "used"}`. Its tokenizer is one file, which makes the ids
    that students are trained on and that are measured, and travels with a picked model.

    Rows without labels, `transfer` and `replaced`, can be asked for like splits. An epoch of train that shows them
    numbers them behind those of train, in this order.
    """

    template = "predict_text.py.txt"

    def __init__(self, config: TaskConfig, cache: Path) -> None:
        if config.data.source == "sklearn":
            raise ConfigError("scikit-learn's digits are images, not texts; give `task.data` a folder or a hub name")
        self.config = config
        self.name = config.kind
        self.metric = config.metric
        self.augmentations = config.augment_choices
        self.cache = cache
        self._table = LabelledTable(config, open_source(config, cache, text_cells))
        self.classes: list[str] = self._table.classes
        self._unlabelled = Unlabelled(
            Transfer(config.transfer, config, cache) if config.transfer else None,
            self._replaced(config.replace) if config.replace else None,
        )

    @cached_property
    def fingerprint(self) -> str:
        """Hex SHA-256 of the raw training and validation rows, of who is in which split and of the tokenizer."""
        fields = {"text", "text_pair", "max_length"}
        return self._table.fingerprint(fields, digest(self._pretrained.tokenizer))

    @property
    def extra(self) -> dict[str, str]:
        """Rows without labels behind those of train, in order, each with a key that changes with its texts."""
        return self._unlabelled.keys()

    def check_extra(self) -> None:
        """Errors: ConfigError, Unavailable where they cannot be read or made."""
        self._unlabelled.check()

    def make_extra(self, progress: Callable[[str], None]) -> None:
        """Make those that are made, where they are not known yet."""
        self._unlabelled.make(progress)

    def task_input(self) -> TextInput:
        """What families must know: of the texts, and of the teacher's encoder. Errors: ConfigError, Unavailable."""
        sizes = self._pretrained.sizes
        return TextInput(
            classes=len(self.classes),
            max_length=self._longest,
            vocabulary=self._pretrained.pieces,
            used=self._pretrained.pieces if self._kept is None else len(self._kept),
            token_types=2 if self._typed else 1,
            layers=sizes["layers"],
            width=sizes["width"],
            heads=sizes["heads"],
            ff=sizes["ff"],
        )

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What happened to the texts, and what is odd about them, a sentence each; of training and validation only."""
        view, found = {"max_length": self._longest, "vocabulary": "full"}, []
        for split in ("train", "validation"):
            table = self._tokens(split, view)
            if table.cut:
                found.append(
                    f"{table.cut} of {len(table)} rows of {split} are longer than {self._longest} pieces; "
                    "their ends are not read"
                )
            found += blank(split, self._texts(split))
        rows = (zip(self._texts(split), self.labels(split).tolist(), strict=True) for split in ("train", "validation"))
        return (*unread(self.config), *self._pretrained.notes, *found, *repeated(*rows))

    def rows(self, split: str) -> int:
        """Number of rows in a split."""
        found = self._unlabelled.parts.get(split)
        return self._table.rows(split) if found is None else found.rows

    def labels(self, split: str) -> np.ndarray:
        """int64 [N] class numbers. Errors: ConfigError for a label that is missing or unknown."""
        return self._table.labels(split)

    def score(self, labels: np.ndarray, logits: np.ndarray) -> dict[str, float]:
        """Every quality metric of logits [N, K]."""
        return quality_with_intervals(labels, logits)[0]

    def class_weight_vector(self) -> np.ndarray:
        """float32 [K] weights of the classes in a cross entropy."""
        return self._table.class_weights()

    def view(self, shape: Mapping[str, Any]) -> dict[str, Any]:
        """How a student of this shape reads a row."""
        return {"max_length": int(shape["max_length"]), "vocabulary": str(shape["vocabulary_kind"])}

    def kept_pieces(self, view: Mapping[str, Any]) -> np.ndarray | None:
        """int64 ids of the teacher's pieces that this view's vocabulary has left, ascending; None for all."""
        return self._tokenizers.kept(view)

    def batches(
        self,
        split: str,
        view: Mapping[str, Any],
        augment: str = "none",
        batch_size: int | None = None,
        share: float = 1.0,
    ) -> TokenBatches:
        """A split in batches of like lengths; by default some 30 of them an epoch at least, of 64 rows at most.

        `transfer` shows rows without labels too, `replace` training rows as they are or, half of the time, replaced.
        Errors: ConfigError for another augmentation.
        """
        if augment not in self.augmentations:
            raise ConfigError(f"texts have no augmentation {augment!r}{near(augment, self.augmentations)}")
        size = batch_size or max(16, min(BATCH_SIZE, int(share * self.rows(split)) // 30))
        pad, longest = self._tokenizers.pad(view), view["max_length"]
        only = None if split in self._unlabelled.parts else self._table.part(split, share)
        if augment == "none":
            return TokenBatches(self._tokens(split, view), pad, longest, size, only)
        count = self.rows(split)
        table = joined([self._tokens(name, view) for name in (split, *self._unlabelled.parts)])
        shown, copies = self._unlabelled.shown(augment, np.arange(count) if only is None else only, count, share)
        return TokenBatches(table, pad, longest, size, shown, copies)

    def feeds(self, split: str, view: Mapping[str, Any], limit: int | None = None) -> Path:
        """Folder of inputs int64 [1, T], one per row of the split, none of them padded.

        With `limit`, a stratified choice that is the same for every model and every search. Made once.
        """
        count = self.rows(split) if limit is None else min(limit, self.rows(split))
        folder = self.cache / "feeds" / f"{split}-{view['max_length']}-{count}-{self._key(split, view)}"
        if not folder.exists():
            table = self._tokens(split, view)
            with fresh(folder) as beside:
                save_feeds(beside, (table.feed(row) for row in self._table.some(split, count)))
        return folder

    def io(self) -> tuple[InputSpec, ...]:
        """The inputs of an exported file; token types for pairs only, and no mask, since nothing is padded."""
        names = (IDS, TYPES) if self._typed else (IDS,)
        return tuple(InputSpec(name, {1: "pieces"}) for name in names)

    def example(self, view: Mapping[str, Any]) -> tuple[torch.Tensor, ...]:
        """The validation row of median length, int64 [1, T] each, in the order of `io`."""
        return self.examples(view, 1)[0]

    def examples(self, view: Mapping[str, Any], count: int) -> list[tuple[torch.Tensor, ...]]:
        """Validation rows from the shortest to the longest, evenly by rank; one is that of median length."""
        table = self._tokens("validation", view)
        ranks = np.linspace(0, 1, count) if count > 1 else np.array([0.5])
        order = np.argsort(table.lengths, kind="stable")
        rows = order[np.round(ranks * (len(table) - 1)).astype(int)]
        return [tuple(torch.from_numpy(value) for value in table.feed(row).values()) for row in rows]

    def raw(self, split: str, limit: int) -> Sequence[tuple[str, ...]]:
        """Up to `limit` rows as they are stored, one text or two: the inputs on which tokenization is timed."""
        places = self._table.places(split)[self._table.some(split, limit)]
        return list(self._table.source(split).cells(places))

    def preprocess(self, item: tuple[str, ...], view: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """int64 [1, T] per input: what a shipped model's own script does with tokenizers and numpy."""
        return feed_of(self._tokenizers.of(view), item, self._typed)

    def preprocessing(self, view: Mapping[str, Any]) -> dict[str, Any]:
        """The same in words, as JSON, for the picked folder."""
        return {
            "texts": 2 if self.config.text_pair else 1,
            "inputs": [spec.name for spec in self.io()],
            "max_length": view["max_length"],
            "vocabulary": view["vocabulary"],
            "pieces": self._tokenizers.of(view).get_vocab_size(with_added_tokens=True),
            "tokenizer_sha256": self._tokenizers.digest(view),
        }

    def files(self, view: Mapping[str, Any]) -> dict[str, bytes]:
        """The view's tokenizer: it cuts at the view's length and does not pad."""
        return {"tokenizer.json": self._tokenizers.of(view).to_str(pretty=True).encode()}

    @cached_property
    def _pretrained(self) -> Pretrained:
        if self.config.tokenizer is None:
            raise ConfigError("`task.tokenizer` is missing; give the teacher's folder or hub name")
        return read_pretrained(self.config.tokenizer)

    @property
    def _longest(self) -> int:
        positions = self._pretrained.sizes["positions"]
        if self.config.max_length > positions:
            raise ConfigError(
                f"`task.max_length` is {self.config.max_length} and the teacher reads {positions} pieces at most; "
                f"set it to {positions} or less"
            )
        return self.config.max_length

    @property
    def _typed(self) -> bool:
        """Whether the model is told which of two texts a piece is from."""
        return self.config.text_pair is not None and self._pretrained.token_types > 1

    @cached_property
    def _kept(self) -> np.ndarray | None:
        """int64 ids of the pieces that training uses, before anything is cut off; None where nothing can be trimmed."""
        tokenizer, pieces = self._pretrained.tokenizer, self._pretrained.pieces
        if not is_wordpiece(tokenizer):
            return None

        def fill(used: np.ndarray) -> None:
            used[:] = used_pieces(tokenizer, chunks(self._texts("train")), pieces)

        path = self.cache / "tokens" / f"used-{self._table.key('train', self._columns, digest(tokenizer))}.npy"
        return np.flatnonzero(stored_array(path, (pieces,), np.bool_, fill))

    @cached_property
    def _tokenizers(self) -> Tokenizers:
        return Tokenizers(self._pretrained.tokenizer, lambda: self._kept)

    def _tokens(self, split: str, view: Mapping[str, Any]) -> TokenTable:
        folder = self.cache / "tokens" / f"{split}-{view['max_length']}-{self._key(split, view)}"
        return stored_tokens(folder, self._texts(split), self._tokenizers.of(view), self._typed)

    def _texts(self, split: str) -> Iterator[tuple[str, ...]]:
        if split in self._unlabelled.parts:
            return self._unlabelled.parts[split].cells()
        return self._table.source(split).cells(self._table.places(split))

    @property
    def _columns(self) -> list[str | None]:
        return [self.config.text, self.config.text_pair]

    def _replaced(self, config: ReplaceConfig) -> Replaced:
        return Replaced(
            config,
            self.cache,
            texts=lambda: self._texts("train"),
            key=lambda: self._table.key("train", self._columns),
            count=lambda: self.rows("train"),
            teacher=str(self.config.tokenizer),
        )

    def _key(self, split: str, view: Mapping[str, Any]) -> str:
        if split in self._unlabelled.parts:
            return sha256([self._unlabelled.parts[split].key, self._tokenizers.digest(view), self._typed])[:16]
        return self._table.key(split, self._columns, self._tokenizers.digest(view), self._typed)
