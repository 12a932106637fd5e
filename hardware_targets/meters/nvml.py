"""NVIDIA GPUs through NVML, by the package nvidia-ml-py: its counter of millijoules, or else its watts, added up.

The counter needs Volta or newer and ticks about every 100 ms, which is why windows begin and end with a tick. NVML's
power is a mean over 1 s on recent parts, and on A100 and H100 samples a quarter of the time only (arXiv:2312.02741);
energy added up from it has a boundary of its own, so that it is never compared with the counter's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property
from typing import Any

from hardware_targets._counters import Clock, MeterFault, PolledPower, StepCounter
from hardware_targets._gpu import Gpu

MOST_WATTS = 3000.0  # a module with two processors and a GPU stays below
_POLL_S = 0.1


class Meter:
    """Joules of one GPU; `gpu` is its number in NVML's order."""

    name = "nvml"
    kind = "measured"
    window_s = 10.0

    def __init__(self, gpu: int = 0, library: Any = None, clock: Clock = time.monotonic) -> None:
        self._gpu, self._board, self._clock = gpu, Gpu(gpu, library), clock

    @property
    def boundary(self) -> str:
        if self.unavailable() is not None:
            return "gpu board"
        place = "gpu or its module (NVML does not say)" if self._board.has_module else "gpu board"
        return place if self._counts else f"{place}, polled power"

    @property
    def period_s(self) -> float:
        return 0.1

    @property
    def lag_s(self) -> float:
        return 0.0 if self.unavailable() is None and self._counts else 1.0

    def unavailable(self) -> str | None:
        return self._reason

    def source(self) -> str:
        what = "total energy counter" if self._counts else "power, polled ten times a second and added up"
        return f"NVML {what}, GPU {self._gpu} ({self._board.name}), driver {self._board.driver}"

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
    def _reason(self) -> str | None:
        """Why this GPU's energy cannot be read; asked once."""
        if reason := self._board.unavailable:
            return reason
        if self._board.divided:
            return (
                f"GPU {self._gpu} is divided by MIG and its counter is of the whole board, other tenants included; "
                f"turn MIG off (sudo nvidia-smi -i {self._gpu} -mig 0) or take a whole GPU"
            )
        library = self._board.library
        self._counts = self._answers(library.nvmlDeviceGetTotalEnergyConsumption)
        if not self._counts and not self._answers(library.nvmlDeviceGetPowerUsage):
            return (
                f"NVML tells neither energy nor power of GPU {self._gpu} ({self._board.name}); on a Jetson use the "
                "meter jetson_ina, elsewhere an external meter (wall_meter)"
            )
        return None

    def _answers(self, ask: Callable[[Any], Any]) -> bool:
        try:
            ask(self._board.handle)
        except self._board.library.NVMLError:
            return False
        return True

    def _joules(self) -> float:
        return self._ask(self._board.library.nvmlDeviceGetTotalEnergyConsumption) / 1e3

    def _watts(self) -> float:
        return self._ask(self._board.library.nvmlDeviceGetPowerUsage) / 1e3

    def _ask(self, ask: Callable[[Any], Any]) -> float:
        try:
            return float(ask(self._board.handle))
        except self._board.library.NVMLError as error:
            raise MeterFault(f"NVML did not answer for GPU {self._gpu} ({error}); look at nvidia-smi") from None

    def _disturbed(self) -> str | None:
        now = self._board.read()  # what this GPU does not tell is None, and the intervals must
        if now.others:
            return f"another process computed on GPU {self._gpu} too; stop it and measure again"
        if now.slowed:
            return f"GPU {self._gpu} held its clocks down ({', '.join(now.slowed)}); cool it and measure again"
        return None
