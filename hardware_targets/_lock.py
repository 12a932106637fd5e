"""One measurement at a time on a machine, and no step of training beside it: locks that the kernel frees at a death.

Two files. The machine's own is held by everybody: whole by who times, shared by who works. The turnstile before it is
held whole by who times, from the moment it waits, and passed by a worker before each step. So a measurement begins
when the steps that are under way have ended, however many workers there are, and a worker never waits for another.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from hardware_targets._errors import DeviceFailure

_POLL_S = 0.1  # a waiter that looked more often would disturb the one that measures


def lock_path(folder: Path | None = None) -> Path:
    """The lock file of this machine, whatever the target; all its users share it."""
    return (folder or Path(tempfile.gettempdir())) / "niwaki-machine.lock"


@contextmanager
def device_lock(path: Path, wait_s: float) -> Iterator[None]:
    """Hold the machine alone, after waiting at most `wait_s` seconds: nobody measures, no `Worker` is in a step.

    Errors: DeviceFailure, with the process id of who measures.
    """
    deadline = time.monotonic() + wait_s
    turnstile, machine = _open(_turnstile(path)), _open(path)
    try:
        _acquire(turnstile, machine, path, deadline, wait_s)
        _acquire(machine, machine, path, deadline, wait_s)
        _sign(machine)
        yield
    finally:
        os.close(machine)  # closing frees a lock, and so does a SIGKILL
        os.close(turnstile)


class Worker:
    """Whoever computes what would disturb a measurement: in steps, between which it gives way; of one thread."""

    def __init__(self, path: Path) -> None:
        self._turnstile, self._machine = _open(_turnstile(path)), _open(path)
        self._depth, self._waited_s = 0, 0.0

    @contextmanager
    def step(self) -> Iterator[None]:
        """Do one step, as soon as nothing is timed and nobody waits to; within another step, at once."""
        self._depth += 1
        try:
            if self._depth == 1:
                self._pass()
            yield
        finally:
            self._depth -= 1
            if self._depth == 0:
                for descriptor in (self._turnstile, self._machine):
                    fcntl.flock(descriptor, fcntl.LOCK_UN)

    def clock(self) -> float:
        """Seconds of a clock that stands still while a step waits."""
        return time.monotonic() - self._waited_s

    def _pass(self) -> None:
        try:
            fcntl.flock(self._turnstile, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            begin = time.monotonic()
            fcntl.flock(self._turnstile, fcntl.LOCK_SH)
            self._waited_s += time.monotonic() - begin
        fcntl.flock(self._machine, fcntl.LOCK_SH)
        fcntl.flock(self._turnstile, fcntl.LOCK_UN)


@cache
def this_worker() -> Worker:
    """This process on this machine."""
    return Worker(lock_path())


def _turnstile(path: Path) -> Path:
    return path.with_suffix(".turnstile")


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except PermissionError:  # another user's file: reading is enough to lock it
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _acquire(descriptor: int, machine: int, path: Path, deadline: float, wait_s: float) -> None:
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise DeviceFailure(_busy(descriptor == machine, machine, path, wait_s)) from None
            time.sleep(_POLL_S)


def _busy(working: bool, machine: int, path: Path, wait_s: float) -> str:
    if working:
        return (
            f"the device is busy: a step of training on this machine has not ended for {wait_s:.0f} s ({path}); "
            "wait for it or stop it, then try again"
        )
    holder = os.pread(machine, 32, 0).decode(errors="replace").strip() or "unknown"
    return (
        f"the device is busy: process {holder} has been measuring for {wait_s:.0f} s ({path}); "
        "wait for it or stop it, then try again"
    )


def _sign(descriptor: int) -> None:
    """Leave this process's id for the sentence of whoever waits."""
    if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_RDWR:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
