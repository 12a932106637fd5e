"""NVIDIA Jetson boards: the power monitors INA3221 and INA238 on the board's supply lines.

Where a board has a rail for its input, that rail is the total and the others are parts of it: adding them counts twice
(jetson_stats #51). AGX Xavier and AGX Orin have none; for these the known rails side by side are added up.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from hardware_targets._counters import Clock, MeterFault, PolledPower, Read, optional, text
from hardware_targets.meters._hwmon import Rail, iio_rails, rails

_DRIVERS = "sys/bus/i2c/drivers"
TOTALS = {"VDD_IN": "module", "POM_5V_IN": "board input", "VIN": "board input"}
# Without an input rail. AGX Xavier: NVIDIA's forum, t/75574 (SYS5V is all but DDR, CPU, GPU and CV). AGX Orin:
# VDDQ_VDD2_1V8AO is left out, since nobody says that it is not fed by VIN_SYS_5V0 (jetson_stats #344).
SUMS = (
    ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),
    ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
)
_MOST_WATTS = 200.0
_POLL_S = 0.1


class Meter:
    """Watts of the board's input rail, or of the rails that make it up, ten times a second, added up."""

    name = "jetson_ina"
    kind = "measured"
    period_s = _POLL_S
    lag_s = 0.5  # the monitors average over many conversions
    window_s = 20.0

    def __init__(
        self, root: Path = Path("/"), clock: Clock = time.monotonic, read: Read = text, background: bool = True
    ) -> None:
        self._root, self._clock, self._read, self._background = root, clock, read, background

    @property
    def boundary(self) -> str:
        labels = [rail.label for rail in self._counted()]
        if len(labels) == 1:
            return TOTALS[labels[0]]
        return f"rails {' + '.join(labels)}" if labels else "board input"

    def unavailable(self) -> str | None:
        found = self._rails()
        if not found:
            return (
                f"there is no power monitor of a Jetson under {self._root / _DRIVERS}/ina3221; "
                "elsewhere use an external meter (wall_meter)"
            )
        counted = self._counted()
        if not counted:
            names = ", ".join(rail.label for rail in found)
            return f"none of the rails {names} is known as this board's input; use an external meter (wall_meter)"
        try:
            self._watts(counted)
        except MeterFault as fault:
            return str(fault)
        return None

    def source(self) -> str:
        mode = optional(self._root / "var/lib/nvpmodel/status", self._read)
        labels = ", ".join(rail.label for rail in self._counted())
        return f"INA power monitor, {labels}, polled ten times a second" + (f", nvpmodel {mode}" if mode else "")

    def open(self) -> PolledPower:
        counted = self._counted()
        if not counted:
            raise MeterFault(self.unavailable() or "the power monitor has gone; measure again")
        watts: Callable[[], float] = partial(self._watts, counted)
        return PolledPower(
            "the power monitor",
            watts,
            self._clock,
            interval_s=_POLL_S,
            most_watts=_MOST_WATTS,
            background=self._background,
        )

    def _rails(self) -> list[Rail]:
        drivers = self._root / _DRIVERS
        found: dict[str, Rail] = {}
        for folder in sorted([*drivers.glob("ina3221*/*/hwmon/hwmon*"), *drivers.glob("ina23*/*/hwmon/hwmon*")]):
            found |= {rail.label: rail for rail in rails(folder, self._read) if rail.label not in found}
        for folder in sorted(drivers.glob("ina3221*/*/iio:device*")):
            found |= {rail.label: rail for rail in iio_rails(folder, self._read) if rail.label not in found}
        return list(found.values())

    def _counted(self) -> list[Rail]:
        by_label = {rail.label: rail for rail in self._rails()}
        for label in TOTALS:
            if label in by_label:
                return [by_label[label]]
        for labels in SUMS:
            if by_label.keys() >= set(labels):
                return [by_label[label] for label in labels]
        return []

    @staticmethod
    def _watts(counted: list[Rail]) -> float:
        return sum(rail.watts() for rail in counted)
