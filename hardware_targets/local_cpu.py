"""This machine's CPU, through ONNX Runtime, in a process of its own."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np

from hardware_targets._baseline import DeviceFile, compared, reference_key
from hardware_targets._block_file import write_blocks
from hardware_targets._blocks import latency
from hardware_targets._conditions import read_conditions
from hardware_targets._doubts import doubts
from hardware_targets._errors import TargetError
from hardware_targets._feeds import Input
from hardware_targets._lock import lock_path, this_worker
from hardware_targets._measurement import Conditions, Energy, Latency, Measurement, Unmeasured
from hardware_targets._null_model import write_null_model
from hardware_targets._parts import build
from hardware_targets._plan import TRIAL_S, Shape, Tier, budget_s
from hardware_targets._roles import Counter, EnergyMeter, Runtime, is_counter
from hardware_targets._sitting import limit_s, sit
from hardware_targets._spawn import run_child
from hardware_targets._window import EnergyPlan
from hardware_targets.meters import calibrated

SECONDS = TRIAL_S
# Asked in this order for energy; the first is there only where somebody has set one up.
COUNTERS = ("wall_meter", "rapl", "perf_power", "jetson_ina", "pi5_pmic", "powermetrics")
MODEL = "modelled_generic"


class Target:
    """Measures on `threads` threads, the same for candidate and reference; 1 is what a shared machine measures best.

    `seconds` is what the timing of one measurement may take, warm-up apart; it ends earlier where the ratio is precise
    enough. `meter` pins the energy meter, with its options; with None it is the first counter that this machine has,
    and a model where it has none. A counter takes time of its own, after the timing (`_energy_windows`).
    """

    name = "local_cpu"
    meter: str | None = None
    counters: ClassVar[tuple[str, ...]] = COUNTERS

    def __init__(
        self,
        threads: int = 1,
        seconds: float = SECONDS,
        runtime: str = "onnxruntime",
        meter: str | None = None,
        meter_options: Mapping[str, Any] | None = None,
    ) -> None:
        cores = os.cpu_count() or 1
        if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= cores:
            raise TargetError(f"threads is {threads!r}, but this machine has {cores} logical cores; give 1 to {cores}")
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 1 <= seconds <= 600:
            raise TargetError(f"seconds is {seconds!r}, but one measurement takes 1 to 600; give a number between them")
        self.threads, self.runtime = threads, runtime
        self._runtime()  # a name that does not exist is told now
        self.seconds = float(seconds)
        self.meter = self.meter if meter is None else meter
        self._meter_options = dict(meter_options or {})
        if self.meter is None and self._meter_options:
            raise TargetError("meter_options are given but no meter; name it in `meter`")
        if self.meter is not None:
            self._build_meter(self.meter)  # a wrong name or option is told now
        self._null_peak: int | None = None
        self._qualified: dict[str, Any] | None = None

    def unavailable(self) -> str | None:
        if os.name != "posix":
            return "local_cpu needs file locks and process groups of a POSIX system; use Linux or macOS"
        return self._runtime().unavailable()

    def conditions(self) -> Conditions:
        """This machine as it is now."""
        runtime = self._runtime()
        found = read_conditions(runtime=runtime.name, runtime_version=runtime.version(), threads=self.threads)
        return replace(found, qualified_at=DeviceFile(found.fingerprint).qualified_at())

    def energy_kind(self) -> str:
        """Of the meter that energy will come from: `measured` where this machine has a counter that works.

        `unmeasured` where the meter that is pinned cannot be read.
        """
        meter = self._chosen_meter()
        return meter.kind if meter.unavailable() is None else "unmeasured"

    def energy_of(
        self, latency: Latency, conditions: Conditions, *, precision: str | None = None, macs_m: float | None = None
    ) -> Energy | Unmeasured | None:
        """What was timed, by the energy model in use and for what is known of the file; None where a counter tells."""
        meter = self._chosen_meter()
        if is_counter(meter):
            return None
        if reason := meter.unavailable():
            return Unmeasured(reason)
        if isinstance(meter, calibrated.Meter):
            return meter.energy(latency, conditions, precision=precision, macs_m=macs_m)
        return cast(EnergyMeter, meter).energy(latency, conditions)

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
        tier: Tier = "trial",
        raw: Path | None = None,
        over: float | None = None,
    ) -> Measurement:
        """Time `model` against `reference`, batch 1, on the same rows, for at most `seconds`. Errors: TargetError.

        A screen ends as soon as the ratio is surely far above `over`, for then it has told what it was asked. Where the
        machine is slower than it is known to be with this reference, it takes up to five times as long; where the
        reference's time differs from the sessions before, that is looked into by one more session (`_baseline`).
        """
        null, seconds = self._null(), budget_s(tier, self.seconds) if seconds is None else seconds
        limit = limit_s(tier, seconds) if time_limit_s is None else time_limit_s
        counting, counting_s = ({}, 0.0) if tier == "screen" else self._counting()
        sides = {"reference": str(_file(reference)), "reference_feeds": str(reference_feeds.resolve())}
        job = (
            self._job("measure", model, feeds) | sides | {"seed": seed, "tier": tier, "seconds": seconds, "over": over}
        )
        job |= {"lock": str(lock_path()), "lock_wait_s": limit / 2}
        kept, key = DeviceFile(self.conditions().fingerprint), reference_key(job)
        baseline = kept.baseline(key)
        job["known_ms"] = {str(inputs): ms for inputs, ms in baseline.fastest_ms().items()}
        found, record = sit(job, counting, threads=self.threads, time_limit_s=limit, counting_s=counting_s)
        if raw is not None:
            write_blocks(record, raw)
        self._qualified = found.get("qualified", self._qualified)
        timed, inputs = latency(record), Shape(**found["shape"]).inputs
        said: list[str] = []
        if tier != "screen" and not timed.unreliable:
            itself = job["model"] == job["reference"]
            timed, said = compared(timed, inputs, kept, key, itself, lambda: self._against_itself(job))
        conditions = replace(found["conditions"], qualified_at=kept.qualified_at())
        memory, warning = _over_null(found["peak_bytes"], null)
        doubtful = doubts(timed, conditions, baseline.fastest_ms().get(inputs))
        warnings = (*doubtful, *said, *([warning] if warning else []), *found["notes"])
        energy = self._energy(found, timed, conditions, tier)
        return Measurement(timed, energy, memory, conditions, warnings)

    def _against_itself(self, job: Mapping[str, Any]) -> tuple[Latency, int]:
        """The reference against itself, as a trial, and the number of inputs."""
        both = {"model": job["reference"], "feeds": job["reference_feeds"]}
        seconds = min(job["seconds"], TRIAL_S)
        trial = {**job, **both, "tier": "trial", "seconds": seconds, "known_ms": {}}
        limit = limit_s("trial", seconds)
        found, record = sit(trial, {}, threads=self.threads, time_limit_s=limit, counting_s=0.0)
        return latency(record), Shape(**found["shape"]).inputs

    def predict(self, model: Path, feeds: Path, *, time_limit_s: float = 600.0) -> np.ndarray:
        """The first output for every row, [rows, ...], by the very calls that are timed. Errors: TargetError."""
        job = self._job("predict", model, feeds)
        with this_worker().step():  # it would disturb what another process times
            rows: np.ndarray = run_child(
                job,
                threads=self.threads,
                time_limit_s=time_limit_s,
                read=lambda folder, _: np.load(folder / "rows.npy", allow_pickle=False),
            )
        return rows

    def _job(self, task: str, model: Path, feeds: Path | None = None) -> dict[str, Any]:
        options = {"runtime_options": self._runtime_options()}
        job = {"task": task, "runtime": self.runtime, **options, "threads": self.threads, "model": str(_file(model))}
        return job if feeds is None else {**job, "feeds": str(feeds.resolve())}

    def _null(self) -> int | None:
        """Peak memory of a process that runs a null model, found once per target."""
        if self._null_peak is None:
            with tempfile.TemporaryDirectory(prefix="niwaki-") as folder:
                job = self._job("memory", *write_null_model(Path(folder)))
                found = run_child(job, threads=self.threads, time_limit_s=60.0, read=lambda _, result: result)
            self._null_peak = found["peak_bytes"]
        return self._null_peak

    def _counting(self) -> tuple[dict[str, Any], float]:
        """What a job must know of the counter, and how long that may take; nothing where energy comes from a model."""
        meter = self._chosen_meter()
        if not is_counter(meter) or meter.unavailable():
            return {}, 0.0
        job = {"counter": meter.name, "counter_options": self._meter_options, "qualified": self._qualified}
        return job, 2 * EnergyPlan().seconds(meter, qualified=self._qualified is not None)

    def _energy(
        self, found: Mapping[str, Any], latency: Latency, conditions: Conditions, tier: Tier
    ) -> Energy | Unmeasured:
        if "energy" in found:
            told = found["energy"]
            return Unmeasured(told["unmeasured"]) if "unmeasured" in told else Energy.from_json(told)
        meter = self._chosen_meter()
        if reason := meter.unavailable():
            return Unmeasured(reason)
        if is_counter(meter) and tier == "screen":
            return Unmeasured("a screen reads no counter of energy, which would take longer than the screen")
        if is_counter(meter):
            return Unmeasured(f"the meter {meter.name} came only after the models had run; measure again")
        return cast(EnergyMeter, meter).energy(latency, conditions)

    def _chosen_meter(self) -> EnergyMeter | Counter:
        """The pinned meter, the first counter that works here, or the model; chosen once, so that figures compare."""
        if self.meter is None:
            works = (name for name in self.counters if self._build_meter(name).unavailable() is None)
            self.meter = next(works, MODEL)
        return self._build_meter(self.meter)

    def _build_meter(self, name: str) -> EnergyMeter | Counter:
        meter: EnergyMeter | Counter = build("meter", name, **self._meter_options)
        return meter

    def _runtime(self) -> Runtime:
        runtime: Runtime = build("runtime", self.runtime, **self._runtime_options())
        return runtime

    def _runtime_options(self) -> dict[str, Any]:
        return {}


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
