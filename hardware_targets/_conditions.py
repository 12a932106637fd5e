"""The machine as its own files describe it. Every reader takes a `root` and answers None for what is not there."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path

from hardware_targets._measurement import Conditions

SYSTEM = Path("/")


@dataclass(frozen=True)
class Snapshot:
    """Counters at one moment: clock ticks of all cores since boot, and this process's own CPU time."""

    load: float | None
    total: int | None
    busy: int | None
    steal: int | None
    own_seconds: float


def snapshot(root: Path = SYSTEM) -> Snapshot:
    """The counters now. /proc/stat counts user nice system idle iowait irq softirq steal (proc_stat(5))."""
    words = (_text(root / "proc/stat") or "").split("\n", 1)[0].split()
    ticks = [int(word) for word in words[1:9]] if words[:1] == ["cpu"] and len(words) >= 9 else None
    return Snapshot(
        load=_load(root),
        total=sum(ticks) if ticks else None,
        busy=sum(ticks) - ticks[3] - ticks[4] - ticks[7] if ticks else None,
        steal=ticks[7] if ticks else None,
        own_seconds=time.process_time(),
    )


def read_conditions(
    *,
    runtime: str,
    runtime_version: str,
    threads: int,
    before: Snapshot | None = None,
    after: Snapshot | None = None,
    root: Path = SYSTEM,
) -> Conditions:
    """What the machine is, and between two snapshots how much of it others had; without snapshots, its load now."""
    cpu = _cpuinfo(root)
    before, after = before or snapshot(root), after or snapshot(root)
    return Conditions(
        cpu_model=cpu.get("model name"),
        cpu_vendor=cpu.get("vendor_id") or cpu.get("cpu implementer"),
        cpu_family=_number(cpu.get("cpu family")),
        cpu_number=_number(cpu.get("model") or cpu.get("cpu part")),
        cpu_stepping=_number(cpu.get("stepping")),
        architecture=platform.machine(),
        logical_cores=os.cpu_count(),
        kernel=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        runtime=runtime,
        runtime_version=runtime_version,
        threads=threads,
        spinning=threads > 1,
        governor=_text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        virtualised="hypervisor" in cpu["flags"].split() if "flags" in cpu else None,
        container=_container(root),
        on_ac=on_ac(root),
        load_start=before.load,
        load_end=after.load,
        steal_share=share(before.steal, after.steal, before.total, after.total),
        foreign_share=foreign_share(before, after),
    )


def share(start: int | None, end: int | None, total_start: int | None, total_end: int | None) -> float | None:
    """What a counter gained, of what the total gained; None where either is unknown."""
    if start is None or end is None or total_start is None or total_end is None or total_end <= total_start:
        return None
    return (end - start) / (total_end - total_start)


def foreign_share(before: Snapshot, after: Snapshot) -> float | None:
    """Share of all cores' time that other processes used between two snapshots."""
    busy = share(before.busy, after.busy, before.total, after.total)
    if busy is None or before.total is None or after.total is None or not hasattr(os, "sysconf"):
        return None
    own = (after.own_seconds - before.own_seconds) * os.sysconf("SC_CLK_TCK") / (after.total - before.total)
    return max(0.0, busy - own)  # the kernel counts whole ticks, so an idle machine can come out a hair below 0


def _cpuinfo(root: Path) -> dict[str, str]:
    """The first processor's lines, by lower-case name."""
    first = (_text(root / "proc/cpuinfo") or "").split("\n\n", 1)[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip().lower(): value.strip() for name, colon, value in pairs if colon}


def _load(root: Path) -> float | None:
    words = (_text(root / "proc/loadavg") or "").split()
    return float(words[0]) if words else None


def _container(root: Path) -> str | None:
    """Which container runtime left its mark; None says no mark, not no container."""
    marks = {"docker": root / ".dockerenv", "podman": root / "run/.containerenv"}
    return next((name for name, mark in marks.items() if mark.exists()), None)


def on_ac(root: Path) -> bool | None:
    """Whether a mains supply is online; None where the machine has no such supply."""
    for supply in sorted((root / "sys/class/power_supply").glob("*")):
        if _text(supply / "type") == "Mains":
            return _text(supply / "online") == "1"
    return None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip() or None
    except OSError:
        return None  # absent or unreadable on this machine: the caller records None


def _number(text: str | None) -> int | None:
    try:
        return int(text, 0) if text is not None else None
    except ValueError:
        return None
