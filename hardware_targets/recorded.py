"""A published table as a target: figures are looked up, never interpolated; a model without a row has none."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path

import numpy as np

from hardware_targets import _parts
from hardware_targets._errors import DeviceFailure, TargetError
from hardware_targets._feeds import Input
from hardware_targets._measurement import Conditions, Energy, Latency, Measurement, Unmeasured
from hardware_targets._plan import Tier
from hardware_targets._roles import HardwareTarget
from hardware_targets._tables import Row, Table, read_table

NOT_TOLD = "not recorded"
_NOT_TOLD = (
    *("cpu_vendor", "cpu_family", "cpu_number", "cpu_stepping", "logical_cores", "governor", "virtualised"),
    *("container", "on_ac", "load_start", "load_end", "steal_share", "foreign_share"),
)


class Target:
    """Answers from the table that the YAML file `table` describes (`_tables` says how).

    A model's row is found by its sha256, else by its file's name without the ending. A table predicts nothing:
    predictions, and the inputs of a file, come from the target named in `predict_on`. Latencies of the table stand for
    what its `latency_statistic` says; the ratio of two rows has the width that the table gives them, which may be none.
    """

    name = "recorded"

    def __init__(
        self,
        threads: int = 1,
        seconds: float | None = None,  # noqa: ARG002 - what others take for a measurement; looking up takes none
        table: str | None = None,
        predict_on: str | None = None,
    ) -> None:
        self.threads, self._path, self._predict_on = threads, None if table is None else Path(table), predict_on

    def mistaken(self) -> str | None:
        """What is wrong with the options, or with the table that they name."""
        try:
            table = self._table
        except TargetError as error:
            return str(error)
        if table.threads != self.threads:
            return f"{table.path} is of {table.threads} threads, not {self.threads}; set threads: {table.threads}"
        return None

    def unavailable(self) -> str | None:
        if reason := self.mistaken():
            return reason
        try:
            return None if self._predict_on is None else self._device("prediction").unavailable()
        except TargetError as error:
            return str(error)

    def conditions(self) -> Conditions:
        """What the table tells of its device; the rest is None or "not recorded"."""
        table = self._table
        return Conditions(
            **dict.fromkeys(_NOT_TOLD),
            cpu_model=table.device,
            architecture=NOT_TOLD,
            kernel=NOT_TOLD,
            python=NOT_TOLD,
            runtime=table.runtime,
            runtime_version=table.runtime_version,
            threads=table.threads,
            spinning=False,
        )

    def inputs(self, model: Path) -> tuple[Input, ...]:
        """The inputs of a model file, as `predict_on` reads them. Errors: TargetError."""
        return self._device("the inputs of a file").inputs(model)

    def measure(
        self,
        model: Path,
        feeds: Path,  # noqa: ARG002 - a table was taken on its publisher's inputs
        reference: Path,
        reference_feeds: Path,  # noqa: ARG002
        *,
        seed: int,  # noqa: ARG002
        seconds: float | None = None,  # noqa: ARG002
        time_limit_s: float | None = None,  # noqa: ARG002
        tier: Tier = "trial",  # noqa: ARG002
        raw: Path | None = None,  # noqa: ARG002
        over: float | None = None,  # noqa: ARG002
    ) -> Measurement:
        """The figures of `model` over those of `reference`. Errors: TargetError where either has no row."""
        return self.look_up(*(_keys(path) for path in (model, reference)))

    def look_up(self, keys: list[str] | str, reference: list[str] | str) -> Measurement:
        """The figures under the first of `keys` that has a row, e.g. a candidate's key. Errors: TargetError."""
        table, row, other = self._table, self._row(keys), self._row(reference)
        latency = _latency(row, other, table.latency_statistic)
        memory: float | Unmeasured = row.peak_memory_mb or Unmeasured(f"{table.path} has no peak_memory_mb for it")
        return Measurement(latency, _energy(row, table), memory, self.conditions(), tuple(_warnings(row, other, table)))

    def predict(self, model: Path, feeds: Path, *, time_limit_s: float = 600.0) -> np.ndarray:
        """The predictions of the file on the target that `predict_on` names. Errors: TargetError."""
        return self._device("a prediction").predict(model, feeds, time_limit_s=time_limit_s)

    @cached_property
    def _table(self) -> Table:
        if self._path is None:
            raise TargetError("recorded needs a table to look figures up in; give `table:`, a YAML file describing one")
        return read_table(self._path)

    def _row(self, keys: list[str] | str) -> Row:
        wanted = [keys] if isinstance(keys, str) else keys
        for key in wanted:
            if (row := self._table.row(key)) is not None:
                return row
        raise DeviceFailure(
            f"{self._table.path} has no row for {' or '.join(map(repr, wanted))}, and figures are not interpolated; "
            "add the row, or choose among the models that were measured"
        )

    def _device(self, what: str) -> HardwareTarget:
        if self._predict_on is None:
            raise DeviceFailure(f"a table does not hold {what}; name the target that runs the file in `predict_on:`")
        if self._predict_on == self.name:
            raise TargetError("predict_on is 'recorded', which runs nothing; name a device, e.g. local_cpu")
        device: HardwareTarget = _parts.build("target", self._predict_on)
        return device


def _keys(path: Path) -> list[str]:
    """What a file may be listed under."""
    if not path.is_file():
        raise TargetError(f"there is no file {path}; give a model file that exists, or its key to look_up")
    with path.open("rb") as file:
        return [hashlib.file_digest(file, "sha256").hexdigest(), path.stem]


def _latency(row: Row, other: Row, statistic: str) -> Latency:
    mine, theirs = row.latency, other.latency
    ratio = mine.value / theirs.value
    return Latency(
        median_ms=mine.value,
        p90_ms=mine.value if statistic == "p90" else None,
        p95_ms=None,
        p99_ms=None,
        reference_median_ms=theirs.value,
        ratio=ratio,
        ratio_low=mine.low / theirs.high,
        ratio_high=mine.high / theirs.low,
        ratio_samples=(ratio,),
        blocks=1,
        calls=1,
        batch_size=1,
        cpu_seconds=None if row.cpu_ms is None else row.cpu_ms / 1000,
        warmup_calls=0,
        steady=True,
    )


def _energy(row: Row, table: Table) -> Energy | Unmeasured:
    if row.energy is None:
        return Unmeasured(f"{table.path} has no energy for this model; look for a table that has")
    if table.energy_kind is None or table.energy_boundary is None:
        return Unmeasured(f"{table.path} has energy of no kind and boundary; write them into `energy:`")
    figure = row.energy
    return Energy(
        figure.value, figure.low, figure.high, table.energy_kind, table.energy_boundary, "recorded", table.source
    )


def _warnings(row: Row, other: Row, table: Table) -> list[str]:
    """What a reader must know of a figure that nobody measured here."""
    said = [f"looked up, not measured here: {table.source}"]
    if table.latency_statistic != "median":
        said.append(f"the latencies of this table are {table.latency_statistic} of single calls, not medians")
    if row.latency.low == row.latency.high or other.latency.low == other.latency.high:
        said.append("the table gives no range, so the interval of the ratio is too narrow, nobody knows by how much")
    return said
