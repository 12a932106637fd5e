"""One measurement at a time, and a dead holder never blocks the next."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hardware_targets import DeviceFailure
from hardware_targets._lock import device_lock, lock_path

HOLD = """
import sys, time
from pathlib import Path
from hardware_targets._lock import device_lock
with device_lock(Path(sys.argv[1]), 1):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_holder_is_told_who_has_it_and_a_killed_one_frees_it(tmp_path: Path) -> None:
    path = lock_path("x", tmp_path)
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout and holder.stdout.readline() == "held\n"
        start = time.monotonic()
        with pytest.raises(DeviceFailure, match=f"process {holder.pid} "), device_lock(path, 0.3):
            pass
        assert time.monotonic() - start >= 0.3
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with device_lock(path, 1.0):
        assert path.read_text() == str(os.getpid())


def test_it_is_free_again_after_an_error(tmp_path: Path) -> None:
    path = lock_path("x", tmp_path)
    with pytest.raises(RuntimeError), device_lock(path, 0):
        raise RuntimeError
    with device_lock(path, 0):
        pass
