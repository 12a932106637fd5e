"""What became of another process, with nothing but the system's own: these tests run where no psutil is."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def parent(pid: int) -> int:
    """The process that started it. Errors: LookupError where it is gone."""
    state = _state(pid)
    if state is None:
        raise LookupError(f"there is no process {pid}")
    return state[1]


def ended(pid: int) -> bool:
    """Whether it is gone, or only waits for its parent to notice."""
    state = _state(pid)
    return state is None or state[0] == "Z"


def within(seconds: float, condition: Callable[[], Any]) -> bool:
    """Whether it came true in this time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def _state(pid: int) -> tuple[str, int] | None:
    """State letter and parent: from /proc/PID/stat, `PID (name) S PPID ...`, and from ps where there is no /proc."""
    if Path("/proc/self/stat").exists():
        try:
            words = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
    else:
        told = subprocess.run(["ps", "-o", "stat=,ppid=", "-p", str(pid)], capture_output=True, text=True)
        words = told.stdout.split()
    return (words[0][0], int(words[1])) if words else None
