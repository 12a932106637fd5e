"""One measurement at a time, no step of work beside it, and a dead holder never blocks the next."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from hardware_targets import DeviceFailure
from hardware_targets._lock import Worker, device_lock, lock_path

HOLD = """
import sys, time
from pathlib import Path
from hardware_targets._lock import device_lock
with device_lock(Path(sys.argv[1]), 1):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_holder_is_told_who_has_it_and_a_killed_one_frees_it(tmp_path: Path) -> None:
    path = lock_path(tmp_path)
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
    path = lock_path(tmp_path)
    with pytest.raises(RuntimeError), device_lock(path, 0):
        raise RuntimeError
    with device_lock(path, 0):
        pass


WORK = """
import sys, time
from pathlib import Path
from hardware_targets._lock import Worker
worker, count = Worker(Path(sys.argv[1])), Path(sys.argv[2])
while True:
    with worker.step():
        count.write_text(str(int(count.read_text() or 0) + 1) if count.exists() else "1")
        time.sleep(0.02)
        if sys.argv[3] == "stuck":
            time.sleep(60)
"""


def _worker(path: Path, count: Path, kind: str = "steps") -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WORK, str(path), str(count), kind])


def _steps(count: Path) -> int:
    return int(count.read_text() or 0) if count.exists() else 0


def _begun(counts: list[Path]) -> None:
    while not all(_steps(count) for count in counts):
        time.sleep(0.01)


def test_workers_that_never_rest_let_a_measurement_in_and_stand_still_meanwhile(tmp_path: Path) -> None:
    path, counts = lock_path(tmp_path), [tmp_path / name for name in ("one", "two", "three")]
    workers = [_worker(path, count) for count in counts]
    try:
        _begun(counts)
        for _ in range(3):
            with device_lock(path, 5.0):  # their steps overlap: a lock that is merely shared would never be free
                before = [count.read_text() for count in counts]
                time.sleep(0.2)
                assert [count.read_text() for count in counts] == before
        before = [count.read_text() for count in counts]
        while [count.read_text() for count in counts] == before:  # and they go on
            time.sleep(0.01)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def test_a_step_without_end_is_told_and_a_killed_worker_frees_the_machine(tmp_path: Path) -> None:
    path, count = lock_path(tmp_path), tmp_path / "count"
    worker = _worker(path, count, "stuck")
    try:
        _begun([count])
        told = "a step of training on this machine has not ended"
        with pytest.raises(DeviceFailure, match=told), device_lock(path, 0.3):
            pass
        with Worker(path).step():  # the one that gave up holds up nobody
            pass
    finally:
        worker.kill()
        worker.wait()
    with device_lock(path, 1.0):
        pass


def test_its_clock_stands_still_while_a_step_waits_and_only_then(tmp_path: Path) -> None:
    path = lock_path(tmp_path)
    worker, inside = Worker(path), threading.Event()

    def waited_s() -> float:
        return time.monotonic() - worker.clock()

    def measure() -> None:
        with device_lock(path, 1.0):
            inside.set()
            time.sleep(0.3)

    with worker.step():
        pass
    assert waited_s() < 0.01
    thread = threading.Thread(target=measure)
    thread.start()
    inside.wait()
    with pytest.raises(RuntimeError), worker.step():
        raise RuntimeError
    thread.join()
    assert 0.1 < waited_s() < 2
    with device_lock(path, 0):  # a step that failed has ended
        pass


def test_a_step_within_a_step_never_waits_for_who_waits_for_the_outer_one(tmp_path: Path) -> None:
    path = lock_path(tmp_path)
    worker, order = Worker(path), []

    def measure() -> None:
        with device_lock(path, 5.0):
            order.append("timed")

    thread = threading.Thread(target=measure)
    with worker.step():
        thread.start()
        time.sleep(0.3)  # it holds the turnstile by now
        with worker.step():
            order.append("inner")
        order.append("outer")
    thread.join()
    assert order == ["inner", "outer", "timed"]
