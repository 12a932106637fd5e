"""Holding a process to some cores and some memory: what `constrained_cpu` asks its measuring process to do to itself.

Memory is held by a control group where the user names one that this process may write to (Linux, cgroup-v2.rst and
cgroup-v1/memory.rst), else by RLIMIT_DATA: heap and private writable mappings (getrlimit(2)), which leaves out the
files that the interpreter and the runtime map. RLIMIT_AS would count those, and every reservation that is never used.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hardware_targets._errors import DeviceFailure

MEMORY_FILES = ("memory.max", "memory.limit_in_bytes")  # of the two versions of control groups


def apply(limits: Mapping[str, Any]) -> None:
    """Hold this process, and the threads that it will start, to `limits`: cores, memory_mb, cgroup; each may be None.

    Errors: DeviceFailure where the system refuses.
    """
    cores, memory_mb, group = limits.get("cores"), limits.get("memory_mb"), limits.get("cgroup")
    try:
        if cores is not None:
            os.sched_setaffinity(0, cores)
        if memory_mb is not None and group is not None:
            _enter(Path(group), int(memory_mb * 1e6))
        elif memory_mb is not None:
            _limit_data(int(memory_mb * 1e6))
    except (OSError, ValueError) as error:
        raise DeviceFailure(f"the limits {told(limits)} cannot be set: {error}; choose other limits") from None


def told(limits: Mapping[str, Any]) -> str:
    """The limits in words, as they stand in `Conditions.limits`."""
    words = []
    if limits.get("cores") is not None:
        words.append(f"cores {', '.join(map(str, limits['cores']))}")
    if limits.get("memory_mb") is not None:
        held = "control group" if limits.get("cgroup") is not None else "data segment"
        words.append(f"{limits['memory_mb']:g} MB ({held})")
    return "; ".join(words) or "none"


def group_problem(group: Path) -> str | None:
    """Why no process can be put into this control group, as a sentence, or None."""
    limit = next((group / name for name in MEMORY_FILES if (group / name).exists()), None)
    if limit is None:
        return f"{group} is no control group with a memory limit; make one below /sys/fs/cgroup and name its folder"
    for file in (limit, group / "cgroup.procs"):
        if not os.access(file, os.W_OK):
            return f"{file} cannot be written by this user; let its owner delegate the group, or leave `cgroup` out"
    return None


def _enter(group: Path, limit: int) -> None:
    """Set the group's limit and go in; swap would make the limit a matter of speed, so it is shut off where it can."""
    file = next((group / name for name in MEMORY_FILES if (group / name).exists()), group / MEMORY_FILES[0])
    _write(file, limit)
    if (group / "memory.swap.max").exists():
        _write(group / "memory.swap.max", 0)
    _write(group / "cgroup.procs", os.getpid())


def _write(file: Path, value: int) -> None:
    file.write_text(f"{value}\n", encoding="ascii")


def _limit_data(limit: int) -> None:
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, most))
