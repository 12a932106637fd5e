"""Texts as tables hold them: one or two columns of strings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config import TaskConfig
from pipeline.errors import ConfigError
from pipeline.tasks._columns import Cells, holds

KINDS = ("string", "large_string", "dictionary<values=string", "dictionary<values=large_string")


def text_cells(table: Any, split: str, config: TaskConfig, _folder: Path) -> Cells:
    """The text of column `task.text`, and of `task.text_pair` if given, as a tuple per row.

    An empty text is a text; a missing one is a fault of the data. Errors: ConfigError.
    """
    columns = {"text": config.text} | ({"text_pair": config.text_pair} if config.text_pair else {})
    cells = column_cells(table, split, columns)
    if config.label in columns.values():
        key = next(key for key, column in columns.items() if column == config.label)
        raise ConfigError(
            f"`task.{key}` and `task.label` both name column {config.label!r}, so that every text would hold its own "
            f"answer; name the column of the texts in `task.{key}`"
        )
    return cells


def column_cells(table: Any, split: str, columns: Mapping[str, str]) -> Cells:
    """The same of `columns`, by the key below `task` that names each. Errors: ConfigError."""
    for key, column in columns.items():
        holds(table, split, key, column, KINDS, "text")
    if len(set(columns.values())) < len(columns):
        raise ConfigError(
            f"{' and '.join(f'`task.{key}`' for key in columns)} both name column {next(iter(columns.values()))!r}; "
            "name the second text's column, or leave the second key out"
        )
    plain = table.select_columns(list(columns.values())).with_format("arrow")

    def cells(rows: np.ndarray) -> Iterator[tuple[str, ...]]:
        place = 0
        for batch in plain.select(rows).iter(2048):
            for texts in zip(*(batch.column(name).to_pylist() for name in columns.values()), strict=True):
                for column, text in zip(columns.values(), texts, strict=True):
                    _check(text, int(rows[place]), split, column)
                yield texts
                place += 1

    return cells


def _check(text: str | None, row: int, split: str, column: str) -> None:
    if text is None:
        raise ConfigError(
            f"row {row} of {split} has no text: column {column!r} is missing there (in a CSV file also the words NA, "
            "null and None count as missing). Drop the row, or store an empty string in a Parquet file if you mean one"
        )
