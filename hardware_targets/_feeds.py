"""Inputs for a model, on disk as memory-mapped .npy files.

One feed is what one call of the model takes: a mapping from input name to an array whose first axis is the batch of 1.
Rows of equal shape form one array [rows, *shape]; rows of different shapes lie end to end in a flat array, with a table
of their shapes beside it. Nothing is pickled. `feeds.json` is written last: a folder without it is not finished.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, overload

import numpy as np

from hardware_targets._errors import TargetError

_HEADER_BYTES = 192  # room for the .npy header, which is known only when the last row has been written
_INDEX = "feeds.json"
MOST_TIMED = 200


@dataclass(frozen=True)
class Input:
    """One input of a model: its name, numpy dtype and shape; a size that the file leaves open is a name or None."""

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]


@dataclass
class _Column:
    """The rows of one input while they are written."""

    dtype: np.dtype[Any]
    file: BinaryIO
    shapes: list[tuple[int, ...]] = field(default_factory=list)

    def append(self, name: str, value: np.ndarray) -> None:
        if value.dtype != self.dtype:
            row = len(self.shapes)
            raise TargetError(
                f"input {name!r} is {self.dtype} in row 0 and {value.dtype} in row {row}; give every row one dtype"
            )
        self.file.write(np.asarray(value, order="C").tobytes())
        self.shapes.append(value.shape)


def save_feeds(folder: Path, feeds: Iterable[Mapping[str, np.ndarray]]) -> int:
    """Write feeds row by row, never more than one in memory; returns the number of rows.

    Errors: TargetError where rows differ in names or dtypes, hold no plain numbers, or there is none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _INDEX).unlink(missing_ok=True)
    columns: dict[str, _Column] = {}
    try:
        for feed in feeds:
            if not columns:
                columns = {name: _open_column(folder, place, name, feed[name]) for place, name in enumerate(feed)}
            if feed.keys() != columns.keys():
                raise TargetError(
                    f"a feed has {sorted(feed)}, the first {sorted(columns)}; give every feed the same inputs"
                )
            for name, value in feed.items():
                columns[name].append(name, value)
        if not columns:
            raise TargetError("there are no feeds to save; give at least one row")
        inputs = [_finish(folder, place, name, column) for place, (name, column) in enumerate(columns.items())]
    finally:
        for column in columns.values():
            column.file.close()
    rows = len(next(iter(columns.values())).shapes)
    (folder / _INDEX).write_text(json.dumps({"rows": rows, "inputs": inputs}, indent=1) + "\n", encoding="utf-8")
    return rows


def load_feeds(folder: Path) -> Sequence[dict[str, np.ndarray]]:
    """The rows that `save_feeds` wrote, read from the memory map when they are asked for. Errors: TargetError."""
    index = folder / _INDEX
    if not index.is_file():
        raise TargetError(f"{folder} holds no feeds: {_INDEX} is not there; write the folder with save_feeds")
    try:
        table = json.loads(index.read_text(encoding="utf-8"))
        return Feeds(int(table["rows"]), [_Rows.open(folder, item) for item in table["inputs"]])
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise TargetError(f"the feeds in {folder} cannot be read: {error}; write them again with save_feeds") from None


def timed_rows(folder: Path) -> Sequence[dict[str, np.ndarray]]:
    """The rows that a session chooses from: at most 200, evenly over the folder, the same for every candidate."""
    feeds = load_feeds(folder)
    places = np.unique(np.linspace(0, len(feeds) - 1, min(MOST_TIMED, len(feeds))).round().astype(int))
    return [feeds[int(place)] for place in places]


def elements(feed: Mapping[str, np.ndarray]) -> int:
    """How large a feed is; texts differ in it."""
    return sum(value.size for value in feed.values())


class Feeds(Sequence[dict[str, np.ndarray]]):
    """Feeds on disk as a sequence of mappings from input name to a read-only array."""

    def __init__(self, rows: int, inputs: list[_Rows]) -> None:
        self._rows, self._inputs = rows, inputs

    def __len__(self) -> int:
        return self._rows

    @overload
    def __getitem__(self, row: int) -> dict[str, np.ndarray]: ...
    @overload
    def __getitem__(self, row: slice) -> Sequence[dict[str, np.ndarray]]: ...
    def __getitem__(self, row: int | slice) -> dict[str, np.ndarray] | Sequence[dict[str, np.ndarray]]:
        if isinstance(row, slice):
            return [self[place] for place in range(*row.indices(self._rows))]
        if not -self._rows <= row < self._rows:
            raise IndexError(f"row {row} of {self._rows} feeds")
        return {item.name: item.row(row % self._rows) for item in self._inputs}


@dataclass(frozen=True)
class _Rows:
    """One input's rows; `shapes` and `starts` only where the rows differ in shape."""

    name: str
    data: np.ndarray
    shapes: np.ndarray | None = None
    starts: np.ndarray | None = None

    @classmethod
    def open(cls, folder: Path, item: Mapping[str, Any]) -> _Rows:
        data = np.load(folder / item["data"], mmap_mode="r", allow_pickle=False)
        if "shapes" not in item:
            return cls(item["name"], data)
        shapes = np.load(folder / item["shapes"], allow_pickle=False)
        return cls(item["name"], data, shapes, np.concatenate([[0], np.cumsum(shapes.prod(axis=1))]))

    def row(self, place: int) -> np.ndarray:
        if self.shapes is None or self.starts is None:
            return np.asarray(self.data[place])
        return np.asarray(self.data[self.starts[place] : self.starts[place + 1]]).reshape(self.shapes[place])


def random_feeds(inputs: Sequence[Input], rows: int, seed: int) -> Iterator[dict[str, np.ndarray]]:
    """Seeded noise that fits a model: normal floats, integers 0 or 1, open sizes as 1. Errors: TargetError."""
    generator = np.random.default_rng(seed)
    for _ in range(rows):
        yield {item.name: _noise(item, generator) for item in inputs}


def _noise(item: Input, generator: np.random.Generator) -> np.ndarray:
    shape = tuple(size if isinstance(size, int) and size > 0 else 1 for size in item.shape)
    if item.dtype.startswith("float"):
        return generator.standard_normal(shape).astype(item.dtype)
    if item.dtype.startswith(("int", "uint", "bool")):
        return generator.integers(0, 2, shape).astype(item.dtype)
    raise TargetError(f"input {item.name!r} has type {item.dtype}, which noise cannot fill; give real feeds")


def _open_column(folder: Path, place: int, name: str, first: np.ndarray) -> _Column:
    if first.dtype.kind not in "biuf":
        raise TargetError(f"input {name!r} has dtype {first.dtype}; feeds hold plain numbers: bool, int, uint or float")
    file = (folder / f"{place}.npy").open("wb")
    file.write(bytes(_HEADER_BYTES))
    return _Column(first.dtype, file)


def _finish(folder: Path, place: int, name: str, column: _Column) -> dict[str, str]:
    """Fill the header in, now that the shape is known."""
    equal = len(set(column.shapes)) == 1
    shape = (len(column.shapes), *column.shapes[0]) if equal else (sum(math.prod(shape) for shape in column.shapes),)
    column.file.seek(0)
    column.file.write(_npy_header(column.dtype, shape))
    column.file.flush()
    item = {"name": name, "data": f"{place}.npy"}
    if not equal:
        if len({len(shape) for shape in column.shapes}) > 1:
            raise TargetError(f"input {name!r} has rows with different numbers of axes; give every row the same number")
        item["shapes"] = f"{place}.shapes.npy"
        np.save(folder / item["shapes"], np.asarray(column.shapes, dtype=np.int64), allow_pickle=False)
    return item


def _npy_header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """A version 1.0 header of fixed length (numpy.lib.format: magic, version, length, a padded Python literal)."""
    text = repr({"descr": dtype.str, "fortran_order": False, "shape": shape})
    length = _HEADER_BYTES - 10
    return b"\x93NUMPY\x01\x00" + length.to_bytes(2, "little") + text.ljust(length - 1).encode() + b"\n"
