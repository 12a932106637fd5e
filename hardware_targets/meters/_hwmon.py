"""Power sensors of Linux' hwmon and iio folders, as callables that give watts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hardware_targets._counters import Read, number, optional

NO_RAILS = {"nc", "sum of shunt voltages"}  # labels of channels that measure nothing, or no rail


@dataclass(frozen=True)
class Rail:
    """A supply line: its label and a way to read its watts."""

    label: str
    watts: Callable[[], float]


def rails(folder: Path, read: Read) -> list[Rail]:
    """The rails of one hwmon folder: volts times amperes (ina3221), or the chip's own power (ina238, in microwatts)."""
    found = []
    for path in sorted(folder.glob("in*_label")):
        place = path.name.removeprefix("in").removesuffix("_label")
        label = optional(path, read)
        current = folder / f"curr{place}_input"
        if label and label.lower() not in NO_RAILS and optional(current, read) is not None:
            found.append(Rail(label, partial(_product, folder / f"in{place}_input", current, read)))
    power = folder / "power1_input"
    if not found and optional(power, read) is not None:
        label = next((text for name in ("power1_label", "label") if (text := optional(folder / name, read))), "VIN")
        found.append(Rail(label, partial(_scaled, power, 1e6, read)))
    return found


def iio_rails(folder: Path, read: Read) -> list[Rail]:
    """The rails of an `iio:device` folder of JetPack 4, in milliwatts."""
    found = []
    for path in sorted(folder.glob("rail_name_*")):
        label = optional(path, read)
        power = folder / f"in_power{path.name.removeprefix('rail_name_')}_input"
        if label and label.lower() not in NO_RAILS and optional(power, read) is not None:
            found.append(Rail(label, partial(_scaled, power, 1e3, read)))
    return found


def _scaled(power: Path, units_per_watt: float, read: Read) -> float:
    return number(power, read) / units_per_watt


def _product(millivolts: Path, milliamperes: Path, read: Read) -> float:
    return number(millivolts, read) * number(milliamperes, read) / 1e6
