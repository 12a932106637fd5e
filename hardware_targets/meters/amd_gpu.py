"""AMD GPUs: the sensor that the driver amdgpu shows under /sys/class/drm."""

from __future__ import annotations

import time
from pathlib import Path

from hardware_targets._counters import Clock, MeterFault, PolledPower, Read, StepCounter, number, optional, text

_FILES = ("energy1_input", "power1_average", "power1_input")  # microjoules; microwatts, averaged; microwatts
_MOST_WATTS = 1500.0
_POLL_S = 0.1


class Meter:
    """Joules of one card; `card` as in /sys/class/drm (`card0`), needed where there are several."""

    name = "amd_gpu"
    kind = "measured"
    period_s = _POLL_S
    lag_s = 1.0
    window_s = 20.0

    def __init__(
        self,
        card: str | None = None,
        root: Path = Path("/"),
        clock: Clock = time.monotonic,
        read: Read = text,
        background: bool = True,
    ) -> None:
        self._card, self._root, self._clock, self._read, self._background = card, root, clock, read, background

    @property
    def boundary(self) -> str:
        file = self._file()
        return "gpu board" if file is None or file.name == "energy1_input" else "gpu board, polled power"

    def unavailable(self) -> str | None:
        sensors = self._sensors()
        if not sensors:
            return "no AMD GPU shows a power sensor under /sys/class/drm; load its driver: sudo modprobe amdgpu"
        if self._card is None and len(sensors) > 1:
            return f"there are {len(sensors)} AMD GPUs: {', '.join(sensors)}; choose one with the option `card`"
        if self._card is not None and self._card not in sensors:
            return f"there is no AMD GPU {self._card!r}; there are: {', '.join(sensors)}"
        file = self._file()
        if file is None:
            return "the GPU's sensor shows neither energy nor power; use an external meter (wall_meter)"
        try:
            number(file, self._read)
        except MeterFault as fault:
            return str(fault)
        return None

    def source(self) -> str:
        file = self._file()
        assert file is not None, "only asked of a meter that is available"
        return f"hwmon {file.name} of {self._card or next(iter(self._sensors()))}"

    def open(self) -> StepCounter | PolledPower:
        if reason := self.unavailable():
            raise MeterFault(reason)
        file = self._file()
        assert file is not None, "unavailable() has said so"
        if file.name == "energy1_input":
            return StepCounter(
                "the GPU's counter",
                lambda: number(file, self._read) / 1e6,
                self._clock,
                period_s=self.period_s,
                most_watts=_MOST_WATTS,
            )
        return PolledPower(
            "the GPU's power sensor",
            lambda: number(file, self._read) / 1e6,
            self._clock,
            interval_s=_POLL_S,
            most_watts=_MOST_WATTS,
            background=self._background,
        )

    def _sensors(self) -> dict[str, Path]:
        """The sensor folder of every card that amdgpu drives."""
        found: dict[str, Path] = {}
        for name in sorted((self._root / "sys/class/drm").glob("card*/device/hwmon/hwmon*/name")):
            if optional(name, self._read) == "amdgpu":
                found.setdefault(name.parents[3].name, name.parent)
        return found

    def _file(self) -> Path | None:
        sensors = self._sensors()
        folder = sensors.get(self._card) if self._card else next(iter(sensors.values()), None)
        if folder is None:
            return None
        return next((folder / name for name in _FILES if optional(folder / name, self._read) is not None), None)
