"""Token ids of the texts of one split, computed once and then memory-mapped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from pipeline.arrays import fresh, mapped

CHUNK = 1000  # texts per call of the tokenizer: enough for its threads, little in memory
IDS, TYPES = "input_ids", "token_type_ids"


@dataclass(frozen=True)
class TokenTable:
    """Rows of different lengths, end to end: row r is at `starts[r]` to `starts[r + 1]` of `ids`.

    `types` int8 are 0 for a pair's first text and 1 for its second; None where the model takes none. `cut` rows were
    longer than allowed.
    """

    ids: np.ndarray  # int32 [all pieces]
    starts: np.ndarray  # int64 [N + 1]
    types: np.ndarray | None
    cut: int

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> np.ndarray:
        """int64 [N] pieces per row, special ones included."""
        return np.diff(self.starts)

    def feed(self, row: int) -> dict[str, np.ndarray]:
        """One row as an exported file takes it: int64 [1, T], without padding."""
        part = slice(self.starts[row], self.starts[row + 1])
        found = {IDS: self.ids[None, part].astype(np.int64)}
        return found if self.types is None else found | {TYPES: self.types[None, part].astype(np.int64)}


def joined(tables: Sequence[TokenTable]) -> TokenTable:
    """Their rows one behind the other, in memory."""
    before = np.cumsum([0, *(len(table.ids) for table in tables)])
    starts = [table.starts[:-1] + offset for table, offset in zip(tables, before, strict=False)]
    types = [table.types for table in tables if table.types is not None]
    return TokenTable(
        np.concatenate([table.ids for table in tables]),
        np.concatenate([*starts, before[-1:]]),
        np.concatenate(types) if types else None,
        sum(table.cut for table in tables),
    )


def feed_of(tokenizer: Tokenizer, texts: tuple[str, ...], typed: bool) -> dict[str, np.ndarray]:
    """The same of texts that are in no table."""
    first, second = texts if len(texts) == 2 else (texts[0], None)
    found = tokenizer.encode(first, second)
    feed = {IDS: np.array([found.ids], dtype=np.int64)}
    return feed | {TYPES: np.array([found.type_ids], dtype=np.int64)} if typed else feed


def chunks(texts: Iterator[tuple[str, ...]]) -> Iterator[list[Any]]:
    """Texts as `Tokenizer.encode_batch` takes them: strings, or pairs, a thousand at a time."""
    while chunk := list(islice(texts, CHUNK)):
        yield [row[0] for row in chunk] if len(chunk[0]) == 1 else chunk


def stored_tokens(folder: Path, texts: Iterator[tuple[str, ...]], tokenizer: Tokenizer, typed: bool) -> TokenTable:
    """The table kept in `folder`; it is made from `texts`, which are read only then, when it is not there."""
    if not folder.exists():
        with fresh(folder) as beside:
            _write(beside, texts, tokenizer, typed)
    types = mapped(folder / "types.npy") if typed else None
    return TokenTable(
        mapped(folder / "ids.npy"), mapped(folder / "starts.npy"), types, int(np.load(folder / "cut.npy"))
    )


def _write(folder: Path, texts: Iterator[tuple[str, ...]], tokenizer: Tokenizer, typed: bool) -> None:
    ids: list[np.ndarray] = []
    types: list[np.ndarray] = []
    cut = 0
    for chunk in chunks(texts):
        for found in tokenizer.encode_batch_fast(chunk):
            ids.append(np.array(found.ids, dtype=np.int32))
            cut += bool(found.overflowing)
            if typed:
                types.append(np.array(found.type_ids, dtype=np.int8))
    folder.mkdir()
    np.save(folder / "ids.npy", np.concatenate(ids))
    np.save(folder / "starts.npy", np.cumsum([0, *(len(row) for row in ids)], dtype=np.int64))
    np.save(folder / "cut.npy", np.int64(cut))
    if typed:
        np.save(folder / "types.npy", np.concatenate(types))
