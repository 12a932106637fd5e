"""Rows of a table as a model takes them, with the tokenizer's file alone: no transformers, nothing of niwaki."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
from tokenizers import Tokenizer

Feed = dict[str, np.ndarray]
TEXT, LABEL = "text", "label"


def texts_of(
    table: str | Path, tokenizer: str | Path, max_length: int, count: int | None = None, seed: int = 0
) -> Iterator[tuple[Feed, int]]:
    """Every row, or `count` seeded ones: int64 [1, T] per input that an encoder may ask for, and the label."""
    reader = Tokenizer.from_file(str(tokenizer))
    reader.no_padding()
    reader.enable_truncation(max_length)
    rows = parquet.read_table(table, columns=[TEXT, LABEL]).to_pylist()
    if count is not None:
        rows = [rows[place] for place in np.random.default_rng(seed).choice(len(rows), count, replace=False)]
    for row in rows:
        yield widened(np.array([reader.encode(row[TEXT]).ids], dtype=np.int64)), row[LABEL]


def widened(ids: np.ndarray) -> Feed:
    """Ids [1, T] with what Hugging Face exports ask for beside them: no padding, one text."""
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


def narrowed(feed: Feed, names: Sequence[str]) -> Feed:
    """The inputs that a file has, in its order. Errors: ValueError for one that is not known."""
    if unknown := set(names) - feed.keys():
        raise ValueError(f"it asks for {', '.join(sorted(unknown))}, which a text does not give")
    return {name: feed[name] for name in names}
