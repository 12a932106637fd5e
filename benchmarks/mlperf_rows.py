"""Published MLPerf Inference power results of mobile networks, as rows for `hardware_targets._calibration`.

They were retrieved from github.com/mlcommons/cm4mlperf-results (Apache-2.0) and lie in ../shared/data/mlperf_power;
the table is not committed. A group is one results folder of one version: one board under one runtime. The folder is
what tells groups apart, not the system's name: three v2.0 folders of an Odroid N2+ carry the name of a Jetson AGX
Xavier.
"""

from __future__ import annotations

import csv
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import mobile_macs

from hardware_targets._calibration import Row

TABLE = ROOT.parent / "shared" / "data" / "mlperf_power" / "single_stream.csv"
MISSING = "the table is not in ../shared/data/mlperf_power; what it gave is in benchmarks/results and devices/*.yaml"
SOURCE = (
    "published MLPerf Inference power results (SingleStream, wall-power analyser, 600 s windows), retrieved from "
    "github.com/mlcommons/cm4mlperf-results (Apache-2.0)"
)
FIXED_ON, SCORED_ON = ("v2.0", "v2.1"), ("v3.0", "v3.1", "v4.0", "v4.1")
EIGHT_BIT = re.compile(r"uint8|int8|(?<!non-)quantized")
WORDS = re.compile(r"-?(precision-(float|uint8)|non-quantized|quantized|fp32|int8|uint8|float)")


@dataclass(frozen=True)
class Group:
    """One results folder: rows of one board under one runtime."""

    version: str
    folder: str
    runtime: str
    rows: tuple[Row, ...]

    @property
    def name(self) -> str:
        return f"{self.version}/{self.folder}"


def groups(versions: tuple[str, ...], table: Path = TABLE) -> list[Group]:
    """The grids of those versions, in the order of the table."""
    found: dict[tuple[str, str], list[dict[str, str]]] = {}
    with table.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            if line["version"] in versions and line["division"] == "open" and _is_mobile(line["model"]):
                found.setdefault((line["version"], line["location"].split("/")[3]), []).append(line)
    return [
        Group(version, folder, lines[0]["framework"], tuple(_row(line) for line in lines))
        for (version, folder), lines in found.items()
    ]


def named(group: Group, runtime: str) -> list[Row]:
    """The rows of a group under a shorter name of its runtime."""
    return [replace(row, runtime=runtime) for row in group.rows]


def network(model: str) -> tuple[str, str]:
    """(name without its precision, precision) of a published name, e.g. mobilenet-v1-precision_uint8-0.25-128."""
    plain = model.replace("_", "-")
    return WORDS.sub("", plain), "int8" if EIGHT_BIT.search(plain) else "fp32"


def _is_mobile(model: str) -> bool:
    return model.startswith(("mobilenet", "efficientnet"))


def _row(line: dict[str, str]) -> Row:
    name, precision = network(line["model"])
    family = re.match(r"mobilenet-v\d|efficientnet", name)
    if family is None:
        raise ValueError(f"{line['model']} belongs to no family that is known here")
    return Row(
        runtime=line["framework"],
        threads=None,
        precision=precision,
        family=family[0],
        latency_ms=float(line["latency_ms_p90"]),
        energy_mj=1000 * float(line["energy_j"]),
        macs_m=mobile_macs.macs_m(name),
        model=name,
    )
