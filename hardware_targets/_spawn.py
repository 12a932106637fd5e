"""Starting the measuring process and waiting for it without using the processor."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from hardware_targets import _errors
from hardware_targets._errors import DeviceFailure, TargetError

T = TypeVar("T")
_HOME = Path(__file__).resolve().parent.parent  # what must be on the path for `import hardware_targets`
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def run_child(job: Mapping[str, Any], *, threads: int, time_limit_s: float, read: Callable[[Path, Any], T]) -> T:
    """Run a job of `_child` and read what it left: `read(folder, result)`.

    Errors: the TargetError that the child reported; DeviceFailure when it died or ran out of time, with the end of its
    stderr.
    """
    with tempfile.TemporaryDirectory(prefix="niwaki-") as name:
        folder = Path(name)
        path = folder / "job.json"
        path.write_text(
            json.dumps({**job, "rows": str(folder / "rows.npy"), "blocks": str(folder / "blocks.npz")}),
            encoding="utf-8",
        )
        code, late = _wait(path, threads, time_limit_s)
        if (folder / "error.json").is_file():
            raise _reported(json.loads((folder / "error.json").read_text(encoding="utf-8")))
        if late:
            raise DeviceFailure(
                f"{job['task']} of {job['model']} was stopped after its limit of {time_limit_s:g} s; "
                f"give a smaller model or a longer limit{_tail(folder)}"
            )
        if code != 0:
            raise DeviceFailure(f"the process for {job['task']} of {job['model']} {_ending(code)}{_tail(folder)}")
        return read(folder, json.loads((folder / "result.json").read_text(encoding="utf-8")))


def _wait(job: Path, threads: int, time_limit_s: float) -> tuple[int, bool]:
    """Exit code of the child, and whether it was killed for being late; killed too when this process is interrupted."""
    with (job.parent / "stderr.txt").open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "hardware_targets._child", str(job)],
            stdin=subprocess.PIPE,  # never written to: its end tells the child that this process is gone
            stdout=stderr,
            stderr=stderr,
            cwd=job.parent,
            env=_environment(threads),
            start_new_session=True,
        )
    late = threading.Event()

    def stop() -> None:
        late.set()
        _kill(process)

    timer = threading.Timer(time_limit_s, stop)
    timer.daemon = True
    timer.start()
    try:
        code = process.wait()  # without a time-out it sleeps in the kernel; with one, Python polls
        return code, late.is_set() and code == -signal.SIGKILL
    finally:
        timer.cancel()
        _kill(process)
        process.wait()
        if process.stdin:
            process.stdin.close()


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


def _environment(threads: int) -> dict[str, str]:
    paths = [str(_HOME), os.environ.get("PYTHONPATH", "")]
    limits = dict.fromkeys(_THREAD_VARIABLES, str(threads))
    return {**os.environ, **limits, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def _reported(error: Mapping[str, str]) -> TargetError:
    kind = getattr(_errors, error["kind"])
    return kind(error["sentence"])  # type: ignore[no-any-return]


def _ending(code: int) -> str:
    return f"ended with exit code {code}" if code > 0 else f"was killed by {signal.Signals(-code).name}"


def _tail(folder: Path) -> str:
    lines = (folder / "stderr.txt").read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f"; it last said: {' | '.join(lines[-3:])}" if lines else ""
