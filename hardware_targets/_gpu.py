"""What an NVIDIA GPU tells besides its energy: who else computes on it, what holds its clocks down, how warm it is.

By NVML, through the package nvidia-ml-py. A GPU tells some of it and answers NOT_SUPPORTED to the rest, which is None
here, never 0.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

T = TypeVar("T")

# nvmlClocksEventReason. Idling, fixed clocks and the power cap (0x1, 0x2, 0x4) are how a GPU at work is run; what a cap
# does to the clock is seen there.
_SLOWED = {0x08: "hardware slowdown", 0x20: "heat", 0x40: "heat", 0x80: "power brake"}


@dataclass(frozen=True)
class GpuReading:
    """A GPU at one moment; None where it does not tell."""

    others: int | None  # processes that compute on it, this one apart
    slowed: tuple[str, ...] | None  # what holds its clocks down
    clock_mhz: float | None  # of its multiprocessors
    temperature_c: float | None


class Gpu:
    """GPU `number` in NVML's order; `library` stands for pynvml in tests."""

    def __init__(self, number: int = 0, library: Any = None) -> None:
        self.number, self._given = number, library

    @cached_property
    def library(self) -> Any:
        return self._given or importlib.import_module("pynvml")

    @cached_property
    def unavailable(self) -> str | None:
        """Why NVML tells nothing of it; asked once, since it loads the driver's library."""
        if self._given is None and importlib.util.find_spec("pynvml") is None:
            return "the package nvidia-ml-py is not installed here; pip install nvidia-ml-py"
        try:
            self.library.nvmlInit()
            self.handle = self.library.nvmlDeviceGetHandleByIndex(self.number)
        except self.library.NVMLError as error:
            return f"NVML finds no GPU {self.number} ({error}); install NVIDIA's driver, or choose another `gpu`"
        return None

    @property
    def name(self) -> str:
        return _text(self.library.nvmlDeviceGetName(self.handle))

    @property
    def driver(self) -> str:
        return _text(self.library.nvmlSystemGetDriverVersion())

    @property
    def divided(self) -> bool:
        """Whether MIG has cut it into parts, which several users may have."""
        modes = self._told(lambda: self.library.nvmlDeviceGetMigMode(self.handle))
        return modes is not None and bool(modes[0] == self.library.NVML_DEVICE_MIG_ENABLE)

    @cached_property
    def has_module(self) -> bool:
        """Whether it shares a module with processors (Grace Hopper): then NVML tells the module's power too."""
        library = self.library
        try:
            asked = [(library.NVML_FI_DEV_POWER_INSTANT, library.NVML_POWER_SCOPE_MODULE)]
            return bool(library.nvmlDeviceGetFieldValues(self.handle, asked)[0].nvmlReturn == 0)
        except (library.NVMLError, AttributeError):  # an older library knows no scopes, nor do GPUs of its time
            return False

    def read(self) -> GpuReading:
        """The GPU now."""
        library, handle = self.library, self.handle
        reasons = self._told(lambda: library.nvmlDeviceGetCurrentClocksThrottleReasons(handle))
        found = self._told(lambda: library.nvmlDeviceGetComputeRunningProcesses(handle))
        return GpuReading(
            others=None if found is None else len(foreign([process.pid for process in found], os.getpid())),
            slowed=None if reasons is None else tuple({word: 0 for bit, word in _SLOWED.items() if reasons & bit}),
            clock_mhz=self._told(lambda: float(library.nvmlDeviceGetClockInfo(handle, library.NVML_CLOCK_SM))),
            temperature_c=self._told(
                lambda: float(library.nvmlDeviceGetTemperature(handle, library.NVML_TEMPERATURE_GPU))
            ),
        )

    def describe(self) -> str:
        """What must agree for two figures to compare: name, driver, limits, MIG, module."""
        library, handle = self.library, self.handle
        watts = self._told(lambda: library.nvmlDeviceGetPowerManagementLimit(handle) / 1000)
        most = self._told(lambda: library.nvmlDeviceGetMaxClockInfo(handle, library.NVML_CLOCK_SM))
        parts = [self.name, f"driver {self.driver}"]
        parts += [f"limit {watts:g} W"] if watts is not None else []
        parts += [f"at most {most} MHz"] if most is not None else []
        parts += ["divided by MIG"] if self.divided else []
        return ", ".join([*parts, *(["module with processors"] if self.has_module else [])])

    def notes(self) -> list[str]:
        """What a reader should know of where the figures are from."""
        said = []
        if self.divided:
            said.append(
                f"GPU {self.number} is divided by MIG: the figures are of the part that this process was given, and "
                "others may work on the rest"
            )
        if self.has_module:
            said.append(
                f"GPU {self.number} shares a module and its power limit with processors: their load moves its clocks"
            )
        return said

    def _told(self, ask: Callable[[], T]) -> T | None:
        try:
            return ask()
        except (self.library.NVMLError, AttributeError):
            return None


def foreign(listed: Sequence[int], own: int) -> list[int]:
    """The processes that are not this one.

    In a container NVML lists the host's numbers: where this process, which computes there, is not among them by its
    own number, one of them is it all the same.
    """
    others = [pid for pid in listed if pid != own]
    return others[1:] if len(others) == len(listed) else others


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
