"""Running Average Power Limit: the energy counters of x86 processors, as Linux' powercap shows them.

What is counted: each processor package and the memory beside it (`dram`, which is not in the package). Zones are known
by their names. Not counted: `core` and `uncore` (parts of the package), `psys` (the whole platform, in which the
package is), the second view of a package through MMIO, and dies that mirror one counter of their socket.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hardware_targets._counters import (
    Clock,
    MeterFault,
    Read,
    StepCounter,
    Total,
    is_virtual,
    number,
    optional,
    rapl_kind,
    text,
)

_SAME = 1e-6  # of the larger of value and range: two readings this close are one counter
_APART_S = 0.05  # between the two looks for mirrors, so that counters have moved


@dataclass(frozen=True)
class Zone:
    """A powercap zone: its name, where it is in the tree (`intel-rapl:0:1`), and its files."""

    place: str
    name: str
    folder: Path

    @property
    def interface(self) -> str:
        return self.place.split(":")[0]

    @property
    def parent(self) -> str | None:
        return self.place.rpartition(":")[0] if self.place.count(":") == 2 else None


class Meter:
    """Joules of the packages and their memory; psys alone where a machine shows no package."""

    name = "rapl"
    period_s = 0.001
    lag_s = 0.0
    window_s = 5.0

    def __init__(
        self,
        root: Path = Path("/"),
        clock: Clock = time.monotonic,
        wait: Callable[[float], object] = time.sleep,
        read: Read = text,
    ) -> None:
        self._root, self._clock, self._wait, self._read = root, clock, wait, read

    @property
    def kind(self) -> str:
        return rapl_kind(self._root, self._read)

    @property
    def boundary(self) -> str:
        names = {zone.name for zone in self._chosen()}
        if "psys" in names:
            return "platform (psys)"
        return "package+dram" if "dram" in names else "package"

    def unavailable(self) -> str | None:
        zones = self._zones()
        if is_virtual(self._root, self._read):
            seen = "what its RAPL shows is not this machine's energy" if zones else "it has no energy counters"
            return f"this is a virtual machine: {seen}; measure on its host or on another machine, or accept a model"
        if not zones:
            return (
                "there is no RAPL zone under /sys/class/powercap: not an x86 processor, or its driver is not loaded; "
                "type: sudo modprobe intel_rapl_msr"
            )
        chosen = self._chosen()
        if not chosen:
            names = ", ".join(sorted({zone.name for zone in zones}))
            return f"powercap has no package zone, only: {names}; use an external meter (wall_meter)"
        try:
            for zone in chosen:
                self._joules(zone)
        except MeterFault as fault:
            return str(fault)
        return None

    def source(self) -> str:
        return f"RAPL, zones {', '.join(_title(zone) for zone in self._chosen())}"

    def open(self) -> Total:
        if reason := self.unavailable():
            raise MeterFault(reason)
        chosen = self._chosen()
        chosen = [chosen[place] for place in self._distinct(chosen)]
        return Total(
            [
                StepCounter(
                    f"RAPL zone {_title(zone)}",
                    partial(self._joules, zone),
                    self._clock,
                    period_s=self.period_s,
                    range_j=self._range(zone),
                )
                for zone in chosen
            ]
        )

    def _zones(self) -> list[Zone]:
        """Every zone once: of the flat class folder, or of the tree where a container has only that."""
        power = self._root / "sys/class/powercap"
        folders = [*power.glob("*:*"), *power.glob("*/*:*"), *power.glob("*/*/*:*:*")]
        tree = self._root / "sys/devices/virtual/powercap"
        folders += [*tree.glob("*/*:*"), *tree.glob("*/*/*:*:*")]
        found: dict[str, Zone] = {}
        for folder in folders:
            name = optional(folder / "name", self._read)
            if name and re.fullmatch(r"[\w-]*rapl[\w-]*(:\d+){1,2}", folder.name):
                found.setdefault(folder.name, Zone(folder.name, name, folder))
        return sorted(found.values(), key=lambda zone: zone.place)

    def _chosen(self) -> list[Zone]:
        zones = self._zones()
        packages = _one_view([zone for zone in zones if zone.parent is None and zone.name.startswith("package")])
        if not packages:
            return _one_view([zone for zone in zones if zone.parent is None and zone.name == "psys"])
        return packages + list(self._memory(zones, packages))

    def _memory(self, zones: Sequence[Zone], packages: Sequence[Zone]) -> Iterator[Zone]:
        """The memory beside each package, from its own view or the other; left out where it cannot be read."""
        names = {zone.place: zone.name for zone in zones}
        for package in packages:
            views = [
                zone for zone in zones if zone.name == "dram" and zone.parent and names.get(zone.parent) == package.name
            ]
            views.sort(key=lambda zone: (zone.parent != package.place, zone.interface))
            others = {zone.place for zone in packages} - {package.place}
            yield from [zone for zone in views if zone.parent not in others and self._readable(zone)][:1]

    def _readable(self, zone: Zone) -> bool:
        try:
            return self._joules(zone) >= 0
        except MeterFault:
            return False

    def _distinct(self, zones: Sequence[Zone]) -> list[int]:
        """Places of the zones that are not another zone's mirror: equal at two instants (codecarbon #1274)."""
        first = [self._joules(zone) for zone in zones]
        self._wait(_APART_S)
        second = [self._joules(zone) for zone in zones]
        kept: list[int] = []
        for place, zone in enumerate(zones):
            near = _SAME * max(second[place], self._range(zone) or 0.0)
            mirrors = (
                other
                for other in kept
                if zones[other].name.split("-")[0] == zone.name.split("-")[0]
                and abs(first[other] - first[place]) <= near
                and abs(second[other] - second[place]) <= near
                and second[place] > 0
            )
            if next(mirrors, None) is None:
                kept.append(place)
        return kept

    def _joules(self, zone: Zone) -> float:
        return number(zone.folder / "energy_uj", self._read) / 1e6

    def _range(self, zone: Zone) -> float | None:
        """Where the counter starts again; None where that is not told: then a step back is a fault, not a wrap."""
        try:
            return number(zone.folder / "max_energy_range_uj", self._read) / 1e6 or None
        except MeterFault:
            return None


def _one_view(zones: Sequence[Zone]) -> list[Zone]:
    """Zones of the first interface (the registers rather than MMIO), and of others what the first does not name."""
    kept: list[Zone] = []
    for interface in sorted({zone.interface for zone in zones}, key=lambda name: (name != "intel-rapl", name)):
        known = {zone.name for zone in kept}
        kept += [zone for zone in zones if zone.interface == interface and zone.name not in known]
    return kept


def _title(zone: Zone) -> str:
    return f"{zone.name} ({zone.place})"
