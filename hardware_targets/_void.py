"""What makes a stretch of a session void, and where the system tells it.

Shares are of a whole stretch of rounds, between its first and its last reading; states (clock rate, temperature,
supply) are looked at in all readings. What a machine does not show (a guest sees no clock rate, a desktop no battery)
breaks no rule. Readers take a `root`, so that they can be tried on invented
trees.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hardware_targets._conditions import SYSTEM, Snapshot, foreign_share, on_ac, share, snapshot
from hardware_targets._gpu import Gpu, GpuReading

STEAL = 0.005  # shares of all cores' time
FOREIGN = 0.02
PRESSURE = 0.01  # share of time in which some task waited for a processor
FREQUENCY = 0.03
WARMER_C = 5.0
_SENSORS = ("sys/class/thermal/thermal_zone*/temp", "sys/class/hwmon/hwmon*/temp*_input")


@dataclass(frozen=True)
class Reading:
    """The system at one moment; None where it does not tell."""

    at_s: float
    cpu: Snapshot
    waited_s: float | None = None  # in which some task waited for a processor, since boot
    clock_khz: float | None = None  # of the fastest core: the one that works
    throttled: int | None = None  # how often clocks were held down, since boot
    temperature_c: float | None = None
    on_ac: bool | None = None
    gpu: GpuReading | None = None  # where a GPU works


Watch = Callable[[], Reading]


def read(now_s: float, root: Path = SYSTEM, gpu: Gpu | None = None) -> Reading:
    """The system now, and the GPU that works, if one does."""
    clocks = _numbers(root, "sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq")
    heat = [value / 1000 for pattern in _SENSORS for value in _numbers(root, pattern)]
    return Reading(
        at_s=now_s,
        cpu=snapshot(root),
        waited_s=_waited(root),
        clock_khz=max(clocks, default=None),
        throttled=throttled(root),
        temperature_c=max(heat, default=None),
        on_ac=on_ac(root),
        gpu=gpu.read() if gpu else None,
    )


def broken(readings: Sequence[Reading], first: Reading) -> list[str]:
    """Names of the rules that a stretch broke; `first` is from the session's start.

    `readings` are from the stretch's start to its end, two at least.
    """
    before, after = readings[0], readings[-1]
    steal = share(before.cpu.steal, after.cpu.steal, before.cpu.total, after.cpu.total)
    foreign = foreign_share(before.cpu, after.cpu)
    waited = None
    if before.waited_s is not None and after.waited_s is not None and after.at_s > before.at_s:
        waited = (after.waited_s - before.waited_s) / (after.at_s - before.at_s)
    rules = {
        "steal": steal is not None and steal > STEAL,
        "foreign CPU": foreign is not None and foreign > FOREIGN,
        "CPU pressure": waited is not None and waited > PRESSURE,
        "frequency": any(_apart(now.clock_khz, first.clock_khz) for now in readings),
        "throttling": None not in (before.throttled, after.throttled) and after.throttled != before.throttled,
        "temperature": any(_warmer(now.temperature_c, first.temperature_c) for now in readings),
        "power supply": any(now.on_ac != first.on_ac for now in readings),
    }
    rules |= _of_gpu([now.gpu for now in readings if now.gpu], first.gpu)
    return [name for name, is_broken in rules.items() if is_broken]


def _of_gpu(seen: Sequence[GpuReading], first: GpuReading | None) -> dict[str, bool]:
    if first is None:
        return {}
    return {
        "foreign GPU process": any(now.others for now in seen),
        "GPU throttling": any(now.slowed for now in seen),
        "GPU clock": any(_apart(now.clock_mhz, first.clock_mhz) for now in seen),
        "GPU temperature": any(_warmer(now.temperature_c, first.temperature_c) for now in seen),
    }


def throttled(root: Path = SYSTEM) -> int | None:
    """How often the processor has held its clocks down since boot; None where the kernel does not say."""
    counts = _numbers(root, "sys/devices/system/cpu/cpu*/thermal_throttle/*_throttle_count")
    return int(sum(counts)) if counts else None


def _apart(now: float | None, then: float | None) -> bool:
    return now is not None and then is not None and abs(now / then - 1) > FREQUENCY


def _warmer(now: float | None, then: float | None) -> bool:
    return now is not None and then is not None and now > then + WARMER_C


def _waited(root: Path) -> float | None:
    """Seconds from /proc/pressure/cpu: `some avg10=0.00 avg60=0.00 avg300=0.00 total=123`, in microseconds."""
    try:
        line = (root / "proc/pressure/cpu").read_text(encoding="utf-8").split("\n", 1)[0]
        return int(line.rpartition("total=")[2]) / 1e6 if line.startswith("some ") else None
    except (OSError, ValueError):
        return None


def _numbers(root: Path, pattern: str) -> list[float]:
    found = []
    for path in sorted(root.glob(pattern)):
        try:
            found.append(float(path.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            continue
    return found
