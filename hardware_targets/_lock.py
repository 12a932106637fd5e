"""One measurement at a time on a device: an exclusive lock that the kernel frees when its holder dies."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hardware_targets._errors import DeviceFailure

_POLL_S = 0.1  # a waiter that looked more often would disturb the one that measures


def lock_path(name: str, folder: Path | None = None) -> Path:
    """The lock file of the target `name`; every user of this machine shares it."""
    return (folder or Path(tempfile.gettempdir())) / f"niwaki-{name}.lock"


@contextmanager
def device_lock(path: Path, wait_s: float) -> Iterator[None]:
    """Hold the lock, after waiting at most `wait_s` seconds. Errors: DeviceFailure with the holder's process id."""
    descriptor = _open(path)
    try:
        _acquire(descriptor, path, wait_s)
        _sign(descriptor)
        yield
    finally:
        os.close(descriptor)  # closing frees the lock, and so does a SIGKILL


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except PermissionError:  # another user's file: reading is enough to lock it
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _acquire(descriptor: int, path: Path, wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
                raise DeviceFailure(
                    f"the device is busy: process {holder} has been measuring for {wait_s:.0f} s ({path}); "
                    "wait for it or stop it, then try again"
                ) from None
            time.sleep(_POLL_S)


def _sign(descriptor: int) -> None:
    """Leave this process's id for the sentence of whoever waits."""
    if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_RDWR:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
