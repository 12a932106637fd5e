"""Energy without a counter: CPU-seconds times the watts of a busy hardware thread from a published table."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from hardware_targets._errors import TargetError
from hardware_targets._measurement import Conditions, Energy, Latency

_TABLE = Path(__file__).with_name("watts_per_core.yaml")
_BAND = 1.5  # no narrower band is defensible for a generic table; see the rows' spread within one vendor


class Meter:
    """Works anywhere, but ranks models of one precision on one machine only: watts do not know what a thread computes.

    energy [mJ] = watts per busy thread x CPU-seconds per inference x 1000, band x/1.5.
    """

    kind = "modelled-generic"
    boundary = "server share per busy hardware thread (wall)"

    def __init__(self, table: Path = _TABLE) -> None:
        self._path = table

    def unavailable(self) -> str | None:
        if not self._path.is_file():
            return f"the table {self._path} is not there; copy it with the package"
        return None

    def energy(self, latency: Latency, conditions: Conditions) -> Energy:
        """Energy of one inference from its CPU time and the processor it ran on."""
        if latency.cpu_seconds is None:
            raise TargetError("modelled_generic multiplies CPU time, which this figure does not have; measure it")
        return self.of_cpu_seconds(latency.cpu_seconds, conditions)

    def of_cpu_seconds(self, cpu_seconds: float, conditions: Conditions) -> Energy:
        """Energy of so much CPU time, over all threads, on the processor that the conditions name."""
        watts, source = self._watts(conditions)
        mj = watts * cpu_seconds * 1000
        return Energy(mj, mj / _BAND, mj * _BAND, self.kind, self.boundary, "modelled_generic", source)

    def _watts(self, conditions: Conditions) -> tuple[float, str]:
        table = _read(self._path)
        for row in table["rows"]:
            if _fits(row, conditions):
                return float(row["watts"]), f"{table['source']}; {row['name']}: {row['watts']} W"
        watts = statistics.median(row["watts"] for row in table["rows"])
        name = (
            f"{conditions.cpu_model or 'this processor'}, family {conditions.cpu_family}, model {conditions.cpu_number}"
        )
        return watts, (
            f"{table['source']}; {name}, is not in the table: median of its {len(table['rows'])} rows, {watts} W"
        )


@cache  # reading it takes ten milliseconds, and a search asks for hundreds of figures at once
def _read(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")))


def _fits(row: Mapping[str, Any], conditions: Conditions) -> bool:
    if (row["vendor"], row["family"]) != (conditions.cpu_vendor, conditions.cpu_family):
        return False
    if conditions.cpu_number not in row["models"]:
        return False
    if "steppings" not in row:
        return True
    first, last = row["steppings"]
    return conditions.cpu_stepping is not None and first <= conditions.cpu_stepping <= last
