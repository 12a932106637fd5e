"""A device whose power is known, and a counter on it that has a tick, a smallest step, a range, and faults."""

# ruff: noqa: ARG002, ARG005 - a double takes what the real thing takes, and does not need all of it

from __future__ import annotations

import bisect
import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from hardware_targets._counters import MeterFault, StepCounter


class PowerDevice:
    """Two models on one simulated clock, each with its own watts and time per call.

    `noise` is the standard deviation of the power's slow wandering (an AR(1) process of one second), `jitter` that of
    a call's time. `leak(t)` multiplies the power at second t. `tick_s`, `lsb_j` and `range_j` are the counter's;
    `late_s` is how old its figure is, `dead` a counter of something else. `fault(reading, raw)` may change or refuse
    the n-th reading.
    """

    def __init__(
        self,
        seed: int,
        *,
        watts: tuple[float, float, float] = (22.0, 20.0, 8.0),
        call_ms: tuple[float, float] = (30.0, 50.0),
        noise: float = 0.01,
        jitter: float = 0.02,
        leak: Callable[[float], float] = lambda t: 1.0,
        tick_s: float = 0.001,
        lsb_j: float = 61e-6,
        range_j: float | None = 262_143.0,
        start_j: float = 1000.0,
        late_s: float = 0.0,
        dead: bool = False,
        fault: Callable[[int, float], float] = lambda reading, raw: raw,
    ) -> None:
        self.now = 50.0
        self._random = random.Random(seed)
        self._watts = dict(zip("CRI", watts, strict=True))
        self._call_s = {"C": call_ms[0] / 1e3, "R": call_ms[1] / 1e3}
        self._noise, self._jitter, self._leak = noise, jitter, leak
        self._tick_s, self._lsb_j, self._range_j, self._late_s = tick_s, lsb_j, range_j, late_s
        self._dead, self._fault = dead, fault
        self._times, self._joules = [self.now], [start_j]
        self._wander, self._wander_at = 0.0, self.now
        self.readings = 0

    @property
    def truth(self) -> float:
        """The true ratio of joules per inference, candidate / reference."""
        return self.joules("C") / self.joules("R")

    def joules(self, side: str) -> float:
        return self._watts[side] * self._call_s[side]

    def candidate(self, row: int) -> None:
        self._work("C")

    def reference(self, row: int) -> None:
        self._work("R")

    def wait(self, seconds: float) -> None:
        self._spend(seconds, self._watts["I"])

    def clock(self) -> float:
        return self.now

    def read(self) -> float:
        """The counter as a program sees it: as of its last tick, in whole steps, modulo its range."""
        self.readings += 1
        self._spend(3e-5, self._watts["I"])
        at = math.floor((self.now - self._late_s) / self._tick_s) * self._tick_s
        place = max(1, bisect.bisect_left(self._times, at))
        before, after = self._times[place - 1], self._times[place] if place < len(self._times) else self.now
        share = (at - before) / (after - before) if after > before else 0.0
        first, last = self._joules[place - 1], self._joules[min(place, len(self._joules) - 1)]
        raw = math.floor((first + max(0.0, share) * (last - first)) / self._lsb_j) * self._lsb_j
        raw = raw % self._range_j if self._range_j else raw
        return self._fault(self.readings, 1.0 if self._dead else raw)

    def _work(self, side: str) -> None:
        seconds = self._call_s[side] * max(0.1, 1 + self._jitter * self._random.gauss(0, 1))
        while self.now - self._wander_at >= 1.0:
            self._wander_at += 1.0
            self._wander = 0.7 * self._wander + math.sqrt(1 - 0.49) * self._noise * self._random.gauss(0, 1)
        self._spend(seconds, self._watts[side] * (1 + self._wander) * self._leak(self.now - 50.0))

    def _spend(self, seconds: float, watts: float) -> None:
        self.now += seconds
        self._times.append(self.now)
        self._joules.append(self._joules[-1] + watts * seconds)
        if len(self._times) > 5000:
            del self._times[:-2000], self._joules[:-2000]


@dataclass
class SimulatedCounter:
    """A Counter on such a device."""

    device: PowerDevice
    period_s: float = 0.001
    lag_s: float = 0.0
    window_s: float = 5.0
    name: str = "simulated"
    kind: str = "measured"
    boundary: str = "package"

    def unavailable(self) -> str | None:
        return None

    def source(self) -> str:
        return "a simulation"

    def open(self) -> StepCounter:
        device = self.device
        return StepCounter(
            "the simulated counter", device.read, device.clock, period_s=self.period_s, range_j=device._range_j
        )


def eio(reading: int) -> Callable[[int, float], float]:
    """The n-th reading fails."""

    def fault(number: int, raw: float) -> float:
        if number == reading:
            raise MeterFault("/sys/energy_uj cannot be read (Input/output error); look into the kernel's log")
        return raw

    return fault


def off_by(reading: int, joules: float) -> Callable[[int, float], float]:
    """The n-th reading alone is off."""
    return lambda number, raw: raw + joules if number == reading else raw


def reset_at(reading: int) -> Callable[[int, float], float]:
    """From the n-th reading on the counter has started anew."""
    return lambda number, raw: raw - 900.0 if number >= reading else raw
