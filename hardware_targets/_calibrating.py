"""`python -m hardware_targets calibrate TABLE --out DEVICE.yaml`: fit, validate, write, and say how wrong it is."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hardware_targets._calibration import Row, calibrate
from hardware_targets._calibration_table import STATISTICS, read_table
from hardware_targets._device_file import write_device
from hardware_targets._energy_model import DeviceModel
from hardware_targets._errors import TargetError


def add_parser(verbs: Any) -> None:
    """The verb and its options."""
    verb: argparse.ArgumentParser = verbs.add_parser("calibrate", help="fit an energy model to metered rows")
    verb.add_argument("table", type=Path, metavar="TABLE", help="CSV or Parquet: runtime, precision, family, ...")
    verb.add_argument("--out", type=Path, required=True, metavar="DEVICE.yaml", help="the description to write")
    verb.add_argument("--device", metavar="NAME", help="what it is; default: the name of the file written")
    verb.add_argument("--boundary", metavar="PLACE", help="where the meter sat: wall, module, package, ...")
    verb.add_argument("--source", metavar="TEXT", help="who metered it, and how; default: the table's name and hash")
    verb.add_argument("--date", metavar="YYYY-MM-DD", help="default: today")
    verb.add_argument("--latency-statistic", choices=STATISTICS, help="of the table's latencies; default: median")


def run(options: argparse.Namespace) -> int:
    """Write the description and print its bands. Errors: TargetError."""
    model = calibrate_table(
        options.table,
        options.out,
        device=options.device,
        boundary=options.boundary,
        source=options.source,
        date=options.date,
        latency_statistic=options.latency_statistic,
    )
    print("\n".join([*lines(model), use(options.out)]))
    return 0


def calibrate_table(
    path: Path,
    out: Path,
    *,
    device: str | None = None,
    boundary: str | None = None,
    source: str | None = None,
    date: str | None = None,
    latency_statistic: str | None = None,
) -> DeviceModel:
    """Fit a table of metered rows, leave each family out in turn, write the description to `out`. Errors: TargetError.

    What is not given is taken from the table, where it says so, or from its name, its hash and today.
    """
    table = read_table(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return calibrate_rows(
        table.rows,
        out,
        device=device,
        boundary=boundary or table.boundary,
        source=source or f"{path.name}, sha256 {digest}",
        date=date,
        latency_statistic=latency_statistic or table.latency_statistic,
    )


def calibrate_rows(
    rows: Sequence[Row],
    out: Path,
    *,
    source: str,
    device: str | None = None,
    boundary: str | None = None,
    date: str | None = None,
    latency_statistic: str | None = None,
) -> DeviceModel:
    """The same for rows that are at hand. Errors: TargetError."""
    if out.suffix not in (".yaml", ".yml"):
        raise TargetError(f"--out {str(out)!r} is no YAML file, and only such a one is read back; give e.g. board.yaml")
    if latency_statistic not in (None, *STATISTICS):
        raise TargetError(f"latency_statistic is {latency_statistic!r}; give {' or '.join(STATISTICS)}")
    model = calibrate(
        rows,
        device=device or out.stem,
        boundary=boundary or "",
        source=source,
        date=date,
        latency_statistic=latency_statistic or "median",
    )
    write_device(model, out)
    return model


def use(out: Path) -> str:
    """What to type next."""
    return f"written to {out}; use it with the meter `calibrated`, device {out}"


def lines(model: DeviceModel) -> list[str]:
    """What was fitted and how far it was off for a family that was left out."""
    told = [f"{model.device}, {model.boundary}, times are {model.latency_statistic}"]
    for item in model.models:
        threads = "threads not stated" if item.threads is None else f"{item.threads} thread(s)"
        told.append(f"  {item.runtime}, {threads}: {item.rows} rows of {', '.join(item.families)}")
        for curve in item.curves:
            watts = ", ".join(f"{name} {value:.3g} W" for name, value in curve.watts.items())
            held = "untested (it takes three families)" if curve.covered is None else f"held {curve.covered:.0%} unseen"
            name = "with MACs   " if "rate" in curve.terms else "without MACs"
            told.append(
                f"    {name} {watts}; unseen families: median error {curve.median_error:.1%}, "
                f"band x/{curve.band:.3g}, {held}"
            )
    return told
