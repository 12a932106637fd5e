"""This machine's CPU, through ONNX Runtime, in a process of its own."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from hardware_targets._conditions import read_conditions
from hardware_targets._doubts import doubts
from hardware_targets._errors import TargetError
from hardware_targets._feeds import Input
from hardware_targets._lock import lock_path
from hardware_targets._measurement import Conditions, Energy, Latency, Measurement, Unmeasured
from hardware_targets._null_model import write_null_model
from hardware_targets._parts import build
from hardware_targets._roles import EnergyMeter, Runtime
from hardware_targets._spawn import run_child

SECONDS = 12.0


class Target:
    """Measures on `threads` threads, the same for candidate and reference; 1 is what a shared machine measures best.

    `seconds` is what one measurement may take, warm-up apart; it ends earlier where the ratio is precise enough.
    """

    name = "local_cpu"
    runtime = "onnxruntime"
    meter = "modelled_generic"

    def __init__(self, threads: int = 1, seconds: float = SECONDS) -> None:
        cores = os.cpu_count() or 1
        if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= cores:
            raise TargetError(f"threads is {threads!r}, but this machine has {cores} logical cores; give 1 to {cores}")
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 1 <= seconds <= 600:
            raise TargetError(f"seconds is {seconds!r}, but one measurement takes 1 to 600; give a number between them")
        self.threads = threads
        self.seconds = float(seconds)
        self._null_peak: int | None = None

    def unavailable(self) -> str | None:
        if os.name != "posix":
            return "local_cpu needs file locks and process groups of a POSIX system; use Linux or macOS"
        return self._runtime().unavailable()

    def conditions(self) -> Conditions:
        """This machine as it is now."""
        runtime = self._runtime()
        return read_conditions(runtime=runtime.name, runtime_version=runtime.version(), threads=self.threads)

    def inputs(self, model: Path) -> tuple[Input, ...]:
        """Names, dtypes and shapes of a model's inputs. Errors: BadModel."""
        job = self._job("inputs", model)
        return run_child(job, threads=self.threads, time_limit_s=60.0, read=lambda _, result: _as_inputs(result))

    def measure(
        self,
        model: Path,
        feeds: Path,
        reference: Path,
        reference_feeds: Path,
        *,
        seed: int,
        seconds: float | None = None,
        time_limit_s: float | None = None,
    ) -> Measurement:
        """Time `model` against `reference`, batch 1, on the same rows, for at most `seconds`. Errors: TargetError."""
        null, seconds = self._null(), self.seconds if seconds is None else seconds
        limit_s = 120.0 + seconds if time_limit_s is None else time_limit_s
        job = self._job("measure", model, feeds) | {
            "reference": str(_file(reference)),
            "reference_feeds": str(reference_feeds.resolve()),
            "seed": seed,
            "seconds": seconds,
            "lock": str(lock_path(self.name)),
            "lock_wait_s": limit_s / 2,
        }
        found = run_child(job, threads=self.threads, time_limit_s=limit_s, read=lambda _, result: result)
        latency, conditions = Latency.from_json(found["latency"]), Conditions.from_json(found["conditions"])
        memory, warning = _over_null(found["peak_bytes"], null)
        warnings = (*doubts(latency, conditions), *([warning] if warning else []))
        return Measurement(latency, self._energy(latency, conditions), memory, conditions, warnings)

    def predict(self, model: Path, feeds: Path, *, time_limit_s: float = 600.0) -> np.ndarray:
        """The first output for every row, [rows, ...], by the very calls that are timed. Errors: TargetError."""
        job = self._job("predict", model, feeds)
        rows: np.ndarray = run_child(
            job,
            threads=self.threads,
            time_limit_s=time_limit_s,
            read=lambda folder, _: np.load(folder / "rows.npy", allow_pickle=False),
        )
        return rows

    def _job(self, task: str, model: Path, feeds: Path | None = None) -> dict[str, Any]:
        job = {"task": task, "runtime": self.runtime, "threads": self.threads, "model": str(_file(model))}
        return job if feeds is None else {**job, "feeds": str(feeds.resolve())}

    def _null(self) -> int | None:
        """Peak memory of a process that runs a null model, found once per target."""
        if self._null_peak is None:
            with tempfile.TemporaryDirectory(prefix="niwaki-") as folder:
                job = self._job("memory", *write_null_model(Path(folder)))
                found = run_child(job, threads=self.threads, time_limit_s=60.0, read=lambda _, result: result)
            self._null_peak = found["peak_bytes"]
        return self._null_peak

    def _energy(self, latency: Latency, conditions: Conditions) -> Energy | Unmeasured:
        meter: EnergyMeter = build("meter", self.meter)
        reason = meter.unavailable()
        return Unmeasured(reason) if reason else meter.energy(latency, conditions)

    def _runtime(self) -> Runtime:
        runtime: Runtime = build("runtime", self.runtime)
        return runtime


def _file(path: Path) -> Path:
    if path.is_dir():
        raise TargetError(f"{path} is a folder; give a model file, e.g. {path / 'model.onnx'}")
    if not path.is_file():
        raise TargetError(f"there is no file {path}; give a model file that exists")
    return path.resolve()


def _as_inputs(result: list[dict[str, Any]]) -> tuple[Input, ...]:
    return tuple(Input(item["name"], item["dtype"], tuple(item["shape"])) for item in result)


def _over_null(peak: int | None, null: int | None) -> tuple[float | Unmeasured, str | None]:
    """Megabytes over the null model, and a warning when the model is too small to be seen."""
    if peak is None or null is None:
        return Unmeasured("this system does not tell a process its peak memory (no /proc, no getrusage)"), None
    if peak < null:
        less = f"{(null - peak) / 1e6:.1f} MB"
        return 0.0, f"peak memory came out {less} below a null model's: too small to be told from it, given as 0"
    return (peak - null) / 1e6, None
