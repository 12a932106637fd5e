"""What readings of energy counters have in common: wraps undone, nonsense refused, power turned into energy.

A reading that fails, steps backwards without being a wrap, or is more than the device can have used raises
`MeterFault`; it never becomes a number. Clocks are monotonic and in seconds, so that a step of the wall clock is
nobody's energy.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

Clock = Callable[[], float]
Read = Callable[[Path], str]

MOST_WATTS = 1000.0  # of one processor package; what is above it is no reading but a fault
_QUARTER = 0.25  # of a counter's range may pass between two readings: a second wrap would be invisible


class MeterFault(Exception):
    """A reading that must not become a figure; the message is a sentence."""


def text(path: Path) -> str:
    """The contents of a file of /sys or /proc, stripped. Errors: OSError."""
    return path.read_text(encoding="utf-8", errors="replace").strip()


def number(path: Path, read: Read) -> float:
    """The number that a file holds. Errors: MeterFault with the remedy."""
    try:
        content = read(path)
    except PermissionError:
        raise MeterFault(
            f"{path} is readable by root only (since Linux 5.10); run as root, or type: sudo chmod a+r {path}"
        ) from None
    except OSError as error:
        raise MeterFault(f"{path} cannot be read ({error.strerror or error}); look into the kernel's log") from None
    try:
        value = float(content)
    except ValueError:
        raise MeterFault(
            f"{path} holds {content[:40]!r}, which is no number; update the kernel or the driver"
        ) from None
    if not math.isfinite(value):
        raise MeterFault(f"{path} holds {content[:40]!r}, which is no number; update the kernel or the driver")
    return value


def optional(path: Path, read: Read) -> str | None:
    """The contents of a file that need not be there."""
    try:
        return read(path)
    except OSError:
        return None


def cpuinfo(root: Path, read: Read) -> Mapping[str, str]:
    """The first processor's lines of /proc/cpuinfo, by name; empty where there is no such file."""
    first = (optional(root / "proc/cpuinfo", read) or "").split("\n\n", 1)[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip().lower(): value.strip() for name, colon, value in pairs if colon}


def is_virtual(root: Path, read: Read) -> bool:
    """Whether the processor says that a hypervisor is under it."""
    return "hypervisor" in cpuinfo(root, read).get("flags", "").split()


def rapl_kind(root: Path, read: Read) -> str:
    """RAPL measures since Intel's Haswell; before it, and on AMD, the chip computes by its maker's model.

    D. Hackenberg et al., "An energy efficiency feature survey of the Intel Haswell processor", IPDPSW 2015;
    R. Schöne et al., "Energy efficiency aspects of the AMD Zen 2 architecture", CLUSTER 2021 (arXiv:2108.00808).
    """
    cpu = cpuinfo(root, read)
    before_haswell = cpu.get("cpu family") == "6" and cpu.get("model") in ("42", "45", "58", "62")
    return "measured" if cpu.get("vendor_id") == "GenuineIntel" and not before_haswell else "measured-vendor-model"


class StepCounter:
    """One hardware counter, made monotone.

    `read` gives joules since whenever, `range_j` is where it starts again at 0 (None: not known, so no wrap can be
    told from a reset), `most_watts` is what the device can draw, `period_s` how often the figure changes.
    """

    def __init__(
        self,
        name: str,
        read: Callable[[], float],
        clock: Clock,
        *,
        period_s: float,
        range_j: float | None = None,
        most_watts: float = MOST_WATTS,
    ) -> None:
        self._name, self._read, self._clock = name, read, clock
        self._range_j, self._most_watts, self._slack_j = range_j, most_watts, 2 * period_s * most_watts
        self._total = 0.0
        self._before = clock()
        self._last = read()

    @property
    def poll_s(self) -> float:
        return min(60.0, _QUARTER * self._range_j / self._most_watts) if self._range_j else 60.0

    def joules(self) -> float:
        before = self._clock()
        raw = self._read()
        elapsed = self._clock() - self._before  # both delays are in it: no late reading looks like too many watts
        step, self._last, self._before = raw - self._last, raw, before
        self._total += self._plausible(step, elapsed)
        return self._total

    def close(self) -> None:
        """There is nothing to close."""

    def _plausible(self, step: float, elapsed: float) -> float:
        most = self._most_watts * elapsed + self._slack_j
        if elapsed < 0:
            raise MeterFault(f"the clock went back by {-elapsed:.3g} s while {self._name} was read; measure again")
        if self._range_j is not None and most - self._slack_j > self._range_j:
            raise MeterFault(
                f"{self._name} was not read for {elapsed:.0f} s and may have gone round more than once; measure again"
            )
        if step < 0 and self._range_j is not None and 0 <= step + self._range_j <= most:
            return step + self._range_j
        if step < 0:
            raise MeterFault(f"{self._name} went back by {-step:.3g} J, which is no wrap; measure again")
        if step > most:
            raise MeterFault(
                f"{self._name} went up by {step:.3g} J in {elapsed:.3g} s, more than the {self._most_watts:g} W that "
                "are possible; measure again"
            )
        return step


class Total:
    """Counters that add up; each undoes its own wraps, because each wraps at its own time."""

    def __init__(self, counters: Sequence[StepCounter]) -> None:
        self._counters = list(counters)

    @property
    def poll_s(self) -> float:
        return min(counter.poll_s for counter in self._counters)

    def joules(self) -> float:
        return math.fsum(counter.joules() for counter in self._counters)

    def close(self) -> None:
        for counter in self._counters:
            counter.close()


class PolledPower:
    """Watts, read often and added up by the trapezoidal rule, as a counter of joules.

    `interval_s` is how often it should be read, and ten times that the longest gap. `background=True` reads it in a
    thread of its own, which a model that runs for seconds does not keep from its work; without it `joules()` must be
    called that often.
    """

    def __init__(
        self,
        name: str,
        watts: Callable[[], float],
        clock: Clock,
        *,
        interval_s: float,
        most_watts: float,
        background: bool = True,
    ) -> None:
        self._name, self._watts, self._clock = name, watts, clock
        self._interval_s, self._most_watts, self._background = interval_s, most_watts, background
        self._total, self._fault = 0.0, None  # type: float, MeterFault | None
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._at, self._last = self._sample()
        if background:
            threading.Thread(target=self._poll, name=f"niwaki {name}", daemon=True).start()

    @property
    def poll_s(self) -> float:
        return 60.0 if self._background else self._interval_s

    def joules(self) -> float:
        with self._lock:
            fault, self._fault = self._fault, None
            if fault is not None:
                raise fault
            self._add()
            return self._total

    def close(self) -> None:
        self._ended.set()

    def _poll(self) -> None:
        while not self._ended.wait(self._interval_s):
            with self._lock:
                try:
                    self._add()
                except MeterFault as fault:
                    self._fault = fault  # told to whoever reads next

    def _add(self) -> None:
        was, before = self._at, self._last
        self._at, self._last = self._sample()
        gap = self._at - was
        if gap < 0:
            raise MeterFault(f"the clock went back by {-gap:.3g} s while {self._name} was read; measure again")
        if gap > 10 * self._interval_s:
            raise MeterFault(
                f"{self._name} was not read for {gap:.3g} s, but must be every {self._interval_s:g} s; "
                "measure again on a quieter machine"
            )
        self._total += gap * (before + self._last) / 2

    def _sample(self) -> tuple[float, float]:
        try:
            watts = self._watts()
        except MeterFault:
            self._at = self._clock()  # the gap that follows begins here, and this fault is told once
            raise
        if not (math.isfinite(watts) and 0 <= watts <= self._most_watts):
            self._at = self._clock()
            raise MeterFault(f"{self._name} reads {watts:.4g} W, which this device cannot draw; look at the sensor")
        return self._clock(), watts
