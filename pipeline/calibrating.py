"""`niwaki calibrate`: an energy model of a device, from a table of metered rows or from a search that was metered."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hardware_targets
from hardware_targets import DeviceModel, Energy, Measurement, MeteredRow
from pipeline.errors import ConfigError
from pipeline.findings import config_of
from pipeline.measuring import as_ours
from pipeline.record import TrialRecord, read_records
from pipeline.workspace import existing

TABLES = (".csv", ".parquet")


def calibrate(origin: str, out: Path, root: Path, **given: str | None) -> dict[str, Any]:
    """Fit, leave out each family in turn, write the description. Errors: ConfigError.

    `origin` is a CSV or Parquet file, or the name of a search whose energy a counter measured: the metered twin.
    `given`: device, boundary, source, date, latency_statistic, where they are to differ from what is found.
    """
    try:
        if Path(origin).suffix in TABLES or Path(origin).is_file():
            model = hardware_targets.calibrate_table(Path(origin), out, **given)
        else:
            model = _from_search(origin, out, root, given)
    except hardware_targets.TargetError as error:
        raise as_ours(error) from None
    sentences = [*hardware_targets.calibration_lines(model), hardware_targets.calibration_use(out)]
    return {**hardware_targets.device_json(model), "written": str(out), "sentences": sentences}


def _from_search(name: str, out: Path, root: Path, given: dict[str, str | None]) -> DeviceModel:
    workspace = existing(root, name)
    rows, boundary, source = metered(read_records(workspace.folder))
    if not rows:
        raise ConfigError(
            f"no trial of {name!r} has an energy that was measured on {config_of(workspace).target.name!r}, and a "
            "model fitted to modelled figures would know nothing; give a table, or a search on a metered machine"
        )
    found = {"device": Path(out).stem, "boundary": boundary, "source": f"search {name}, {source}"}
    return hardware_targets.calibrate_rows(
        rows, out, **{**found, **{key: value for key, value in given.items() if value}, "latency_statistic": "median"}
    )


def metered(records: Sequence[TrialRecord]) -> tuple[list[MeteredRow], str, str]:
    """Rows, boundary and source of complete trials with a measured energy. Errors: ConfigError for two boundaries."""
    rows, boundaries, sources = [], set(), set()
    for record in records:
        measured = (record.energy_kind or "").startswith("measured")
        if record.end != "complete" or record.measurement is None or not measured:
            continue
        found = Measurement.from_json(record.measurement)
        assert isinstance(found.energy, Energy)
        boundaries.add(found.energy.boundary)
        sources.add(found.energy.source)
        rows.append(_row(record, found, found.energy))
    if len(boundaries) > 1:
        raise ConfigError(
            f"energy was measured at two places, {' and '.join(sorted(boundaries))}, which no one fit describes; "
            "give a table with the rows of one"
        )
    return rows, next(iter(boundaries), ""), "; ".join(sorted(sources))


def _row(record: TrialRecord, found: Measurement, energy: Energy) -> MeteredRow:
    artifact = record.artifact or {}
    macs = artifact.get("macs")
    return MeteredRow(
        runtime=found.conditions.runtime,
        threads=found.conditions.threads,
        precision=record.precision,
        family=record.candidate.student,
        latency_ms=found.latency.median_ms,
        energy_mj=energy.mj,
        macs_m=macs / 1e6 if macs else None,
    )
