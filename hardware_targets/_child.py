"""The measuring process: `python -m hardware_targets._child JOB.json`, started by `_spawn.run_child`.

It reads its job from a file and leaves `result.json` (or `error.json`) and arrays beside it. It dies with its parent:
the parent holds the other end of stdin, and the kernel closes it however the parent ends.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from hardware_targets import _limits
from hardware_targets._block_file import write_blocks
from hardware_targets._conditions import read_conditions, snapshot
from hardware_targets._energy_session import energy_session
from hardware_targets._errors import TargetError
from hardware_targets._feeds import elements, load_feeds, timed_rows
from hardware_targets._gpu import Gpu
from hardware_targets._lock import device_lock
from hardware_targets._parts import build
from hardware_targets._plan import Shape, plan_for
from hardware_targets._protocol import compare
from hardware_targets._roles import Counter, Runtime, Session
from hardware_targets._rounds import Run
from hardware_targets._void import read

_MEMORY_CALLS = 3

Job = Mapping[str, Any]


def main(path: Path) -> int:
    """Do the job; exit code 0, or 1 with `error.json`."""
    job: Job = json.loads(path.read_text(encoding="utf-8"))
    tasks = {"inputs": _inputs, "memory": _memory, "measure": _measure, "predict": _predict}
    try:
        _limits.apply(job.get("limits", {}))
        result = tasks[job["task"]](job, build("runtime", job["runtime"], **job.get("runtime_options", {})))
    except TargetError as error:
        _write(path.with_name("error.json"), {"kind": type(error).__name__, "sentence": str(error)})
        return 1
    _write(path.with_name("result.json"), result)
    return 0


def die_with_parent() -> None:
    """Watch stdin; its end is the parent's end."""

    def watch() -> None:
        while os.read(0, 1):  # not sys.stdin: its lock would be held while the interpreter shuts down
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _inputs(job: Job, runtime: Runtime) -> list[dict[str, Any]]:
    return [asdict(item) for item in runtime.load(Path(job["model"]), job["threads"]).inputs]


def _memory(job: Job, runtime: Runtime) -> dict[str, Any]:
    return {"peak_bytes": _load_alone(job, runtime)[1]}


def _load_alone(job: Job, runtime: Runtime) -> tuple[Session, int | None]:
    """The candidate, loaded and called a few times, and the peak memory of this process so far."""
    feeds = load_feeds(Path(job["feeds"]))
    session = runtime.load(Path(job["model"]), job["threads"])
    for place in range(_MEMORY_CALLS):
        session.run(feeds[place % len(feeds)])
    return session, _peak_bytes()


def _measure(job: Job, runtime: Runtime) -> dict[str, Any]:
    candidate, peak = _load_alone(job, runtime)
    reference = runtime.load(Path(job["reference"]), job["threads"])
    ours, theirs = _rows(job["feeds"]), _rows(job["reference_feeds"])  # copied: no page fault is timed
    if len(ours) != len(theirs):
        raise TargetError(
            f"the candidate's feeds have {len(ours)} rows, the reference's {len(theirs)}; give the same rows to both"
        )
    for run, feeds in ((candidate.run, ours), (reference.run, theirs)):
        run(feeds[0])  # a feed that does not fit is told before the device is locked
    gpu, notes = _gpu(job)
    twin = runtime.load(Path(job["model"]), job["threads"]) if job["tier"] == "final" else None
    with device_lock(Path(job["lock"]), job["lock_wait_s"]):
        gc.disable()
        before = snapshot()
        record, shape = compare(
            lambda row: candidate.run(ours[row]),
            lambda row: reference.run(theirs[row]),
            [(elements(mine), elements(other)) for mine, other in zip(ours, theirs, strict=True)],
            seed=job["seed"],
            clock=time.perf_counter_ns,
            cpu_clock=time.process_time_ns,
            one_thread=job["threads"] == 1 and not job.get("waits", False),
            plan=plan_for(job["tier"], job["seconds"], job.get("reference_ms"), job.get("over")),
            run_twin=None if twin is None else lambda row: twin.run(ours[row]),
            watch=lambda: read(time.monotonic(), gpu=gpu),
            shape=Shape(**job["shape"]) if job.get("shape") else None,
            known_ms={int(inputs): ms for inputs, ms in job.get("known_ms", {}).items()},
        )
        after = snapshot()
        gc.enable()
        counted = _count(job, lambda row: candidate.run(ours[row]), lambda row: reference.run(theirs[row]), len(ours))
    conditions = read_conditions(
        runtime=runtime.name, runtime_version=runtime.version(), threads=job["threads"], before=before, after=after
    )
    if gpu is not None:
        conditions = replace(conditions, gpu=gpu.describe())
    write_blocks(record, Path(job["blocks"]))
    told = {"peak_bytes": peak, "shape": asdict(shape), "conditions": conditions.to_json(), "notes": notes}
    return {**told, **counted}


def _gpu(job: Job) -> tuple[Gpu | None, list[str]]:
    """The GPU whose processes, clocks and heat are watched while it is timed, and what is to be said of it."""
    if job.get("gpu") is None:
        return None, []
    gpu = Gpu(job["gpu"])
    if gpu.unavailable:
        return None, [f"other processes on the GPU, its clocks and its heat were not watched: {gpu.unavailable}"]
    return gpu, gpu.notes()


def _count(job: Job, candidate: Run, reference: Run, rows: int) -> dict[str, Any]:
    """Energy by the counter that the job names, if it names one."""
    if job.get("counter") is None:
        return {}
    counter: Counter = build("meter", job["counter"], **job.get("counter_options", {}))
    return energy_session(counter, candidate, reference, rows, seed=job["seed"], qualified=job.get("qualified"))


def _predict(job: Job, runtime: Runtime) -> dict[str, Any]:
    session = runtime.load(Path(job["model"]), job["threads"])
    feeds = load_feeds(Path(job["feeds"]))
    rows = [session.run(feed)[0] for feed in feeds]
    if len({row.shape for row in rows}) > 1:
        raise TargetError(
            f"{job['model']} gives outputs of different shapes for different rows, which make no array; "
            "give a model whose first output has one shape"
        )
    batched = rows[0].ndim > 0 and rows[0].shape[0] == 1
    np.save(Path(job["rows"]), np.concatenate(rows) if batched else np.stack(rows), allow_pickle=False)
    return {"rows": len(rows)}


def _rows(folder: str) -> list[dict[str, np.ndarray]]:
    return [{name: value.copy() for name, value in feed.items()} for feed in timed_rows(Path(folder))]


def _peak_bytes() -> int | None:
    """The largest resident size so far, from /proc or else getrusage; None where neither is."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return _peak_by_rusage()


def _peak_by_rusage() -> int | None:
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # getrusage(2): bytes on macOS, kilobytes elsewhere


def _write(path: Path, data: Any) -> None:
    path.write_text(json.dumps(data, allow_nan=False), encoding="utf-8")


if __name__ == "__main__":
    die_with_parent()
    sys.exit(main(Path(sys.argv[1])))
