"""Copies of the training texts with some words replaced (Jiao et al. 2019, TinyBERT, arXiv 1909.10351, algorithm 1).

Made once for all searches. What may stand for a word is said by `_proposals` and `_wordnet`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.arrays import fresh
from pipeline.config import ReplaceConfig
from pipeline.tasks._proposals import ByWord, MaskedModel, Neighbours, Place, Progress, Proposer, Texts
from pipeline.tasks._table import sha256
from pipeline.tasks._wordnet import open_wordnet
from pipeline.teacher_hub import identity_of

# Whole words of two letters or more: no part of don't, well-made or x2, which would not be one word afterwards.
WORD = re.compile(r"(?<![\w'’-])[^\W\d_]{2,}(?![\w'’-])")


class Replaced:
    """`copies` replaced texts of every training row: copy c of row r is row c * N + r.

    `texts()` gives the `count()` training texts, `key()` stands for them; the teacher's embedding lies at `teacher`.
    """

    def __init__(
        self,
        config: ReplaceConfig,
        cache: Path,
        texts: Callable[[], Iterator[Texts]],
        key: Callable[[], str],
        count: Callable[[], int],
        teacher: str,
    ) -> None:
        self._config, self._cache = config, cache
        self._texts, self._train_key, self._count = texts, key, count
        self._place = config.model or teacher
        self.copies = config.copies

    @property
    def rows(self) -> int:
        return self.copies * self._count()

    @cached_property
    def key(self) -> str:
        """16 hex digits of everything that decides the texts. Errors: ConfigError, Unavailable."""
        said = self._config.model_dump(mode="json")
        source = open_wordnet()[1] if self._config.by == "wordnet" else identity_of(self._place)
        return sha256([self._train_key(), said, source, WORD.pattern])[:16]

    @property
    def _path(self) -> Path:
        return self._cache / "replaced" / f"{self.key}.parquet"

    def check(self) -> None:
        """Errors: ConfigError, Unavailable where what is needed to make the texts is not there."""
        if not self._path.exists():
            _ = self._proposer

    def make(self, progress: Progress) -> None:
        """Write the texts where they are not known yet; `progress` is told that, and how far it is."""
        if self._path.exists():
            return
        rows = list(self._texts())
        progress(
            f"replacing words of {len(rows)} training rows by {self._config.by}, {self._config.copies} copies each; "
            "this is done once"
        )
        made = replaced(rows, self._config, self._proposer, progress)
        del self.__dict__["_proposer"]  # a model of hundreds of megabytes is of no more use
        same = sum(copy == row for copies in made for copy, row in zip(copies, rows, strict=True))
        if same:
            progress(
                f"{same} of {len(rows) * len(made)} copies are as their row: nothing was found for the words drawn"
            )
        with fresh(self._path) as beside:
            _write(beside, [copy for copies in made for copy in copies])

    def cells(self) -> Iterator[Texts]:
        """The replaced texts in the order of their rows."""
        import pyarrow.parquet

        self.make(lambda _: None)
        for batch in pyarrow.parquet.ParquetFile(self._path).iter_batches():
            yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)

    @cached_property
    def _proposer(self) -> Proposer:
        config = self._config
        if config.by == "masked_model":
            return MaskedModel(self._place, config.candidates)
        if config.by == "wordnet":
            lookup, _ = open_wordnet()
            return ByWord(lambda words: [lookup(word, config.candidates) for word in words])
        return ByWord(Neighbours(self._place, config.candidates))


def replaced(rows: Sequence[Texts], config: ReplaceConfig, propose: Proposer, progress: Progress) -> list[list[Texts]]:
    """For each copy all rows, in each of them a share of the words replaced, one at least; the seed decides which."""
    chance = np.random.default_rng(config.seed)
    words = [list(words_of(number, row)) for number, row in enumerate(rows)]
    drawn = [[_drawn(found, config.share, chance) for found in words] for _ in range(config.copies)]
    places = sorted({place for copy in drawn for row in copy for place in row})
    proposed = dict(zip(places, propose(rows, places, progress), strict=True))
    return [
        [
            _with(row, [(place, _one(proposed[place], chance)) for place in found])
            for row, found in zip(rows, copy, strict=True)
        ]
        for copy in drawn
    ]


def words_of(number: int, row: Texts) -> Iterator[Place]:
    """The words of a row, in order."""
    for text, content in enumerate(row):
        for match in WORD.finditer(content):
            yield Place(number, text, match.start(), match.end())


def _drawn(words: Sequence[Place], share: float, chance: np.random.Generator) -> list[Place]:
    if not words:
        return []
    chosen = np.flatnonzero(chance.random(len(words)) < share)
    # Short texts would mostly stay as they are otherwise.
    return [words[number] for number in (chosen if len(chosen) else [chance.integers(len(words))])]


def _one(candidates: Sequence[str], chance: np.random.Generator) -> str | None:
    number = int(chance.integers(1 << 30))  # drawn in any case: one word without candidates moves no other draw
    return candidates[number % len(candidates)] if candidates else None


def _with(row: Texts, changes: Sequence[tuple[Place, str | None]]) -> Texts:
    texts = list(row)
    for place, word in reversed(changes):  # from the end, so that the places before stay where they are
        if word is not None:
            text = texts[place.text]
            texts[place.text] = text[: place.start] + _cased(word, text[place.start : place.end]) + text[place.end :]
    return tuple(texts)


def _cased(word: str, like: str) -> str:
    if like.isupper():
        return word.upper()
    return word.capitalize() if like[0].isupper() else word


def _write(path: Path, rows: Sequence[Texts]) -> None:
    import pyarrow
    import pyarrow.parquet

    columns: dict[str, Any] = {f"text_{number}": list(column) for number, column in enumerate(zip(*rows, strict=True))}
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
