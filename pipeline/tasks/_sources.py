"""Where rows come from: the hub, a local folder, scikit-learn. A split is opened when it is asked for, not before."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.config import DataConfig, TaskConfig
from pipeline.errors import ConfigError, Unavailable, near
from pipeline.tasks._columns import Cell, Cells, first_line, present
from pipeline.tasks._image_cells import decoded, digits, image_cells

PREFIXES = {"train": ("train",), "validation": ("validation", "valid", "val", "dev"), "test": ("test",)}
INDEX = "__index_level_0__"  # the column that pandas makes of a field that the first line of a CSV file does not name
READERS = {".parquet": "from_parquet", ".csv": "from_csv", ".arrow": "from_file"}


@dataclass(frozen=True)
class Rows:
    """One split as its source has it; `cells(rows)` yields what is to be classified, row by row, nothing decoded."""

    split: str
    labels: Sequence[Any]
    names: Sequence[str] | None  # of labels 0, 1, 2, ... where the data set declares them
    cells: Cells

    def images(self, rows: np.ndarray) -> Iterator[Image.Image]:
        """Decoded images in the order of `rows`, where the cells are images. Errors: ConfigError naming the row."""
        for row, value in zip(rows, self.cells(rows), strict=True):
            yield decoded(value, int(row), self.split)

    def digest(self) -> str:
        """Hex SHA-256 over every label and every cell."""
        found = hashlib.sha256()
        for label, value in zip(self.labels, self.cells(np.arange(len(self.labels))), strict=True):
            data = _bytes(value)
            found.update(f"{label}:{len(data)}:".encode())
            found.update(data)
        return found.hexdigest()


def _bytes(value: Cell) -> bytes:
    if isinstance(value, tuple):
        return json.dumps(value).encode()
    return b"" if value is None else bytes(value)


Source = Mapping[str, Callable[[], Rows]]  # train, and validation and test where there are any; a call opens the split
# From a table (datasets.Dataset), its split, the task and the table's folder to what one row holds; checks the columns.
Reader = Callable[[Any, str, TaskConfig, Path], Cells]


def open_source(config: TaskConfig, cache: Path, reader: Reader = image_cells, labelled: bool = True) -> Source:
    """The splits that `config.data` has, none of them read yet. Errors: ConfigError, Unavailable.

    Not `labelled`: no label is read, and every row's is None.
    """
    data = config.data
    if data.source == "sklearn":
        return {"train": lambda: Rows("train", *digits(data))}
    places = _files(data) if data.source == "folder" else _hub_splits(data)
    if "train" not in places:
        raise ConfigError(
            f"no training rows in {data.path or data.name!r}: there are {', '.join(_all_names(places)) or 'none'}. "
            "Name a file train.parquet, or say which it is: `splits: {train: NAME}`"
        )
    read = _read_files if data.source == "folder" else _read_hub

    def opener(split: str, place: Any) -> Callable[[], Rows]:
        label = config.label if labelled else None
        return lambda: _rows(read(data, place, cache / "datasets"), split, config, _folder_of(place), reader, label)

    return {split: opener(split, place) for split, place in places.items()}


def _files(data: DataConfig) -> dict[str, list[Path]]:
    root = Path(str(data.path)).expanduser()
    if not root.exists():
        raise ConfigError(f"there is no {root}; give a folder of .parquet, .csv or .arrow files in `task.data.path`")
    if root.is_file():
        return {"train": [_readable(root)]}
    if data.splits:
        return {split: [_readable(_inside(root, name))] for split, name in data.splits.items()}
    files = sorted(path for path in root.iterdir() if path.suffix in READERS)
    if not files:
        raise ConfigError(
            f"{root} holds no .parquet, .csv or .arrow file; give the folder that does in `task.data.path`"
        )
    found = {split: [path for path in files if path.stem.startswith(known)] for split, known in PREFIXES.items()}
    return {split: paths for split, paths in found.items() if paths} or {"": files}


def _inside(root: Path, name: str) -> Path:
    path = root / name
    if not path.is_file():
        raise ConfigError(f"there is no file {name!r} in {root}{near(name, (other.name for other in root.iterdir()))}")
    return path


def _readable(path: Path) -> Path:
    if path.suffix not in READERS:
        raise ConfigError(f"{path} ends in {path.suffix!r}; rows are read from .parquet, .csv and .arrow files")
    return path


def _all_names(places: Mapping[str, Any]) -> list[str]:
    return [path.name for place in places.values() if isinstance(place, list) for path in place]


def _folder_of(place: Any) -> Path:
    return place[0].parent if isinstance(place, list) else Path()


def _read_files(_: DataConfig, paths: list[Path], cache: Path) -> Any:
    import datasets
    import pyarrow.parquet

    names = ", ".join(str(path) for path in paths)
    try:
        # datasets cannot read a Parquet file without rows, and says so in words that help nobody.
        if paths[0].suffix == ".parquet" and not sum(pyarrow.parquet.read_metadata(path).num_rows for path in paths):
            raise ConfigError(f"{names} is empty: there is no row in it; give a file with rows")
        with _quiet():
            if paths[0].suffix == ".arrow":
                return datasets.concatenate_datasets([datasets.Dataset.from_file(str(path)) for path in paths])
            read = getattr(datasets.Dataset, READERS[paths[0].suffix])
            table = read([str(path) for path in paths], cache_dir=str(cache))
    except ConfigError:
        raise
    except Exception as error:  # pyarrow, pandas and datasets each have their own; all mean that the file is not good
        cause = error.__cause__ or error
        if isinstance(cause, UnicodeDecodeError):
            raise ConfigError(
                f"{names} is not UTF-8: byte 0x{cause.object[cause.start]:02x} is none there; save it as UTF-8, e.g. "
                "iconv -f latin1 -t utf-8, or as Parquet"
            ) from error
        raise ConfigError(
            f"{names} cannot be read: {str(cause).splitlines()[0][:200] if str(cause) else type(cause).__name__}; "
            "check that the file is whole and of the kind that its name says"
        ) from error
    if paths[0].suffix == ".csv" and INDEX in table.column_names:
        first = ", ".join(map(repr, table[0].values()))
        raise ConfigError(
            f"{names} has rows of more fields than its first line names, so that no field is where it belongs (row 0: "
            f"{first[:200]}); put quotation marks around texts with commas, or save the file as Parquet"
        )
    return table


def _hub_splits(data: DataConfig) -> dict[str, str]:
    import datasets

    with _hub(data):
        names = datasets.get_dataset_split_names(str(data.name), data.subset, revision=data.revision)
    if data.splits:
        for name in data.splits.values():
            if name not in names:
                raise ConfigError(f"data set {data.name!r} has no split {name!r}{near(name, names)}")
        return {str(split): name for split, name in data.splits.items()}
    found = {split: [name for name in names if name.startswith(known)] for split, known in PREFIXES.items()}
    return {split: matches[0] for split, matches in found.items() if matches}


def _read_hub(data: DataConfig, split: str, cache: Path) -> Any:
    import datasets

    with _hub(data):
        return datasets.load_dataset(
            str(data.name), data.subset, split=split, revision=data.revision, cache_dir=str(cache)
        )


@contextmanager
def _hub(data: DataConfig) -> Iterator[None]:
    try:
        with _quiet():
            yield
    except FileNotFoundError as error:  # datasets' DatasetNotFoundError is one
        raise ConfigError(
            f"data set {data.name!r} is not on the hub, or is private: {first_line(error)}; check `task.data.name`"
        ) from error
    except OSError as error:
        raise Unavailable(
            f"data set {data.name!r} cannot be fetched: {first_line(error)}. "
            "Check the connection, or give a local copy: `data: {source: folder, path: ...}`"
        ) from error
    except ValueError as error:
        raise ConfigError(f"data set {data.name!r} cannot be opened: {first_line(error)}; check `task.data`") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Errors reach the user as one sentence of ours, so the library need not print its own beside it."""
    import datasets

    loggers = [logging.getLogger("datasets"), logging.getLogger("huggingface_hub")]
    before = [logger.level for logger in loggers]
    bars = datasets.are_progress_bars_disabled()
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
        if not bars:
            datasets.enable_progress_bars()


def _rows(table: Any, split: str, config: TaskConfig, folder: Path, reader: Reader, label: str | None) -> Rows:
    """Rows of a `datasets.Dataset`, its columns checked."""
    if label is not None:
        present(table, split, "label", label)
    if len(table) == 0:
        raise ConfigError(f"{split} is empty: it has its columns but no row; give a file with rows")
    cells = reader(table, split, config, folder)
    if label is None:
        return Rows(split, [None] * len(table), None, cells)
    labels = table.with_format("arrow").select_columns([label])[:].column(label).to_pylist()
    return Rows(split, labels, getattr(table.features[label], "names", None), cells)
