"""Published figures as tables: a YAML description, and rows in it or in a CSV or Parquet file beside it.

    source: published MLPerf Inference results, retrieved from github.com/mlcommons/cm4mlperf-results
    device: Raspberry Pi 4
    runtime: TFLite
    threads: 4
    latency_statistic: p90                       # or median
    energy: {kind: measured, boundary: wall}     # where the rows have energy
    rows: single_stream.csv                      # or a list of mappings
    columns: {key: model, latency_ms: latency_ms_p90}   # our names: the table's
    where: {system: rpi4, framework: tflite}     # only rows with these values

Our names: `key` or `sha256` (what a row is found by), latency_ms or latency_s, energy_mj or energy_j, cpu_ms,
peak_memory_mb, and `latency_low`, `latency_high`, `energy_low`, `energy_high` in the unit of their figure.
"""

from __future__ import annotations

import csv
import importlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hardware_targets._errors import TargetError

STATISTICS = ("median", "p90")
_NEEDED = ("source", "device", "runtime", "threads", "latency_statistic", "rows")
_KNOWN = {*_NEEDED, "runtime_version", "energy", "columns", "where"}


@dataclass(frozen=True)
class Figure:
    """A published figure and what the table says of its range; low = value = high where it says nothing."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Row:
    """What a table knows of one model; milliseconds, millijoules, 10^6 bytes."""

    latency: Figure
    energy: Figure | None
    cpu_ms: float | None
    peak_memory_mb: float | None


@dataclass(frozen=True)
class Table:
    """A described table; `rows` by key and by sha256."""

    path: Path
    source: str
    device: str
    runtime: str
    runtime_version: str
    threads: int
    latency_statistic: str
    energy_kind: str | None
    energy_boundary: str | None
    rows: Mapping[str, Mapping[str, Any]]

    def row(self, key: str) -> Row | None:
        """The figures of one model, exactly as published, or None. Errors: TargetError for a row that is no row."""
        return None if key not in self.rows else _row(self.rows[key], f"{self.path}, row {key!r}")


def read_table(path: Path) -> Table:
    """The table that a YAML file describes. Errors: TargetError, with what to write."""
    head = _described(path)
    energy = head.get("energy") or {}
    if energy and not (isinstance(energy, Mapping) and {"kind", "boundary"} <= energy.keys()):
        raise TargetError(f"{path}: `energy` needs a kind and a boundary, e.g. {{kind: measured, boundary: wall}}")
    rows = head["rows"] if isinstance(head["rows"], list) else _file_rows(path, path.parent / str(head["rows"]))
    return Table(
        path=path,
        source=str(head["source"]),
        device=str(head["device"]),
        runtime=str(head["runtime"]),
        runtime_version=str(head.get("runtime_version", "not recorded")),
        threads=int(head["threads"]),
        latency_statistic=head["latency_statistic"],
        energy_kind=energy.get("kind"),
        energy_boundary=energy.get("boundary"),
        rows=_by_key(path, rows, head.get("columns") or {}, head.get("where") or {}),
    )


def _described(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise TargetError(f"there is no table {path}; give the YAML file that describes one")
    try:
        head = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise TargetError(f"{path} is no YAML: {' '.join(str(error).split())}; describe the table in YAML") from None
    if not isinstance(head, Mapping):
        raise TargetError(f"{path} describes no table; it needs: {', '.join(_NEEDED)}")
    if absent := [name for name in _NEEDED if name not in head]:
        raise TargetError(f"{path} does not say {', '.join(absent)}; no figure means anything without: write them in")
    if odd := sorted(map(str, set(head) - _KNOWN)):
        raise TargetError(f"{path} has {', '.join(odd)}, which no table has; there are: {', '.join(sorted(_KNOWN))}")
    if head["latency_statistic"] not in STATISTICS:
        raise TargetError(f"{path}: latency_statistic is {head['latency_statistic']!r}; it is one of {STATISTICS}")
    if isinstance(head["threads"], bool) or not isinstance(head["threads"], int) or head["threads"] < 1:
        raise TargetError(f"{path}: threads is {head['threads']!r}; give the number that the figures were taken with")
    return head


def _file_rows(table: Path, path: Path) -> Sequence[Mapping[str, Any]]:
    if not path.is_file():
        raise TargetError(f"{table} names the rows {path}, which is not there; put the file beside its description")
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    if path.suffix == ".parquet":
        try:
            parquet = importlib.import_module("pyarrow.parquet")
        except ImportError:
            raise TargetError(f"{path} needs the package pyarrow; pip install it, or give the rows as CSV") from None
        return list(parquet.read_table(path).to_pylist())
    raise TargetError(f"{path} is neither .csv nor .parquet; give the rows as one of them, or as a list in {table}")


def _by_key(
    path: Path, rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], where: Mapping[str, Any]
) -> dict[str, Mapping[str, Any]]:
    """Rows under our names for the columns, by key and by sha256; two rows of one key are refused, not averaged."""
    found: dict[str, Mapping[str, Any]] = {}
    for raw in rows:
        if not isinstance(raw, Mapping):
            raise TargetError(f"{path}: a row is {raw!r}; give each row as a mapping from column to value")
        if any(str(raw.get(column)) != str(value) for column, value in where.items()):
            continue
        row = {**raw, **{ours: raw.get(theirs) for ours, theirs in columns.items()}}
        keys = [str(row[name]) for name in ("key", "sha256") if row.get(name) not in (None, "")]
        if not keys:
            raise TargetError(f"{path}: a row has neither key nor sha256; name the column in `columns: {{key: ...}}`")
        for key in keys:
            if key in found:
                raise TargetError(f"{path} has two rows for {key!r}; choose one of them with `where`")
            found[key] = row
    if not found:
        raise TargetError(f"{path} has no rows{f' where {dict(where)}' if where else ''}; look at what the file holds")
    return found


def _row(raw: Mapping[str, Any], place: str) -> Row:
    latency = _figure(raw, "latency", {"latency_ms": 1.0, "latency_s": 1e3}, place)
    if latency is None:
        raise TargetError(f"{place} has no latency_ms or latency_s; name the column in `columns`")
    return Row(
        latency=latency,
        energy=_figure(raw, "energy", {"energy_mj": 1.0, "energy_j": 1e3}, place),
        cpu_ms=_number(raw, "cpu_ms", place),
        peak_memory_mb=_number(raw, "peak_memory_mb", place),
    )


def _figure(raw: Mapping[str, Any], name: str, units: Mapping[str, float], place: str) -> Figure | None:
    for column, factor in units.items():
        if (value := _number(raw, column, place)) is not None:
            low, high = (_number(raw, f"{name}_{end}", place) for end in ("low", "high"))
            figure = Figure(value * factor, (low or value) * factor, (high or value) * factor)
            if not figure.low <= figure.value <= figure.high:
                raise TargetError(f"{place}: {column} {value} is outside {low} to {high}; correct the table")
            return figure
    return None


def _number(raw: Mapping[str, Any], column: str, place: str) -> float | None:
    """A positive number; None for an empty cell."""
    text = raw.get(column)
    if text is None or text == "":
        return None
    try:
        value = float(text)
    except (TypeError, ValueError):
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise TargetError(f"{place}: {column} is {text!r}; give a number above 0, or leave the cell empty")
    return value
