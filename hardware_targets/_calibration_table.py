"""Reading metered rows from CSV or Parquet: one row per model, named columns, no gaps where a figure is needed."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hardware_targets._calibration import Row
from hardware_targets._errors import TargetError

NEEDED = ("runtime", "precision", "family", "latency_ms", "energy_mj")
ALLOWED = ("threads", "macs_m", "model", "latency_statistic", "boundary")
STATISTICS = ("median", "p90")


@dataclass(frozen=True)
class Table:
    """Rows, and what the whole table says of itself, None where it does not."""

    rows: tuple[Row, ...]
    latency_statistic: str | None
    boundary: str | None


def read_table(path: Path) -> Table:
    """Columns `NEEDED` and, if there, `ALLOWED`; others are left alone. Errors: TargetError."""
    if not path.is_file():
        raise TargetError(f"there is no table {path}; give a CSV or Parquet file")
    lines = _parquet(path) if path.suffix == ".parquet" else _csv(path)
    if not lines:
        raise TargetError(f"{path.name} has no rows; give one per metered model")
    missing = [name for name in NEEDED if name not in lines[0]]
    if missing:
        raise TargetError(f"{path.name} has no column {', '.join(missing)}; it needs {', '.join(NEEDED)}")
    rows = tuple(_row(line, f"{path.name}, row {number}") for number, line in enumerate(lines, start=1))
    statistic = _one(lines, "latency_statistic", path)
    if statistic not in (None, *STATISTICS):
        raise TargetError(f"{path.name}: latency_statistic is {statistic!r}; it is one of {', '.join(STATISTICS)}")
    return Table(rows, statistic, _one(lines, "boundary", path))


def _csv(path: Path) -> list[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise TargetError(
            f"{path.name} cannot be read as CSV: {error}; save it as UTF-8, separated by commas"
        ) from error


def _parquet(path: Path) -> list[dict[str, Any]]:
    try:
        from pyarrow import ArrowException, parquet  # type: ignore[import-untyped]  # has no stubs, and is optional
    except ImportError as error:
        raise TargetError(f"{path.name} needs pyarrow, which is not installed; give a CSV file instead") from error
    try:
        found: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    except (ArrowException, OSError) as error:
        raise TargetError(f"{path.name} cannot be read as Parquet: {error}") from error
    return found


def _row(line: Mapping[str, Any], place: str) -> Row:
    threads = _number(line, "threads", place) if _given(line, "threads") else None
    if threads is not None and threads != int(threads):
        raise TargetError(
            f"{place}: threads is {threads}; give a whole number, or leave it empty where it is not known"
        )
    return Row(
        runtime=_word(line, "runtime", place),
        threads=None if threads is None else int(threads),
        precision=_word(line, "precision", place),
        family=_word(line, "family", place),
        latency_ms=_number(line, "latency_ms", place),
        energy_mj=_number(line, "energy_mj", place),
        macs_m=_number(line, "macs_m", place) if _given(line, "macs_m") else None,
        model=_word(line, "model", place) if _given(line, "model") else None,
    )


def _given(line: Mapping[str, Any], name: str) -> bool:
    return line.get(name) not in (None, "")


def _word(line: Mapping[str, Any], name: str, place: str) -> str:
    word = str(line[name] or "").strip()
    if not word:
        raise TargetError(f"{place}: {name} is empty; fill it in or take the row out")
    return word


def _number(line: Mapping[str, Any], name: str, place: str) -> float:
    try:
        value = float(line[name])
    except (TypeError, ValueError):
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise TargetError(
            f"{place}: {name} is {line[name]!r}; it takes a number above 0, and a row without one is no row"
        )
    return value


def _one(lines: Sequence[Mapping[str, Any]], name: str, path: Path) -> str | None:
    """The word that all rows agree on."""
    words = sorted({str(line[name]).strip() for line in lines if _given(line, name)})
    if len(words) > 1:
        raise TargetError(f"{path.name}: {name} is {' and '.join(words)}; figures of different {name} are no one fit")
    return words[0] if words else None
