"""Columns of a table: whether they are there, and what they hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from pipeline.errors import ConfigError, near

# An image file's bytes, or uint8 [H, W], or None where it is missing; or the one or two texts of a row.
Cell = bytes | np.ndarray | tuple[str, ...] | None
Cells = Callable[[np.ndarray], Iterator[Any]]  # the cells of these row numbers, in their order


SEPARATORS = (";", "\t", "|")


def present(table: Any, split: str, key: str, column: str) -> None:
    """Errors: ConfigError where a `datasets.Dataset` has no `column`, which is named by `task.{key}`."""
    if column not in table.column_names:
        (only, *rest) = table.column_names or [""]
        if not rest and (mark := next((mark for mark in SEPARATORS if mark in only), None)):
            raise ConfigError(
                f"{split} has one column, {only!r}, so its columns seem to be separated by {mark!r}; columns of a CSV "
                "file are separated by commas. Save it so, or as Parquet"
            )
        raise ConfigError(
            f"{split} has no column {column!r}{near(column, table.column_names)}. Name the column in `task.{key}`"
        )


def holds(table: Any, split: str, key: str, column: str, kinds: tuple[str, ...], wanted: str) -> None:
    """Errors: ConfigError where the arrow type of `column` starts with none of `kinds`; `wanted` says what is."""
    present(table, split, key, column)
    kind = str(table.with_format("arrow")[:1].schema.field(column).type)
    if not kind.startswith(kinds):
        raise ConfigError(
            f"column {column!r} of {split} holds {kind}, not {wanted}. Name the right column in `task.{key}`"
        )


def first_line(error: BaseException) -> str:
    """What a library's exception says, without the full stop."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")
