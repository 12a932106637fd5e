"""NVIDIA GPUs through NVML, by the package nvidia-ml-py: its counter of millijoules, or else its watts, added up.

The counter needs Volta or newer and ticks about every 100 ms, which is why windows begin and end with a tick. NVML's
power is a mean over 1 s on recent parts, and on A100 and H100 samples a quarter of the time only (arXiv:2312.02741);
energy added up from it has a boundary of its own, so that it is never compared with the counter's.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import time
from collections.abc import Callable
from functools import cached_property
from typing import Any

from hardware_targets._counters import Clock, MeterFault, PolledPower, StepCounter

MOST_WATTS = 3000.0  # a module with two processors and a GPU stays below
_POLL_S = 0.1
_SLOWED = 0x08 | 0x20 | 0x40 | 0x80  # nvmlClocksEventReason: HwSlowdown, Sw- and HwThermalSlowdown, HwPowerBrake


class Meter:
    """Joules of one GPU; `gpu` is its number in NVML's order."""

    name = "nvml"
    kind = "measured"
    window_s = 10.0

    def __init__(self, gpu: int = 0, library: Any = None, clock: Clock = time.monotonic) -> None:
        self._gpu, self._given, self._clock = gpu, library, clock

    @property
    def boundary(self) -> str:
        if self.unavailable() is not None:
            return "gpu board"
        place = "gpu or its module (NVML does not say)" if self._has_module else "gpu board"
        return place if self._counts else f"{place}, polled power"

    @property
    def period_s(self) -> float:
        return 0.1

    @property
    def lag_s(self) -> float:
        return 0.0 if self.unavailable() is None and self._counts else 1.0

    def unavailable(self) -> str | None:
        if self._given is None and importlib.util.find_spec("pynvml") is None:
            return "the package nvidia-ml-py is not installed here; pip install nvidia-ml-py"
        return self._reason

    def source(self) -> str:
        what = "total energy counter" if self._counts else "power, polled ten times a second and added up"
        return f"NVML {what}, GPU {self._gpu} ({self._name}), driver {self._driver}"

    def open(self) -> StepCounter | PolledPower:
        if reason := self.unavailable():
            raise MeterFault(reason)
        name = f"NVML's counter of GPU {self._gpu}"
        if self._counts:
            return StepCounter(name, self._joules, self._clock, period_s=self.period_s, most_watts=MOST_WATTS)
        return PolledPower(name, self._watts, self._clock, interval_s=_POLL_S, most_watts=MOST_WATTS)

    def watch(self) -> Callable[[], str | None]:
        """What disturbs a window from now on: other processes on the GPU, and clocks held down."""
        return self._disturbed

    @cached_property
    def _library(self) -> Any:
        return self._given or importlib.import_module("pynvml")

    @cached_property
    def _reason(self) -> str | None:
        """Why this GPU cannot be read; asked once, since it loads the driver's library."""
        library = self._library
        try:
            library.nvmlInit()
            self._handle = library.nvmlDeviceGetHandleByIndex(self._gpu)
        except library.NVMLError as error:
            return f"NVML finds no GPU {self._gpu} ({error}); install NVIDIA's driver, or choose another `gpu`"
        if self._is_divided():
            return (
                f"GPU {self._gpu} is divided by MIG and its counter is of the whole board, other tenants included; "
                f"turn MIG off (sudo nvidia-smi -i {self._gpu} -mig 0) or take a whole GPU"
            )
        self._counts = self._answers(library.nvmlDeviceGetTotalEnergyConsumption)
        if not self._counts and not self._answers(library.nvmlDeviceGetPowerUsage):
            return (
                f"NVML tells neither energy nor power of GPU {self._gpu} ({self._name}); on a Jetson use the meter "
                "jetson_ina, elsewhere an external meter (wall_meter)"
            )
        return None

    @property
    def _name(self) -> str:
        name = self._library.nvmlDeviceGetName(self._handle)
        return name.decode() if isinstance(name, bytes) else str(name)

    @property
    def _driver(self) -> str:
        version = self._library.nvmlSystemGetDriverVersion()
        return version.decode() if isinstance(version, bytes) else str(version)

    @cached_property
    def _has_module(self) -> bool:
        """Whether the GPU shares a module with processors (Grace Hopper): then NVML tells the module's power too."""
        library = self._library
        try:
            asked = [(library.NVML_FI_DEV_POWER_INSTANT, library.NVML_POWER_SCOPE_MODULE)]
            return bool(library.nvmlDeviceGetFieldValues(self._handle, asked)[0].nvmlReturn == 0)
        except (library.NVMLError, AttributeError):  # an older library knows no scopes, nor do GPUs of its time
            return False

    def _is_divided(self) -> bool:
        try:
            now, _ = self._library.nvmlDeviceGetMigMode(self._handle)
        except self._library.NVMLError:  # not supported: this GPU cannot be divided
            return False
        return bool(now == self._library.NVML_DEVICE_MIG_ENABLE)

    def _answers(self, ask: Callable[[Any], Any]) -> bool:
        try:
            ask(self._handle)
        except self._library.NVMLError:
            return False
        return True

    def _joules(self) -> float:
        return self._ask(self._library.nvmlDeviceGetTotalEnergyConsumption) / 1e3

    def _watts(self) -> float:
        return self._ask(self._library.nvmlDeviceGetPowerUsage) / 1e3

    def _ask(self, ask: Callable[[Any], Any]) -> float:
        try:
            return float(ask(self._handle))
        except self._library.NVMLError as error:
            raise MeterFault(f"NVML did not answer for GPU {self._gpu} ({error}); look at nvidia-smi") from None

    def _disturbed(self) -> str | None:
        library = self._library
        try:
            others = [
                process.pid
                for process in library.nvmlDeviceGetComputeRunningProcesses(self._handle)
                if process.pid != os.getpid()
            ]
            slowed = library.nvmlDeviceGetCurrentClocksThrottleReasons(self._handle) & _SLOWED
        except library.NVMLError:
            return None  # this GPU does not tell; the intervals must
        if others:
            return f"process {others[0]} used GPU {self._gpu} too; stop it and measure again"
        return f"GPU {self._gpu} held its clocks down (heat or power); cool it and measure again" if slowed else None
