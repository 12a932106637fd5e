"""Doubles of devices and clocks for tests; none of them exists in the product."""

# ruff: noqa: ARG002, ARG005 - a double takes what the real thing takes, and does not need all of it

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hardware_targets import Conditions, Energy, Input, Latency, Measurement, Unmeasured, load_feeds
from hardware_targets._parts import build
from hardware_targets._plan import Tier


def conditions(**changes: object) -> Conditions:
    """Conditions of an invented quiet machine."""
    values: dict[str, object] = {
        "cpu_model": "Test CPU",
        "cpu_vendor": "GenuineTest",
        "cpu_family": 1,
        "cpu_number": 2,
        "cpu_stepping": 3,
        "architecture": "x86_64",
        "logical_cores": 2,
        "kernel": "Linux 0",
        "python": "3.11.0",
        "runtime": "onnxruntime",
        "runtime_version": "0",
        "threads": 1,
        "spinning": False,
        "governor": None,
        "virtualised": None,
        "container": None,
        "on_ac": None,
        "load_start": 0.0,
        "load_end": 0.0,
        "steal_share": 0.0,
        "foreign_share": 0.0,
    }
    return Conditions(**{**values, **changes})  # type: ignore[arg-type]


def latency(median_ms: float = 1.0, reference_ms: float = 10.0, **changes: object) -> Latency:
    """A latency whose ratio is exactly median / reference, known to 1 %."""
    ratio = median_ms / reference_ms
    values: dict[str, object] = {
        "median_ms": median_ms,
        "p90_ms": median_ms * 1.1,
        "p95_ms": median_ms * 1.2,
        "p99_ms": None,
        "reference_median_ms": reference_ms,
        "ratio": ratio,
        "ratio_low": ratio * 0.99,
        "ratio_high": ratio * 1.01,
        "ratio_samples": (ratio,) * 4,
        "blocks": 8,
        "calls": 800,
        "batch_size": 1,
        "cpu_seconds": median_ms / 1000,
        "warmup_calls": 10,
        "steady": True,
        "undisturbed_share": 1.0,
    }
    return Latency(**{**values, **changes})  # type: ignore[arg-type]


@dataclass
class ScriptedTarget:
    """A HardwareTarget that says what it was told to; predictions are real, made by onnxruntime in this process.

    `latency_ms`: one figure, or a function of the model's path. `fail`: called with the verb (`measure`, `predict`) and
    the model's path, may raise. `calls` remembers both, in order, `tiers` how it was
    measured. `void`: of 20 rounds, so many broke a rule.
    """

    latency_ms: float | Callable[[Path], float] = 1.0
    reference_ms: float = 10.0
    energy: bool = True
    peak_memory_mb: float = 5.0
    threads: int = 1
    name: str = "scripted"
    reason: str | None = None
    void: int = 0
    fail: Callable[[str, Path], None] = lambda verb, model: None
    predictions: Callable[[Path, Path], np.ndarray] | None = None
    calls: list[tuple[str, Path]] = field(default_factory=list)
    tiers: list[Tier] = field(default_factory=list)
    over: float | None = None  # of the last measurement

    def unavailable(self) -> str | None:
        return self.reason

    def conditions(self) -> Conditions:
        return conditions(threads=self.threads)

    def inputs(self, model: Path) -> tuple[Input, ...]:
        return tuple(build("runtime", "onnxruntime").load(model, 1).inputs)

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
        self._note("measure", model)
        self.tiers.append(tier)
        self.over = over
        median = self.latency_ms(model) if callable(self.latency_ms) else self.latency_ms
        reasons = (f"foreign CPU: {self.void}",) if self.void else ()
        joules = Energy(median, median / 1.5, median * 1.5, "modelled-generic", "test", "scripted", "a test")
        return Measurement(
            latency=latency(median, self.reference_ms, rounds=20, voided_rounds=self.void, void_reasons=reasons),
            energy=joules if self.energy else Unmeasured("no meter in this test"),
            peak_memory_mb=self.peak_memory_mb,
            conditions=self.conditions(),
        )

    def predict(self, model: Path, feeds: Path, *, time_limit_s: float = 600.0) -> np.ndarray:
        self._note("predict", model)
        if self.predictions:
            return self.predictions(model, feeds)
        session = build("runtime", "onnxruntime").load(model, 1)
        return np.concatenate([session.run(feed)[0] for feed in load_feeds(feeds)])

    def _note(self, verb: str, model: Path) -> None:
        self.calls.append((verb, model))
        self.fail(verb, model)


class SimulatedDevice:
    """Two models on one simulated clock; a call takes its true time, times noise, drift and what a disturbance adds.

    `noise` is the relative standard deviation of one call. `drift` slows everything by that share per simulated second.
    `disturb(now_s)` gives the factors by which (candidate, reference) are slower at that moment. `preempted` is the
    chance per millisecond of work to be put aside, and for how many milliseconds. `sizes` multiplies the time of each
    row.
    """

    def __init__(
        self,
        seed: int,
        *,
        candidate_ms: float = 12.0,
        reference_ms: float = 10.0,
        noise: tuple[float, float] = (0.01, 0.01),
        drift: float = 0.0,
        disturb: Callable[[float], tuple[float, float]] = lambda now_s: (1.0, 1.0),
        preempted: tuple[float, float] = (0.0, 0.0),
        sizes: Sequence[float] = (),
    ) -> None:
        self.now_ns = 0.0
        self._random = random.Random(seed)
        self._true_ns: Mapping[str, float] = {"C": candidate_ms * 1e6, "R": reference_ms * 1e6}
        self._noise = {"C": noise[0], "R": noise[1]}
        self._drift, self._disturb = drift, disturb
        self._preempted = preempted
        self._sizes = sizes
        self._waited_ns = 0.0
        self.heard: list[tuple[str, int]] = []

    def candidate(self, row: int) -> None:
        self._call("C", row)

    def reference(self, row: int) -> None:
        self._call("R", row)

    def clock(self) -> int:
        return int(self.now_ns)

    def cpu_clock(self) -> int:
        return int(self.now_ns - self._waited_ns)

    def _call(self, side: str, row: int) -> None:
        self.heard.append((side, row))
        seconds = self.now_ns / 1e9
        factor = 1 + self._noise[side] * self._random.gauss(0, 1)
        factor *= (1 + self._drift * seconds) * self._disturb(seconds)["CR".index(side)]
        busy_ns = self._true_ns[side] * max(factor, 0.1) * (self._sizes[row] if self._sizes else 1.0)
        chance_per_ms, wait_ms = self._preempted
        waits = self._random.random() < chance_per_ms * busy_ns / 1e6
        self._waited_ns += wait_ms * 1e6 * waits
        self.now_ns += busy_ns + wait_ms * 1e6 * waits
