"""Apple's own estimate of what processor, GPU and neural engine draw, as `powermetrics` prints it.

The manual page says that the values are estimated and not for comparing devices: the kind is measured-vendor-model.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator

from hardware_targets._counters import Clock, MeterFault

_EVERY_MS = 100
_MOST_WATTS = 400.0
_ELAPSED = re.compile(r"\*{3} Sampled system activity .*\(([\d.]+)ms elapsed\)")
_COMBINED = re.compile(r"Combined Power \(.*\): ([\d.]+) mW")
_PART = re.compile(r"(?:CPU|GPU|ANE) Power: ([\d.]+) mW")
_COMMAND = ("powermetrics", "--samplers", "cpu_power,gpu_power", "--sample-rate", str(_EVERY_MS), "--buffer-size", "1")


class Meter:
    """Joules of processor, GPU and neural engine: each sample's mean watts times its length."""

    name = "powermetrics"
    kind = "measured-vendor-model"
    boundary = "processor, GPU and neural engine"
    period_s = _EVERY_MS / 1000
    lag_s = _EVERY_MS / 1000
    window_s = 20.0

    def __init__(self, start: Callable[[], Iterable[str]] | None = None, clock: Clock = time.monotonic) -> None:
        self._start, self._clock = start, clock

    def unavailable(self) -> str | None:
        if self._start is not None:
            return None
        if sys.platform != "darwin" or shutil.which("powermetrics") is None:
            return "powermetrics is a program of macOS; on Linux use rapl or an external meter (wall_meter)"
        if os.geteuid() != 0:
            return "powermetrics needs root; type: sudo niwaki measure ..."
        return None

    def source(self) -> str:
        return f"powermetrics, samples of {_EVERY_MS} ms, estimated by Apple's model"

    def open(self) -> Samples:
        return Samples(self._start() if self._start else _Process(), self._clock)


class Samples:
    """What the program prints, read in a thread of its own as it comes and added up."""

    poll_s = 60.0

    def __init__(self, lines: Iterable[str], clock: Clock) -> None:
        self._lines, self._clock = lines, clock
        self._lock = threading.Lock()
        self._total, self._fault, self._at = 0.0, None, clock()  # type: float, MeterFault | None, float
        self._thread = threading.Thread(target=self._follow, name="niwaki powermetrics", daemon=True)
        self._thread.start()

    def joules(self) -> float:
        with self._lock:
            fault, self._fault = self._fault, None
            if fault is not None:
                raise fault
            if self._clock() - self._at > 2.0:
                raise MeterFault("powermetrics printed nothing for 2 s; look whether it still runs")
            return self._total

    def close(self) -> None:
        close = getattr(self._lines, "close", None)
        if close is not None:
            close()

    def _follow(self) -> None:
        for seconds, watts in samples(self._lines):
            with self._lock:
                self._at = self._clock()
                if watts > _MOST_WATTS:
                    self._fault = MeterFault(f"powermetrics says {watts:.4g} W, which no Mac draws; measure again")
                else:
                    self._total += seconds * watts


def samples(lines: Iterable[str]) -> Iterator[tuple[float, float]]:
    """(seconds, watts) of each complete sample; where the parts stand beside their sum, the sum alone counts."""
    seconds, combined, parts = 0.0, None, list[float]()  # type: float, float | None, list[float]
    for line in lines:
        if elapsed := _ELAPSED.search(line):
            if seconds and (parts or combined is not None):
                yield seconds, combined if combined is not None else sum(parts)
            seconds, combined, parts = float(elapsed[1]) / 1000, None, []
        elif found := _COMBINED.match(line.strip()):
            combined = float(found[1]) / 1000
        elif found := _PART.match(line.strip()):
            parts.append(float(found[1]) / 1000)
    if seconds and (parts or combined is not None):
        yield seconds, combined if combined is not None else sum(parts)


class _Process:
    """The program itself, as the lines that it prints."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(_COMMAND, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def __iter__(self) -> Iterator[str]:
        assert self._process.stdout is not None, "it was asked for a pipe"
        return iter(self._process.stdout)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
