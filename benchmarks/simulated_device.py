"""The measuring protocol on a simulated device whose true ratio is known, over many seeded sessions.

    .venv/bin/python benchmarks/simulated_device.py --sessions 1000 --seed 1 --out simulated.json

Nothing is measured: the product's `compare` runs on a virtual clock, and its energy windows on a virtual counter
(`simulated_counter.py`). A block is one call of 20 ms, so that the noise of a call is the noise of a block. The bars:
the 95 % interval covers the truth in 93 % of all sessions and of the conclusive ones; a model against itself is found
different in 7 % at most; a true difference of 3 % is found in 90 % at noise up to 2 %; every injected fault is voided,
and a lasting one makes the figure unreliable. 1,000 sessions of each scene take minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import simulated_counter

from hardware_targets import Latency
from hardware_targets._blocks import TWIN, Record, latency, pooled
from hardware_targets._conditions import Snapshot
from hardware_targets._plan import FINAL_S, FIRST_LOOK, PROCESSES, TRIAL_S, Plan, Shape, Tier, plan_for
from hardware_targets._protocol import compare
from hardware_targets._void import Reading

CALL_NS, CORES, DIFFERENCE = 20e6, 2, 1.03
EQUAL = ((0.01, 0.01), (0.02, 0.02), (0.03, 0.03))
NOISES = (*EQUAL, (0.03, 0.01), (0.01, 0.03))
FAULTS = ("steal", "foreign CPU", "CPU pressure", "frequency", "throttling", "temperature", "power supply")
PASSING_S = 0.3  # of a fault: a longer one is easier to see
PLACEMENT, WANDER = 0.005, 0.01  # of a final's processes
TICK = 1e9 / os.sysconf("SC_CLK_TCK")
_SLOWER = {"foreign CPU": (1.25, 1.1), "frequency": (1.25, 1.25), "throttling": (1.4, 1.3)}
_STOLEN = 0.3  # of a call's time, while the hypervisor withholds the processor

Bars = list[tuple[str, float, float]]  # name of a figure, its lowest and its highest value


@dataclass(frozen=True)
class Scene:
    """What happens during a session: noise of both sides, drift per second, a neighbour, a fault.

    The fault begins at a moment drawn from `fault_at`, in seconds, and lasts `fault_for_s`. In a final each process
    puts each model at a place of its own, which makes it faster or slower by `placement` (a standard deviation), and
    meets a machine that is so by `wander`.
    """

    ratio: float
    noise: tuple[float, float]
    drift: float = 0.0
    restless: bool = False
    fault: str | None = None
    fault_at: tuple[float, float] = (math.inf, math.inf)
    fault_for_s: float = math.inf
    placement: float = 0.0
    wander: float = 0.0


class SimulatedDevice:
    """A candidate, its reference, two clocks and what the system shows, all on virtual time."""

    def __init__(self, seed: int, scene: Scene) -> None:
        generator = np.random.default_rng(seed)
        self._scene, self._now_ns, self._stolen_ns, self._foreign_ns, self._waited_ns = scene, 0.0, 0.0, 0.0, 0.0
        places = 1 + scene.placement * generator.standard_normal(3)
        speed = 1 + scene.wander * generator.standard_normal()
        self._true_ns = (CALL_NS * speed * places * (scene.ratio, 1.0, scene.ratio)).tolist()
        self._draws = [_draws(generator, scene.noise[side]) for side in (0, 1, 0)]
        self._neighbour = _stretches(generator) if scene.restless else iter([(math.inf, (1.0, 1.0))])
        self._until_s, self._factors = next(self._neighbour)
        low, high = scene.fault_at
        self._from_s = low + (high - low) * generator.random() if high > low else low
        self._to_s = self._from_s + scene.fault_for_s

    def candidate(self, row: int) -> None:  # noqa: ARG002 - every input is the same work
        self._call(0)

    def reference(self, row: int) -> None:  # noqa: ARG002
        self._call(1)

    def twin(self, row: int) -> None:  # noqa: ARG002
        self._call(TWIN)

    def clock(self) -> int:
        return int(self._now_ns)

    def cpu_clock(self) -> int:
        return int(self._now_ns - self._stolen_ns)

    def watch(self) -> Reading:
        """What the system shows now: ticks of all cores, and sensors."""
        faulty, fault = self._faulty(), self._scene.fault
        busy = int((self._now_ns - self._stolen_ns + self._foreign_ns) / TICK)
        slow_s = min(self._now_ns / 1e9, self._to_s) - self._from_s
        return Reading(
            at_s=self._now_ns / 1e9,
            cpu=Snapshot(
                load=None,
                total=int(CORES * self._now_ns / TICK),
                busy=busy,
                steal=int(self._stolen_ns / TICK),
                own_seconds=self.cpu_clock() / 1e9,
            ),
            waited_s=self._waited_ns / 1e9,
            clock_khz=2.4e6 if fault == "frequency" and faulty else 3e6,
            throttled=math.ceil(10 * slow_s) if fault == "throttling" and slow_s > 0 else 0,
            temperature_c=72.0 if fault == "temperature" and faulty else 60.0,
            on_ac=not (fault == "power supply" and faulty),
        )

    def _call(self, place: int) -> None:
        side = place % TWIN
        seconds, fault = self._now_ns / 1e9, self._scene.fault if self._faulty() else None
        while seconds >= self._until_s:
            self._until_s, self._factors = next(self._neighbour)
        busy_ns = self._true_ns[place] * next(self._draws[place])
        busy_ns *= (1 + self._scene.drift * seconds) * self._factors[side]
        busy_ns *= _SLOWER.get(fault or "", (1.0, 1.0))[side]
        self._stolen_ns += _STOLEN * busy_ns * (fault == "steal")
        self._foreign_ns += busy_ns * (fault == "foreign CPU")
        self._waited_ns += 0.5 * busy_ns * (fault == "CPU pressure")
        self._now_ns += busy_ns * (1 + _STOLEN * (fault == "steal"))

    def _faulty(self) -> bool:
        return self._from_s <= self._now_ns / 1e9 < self._to_s


def session(seed: int, scene: Scene, tier: Tier = "trial") -> Latency:
    """One session: a trial in one process, a final in as many as the product takes (`_sitting.sit`)."""
    if tier == "trial":
        return latency(_process(seed, scene, "trial", TRIAL_S, None)[0])
    records, shape = list[Record](), None
    for process_seed in np.random.SeedSequence(seed).generate_state(PROCESSES).tolist():
        record, shape = _process(process_seed, scene, "final", FINAL_S, shape)
        records.append(record)
        both = pooled(records)
        if len(records) == FIRST_LOOK and both.voided == 0 and both.log_ratio()[1] <= Plan().half_width:
            break
    return latency(pooled(records))


def _process(seed: int, scene: Scene, tier: Tier, seconds: float, shape: Shape | None) -> tuple[Record, Shape]:
    device = SimulatedDevice(seed, scene)
    return compare(
        device.candidate,
        device.reference,
        [(1, 1)] * 16,
        seed=seed,
        clock=device.clock,
        cpu_clock=device.cpu_clock,
        one_thread=True,
        plan=plan_for(tier, seconds, None),
        run_twin=device.twin if tier == "final" else None,
        watch=device.watch,
        shape=shape,
    )


@dataclass(frozen=True)
class Summary:
    """Shares of sessions, the mean error of the log ratio, and the median half-width of its interval."""

    covered: float
    covered_conclusive: float
    conclusive: float
    different: float  # the interval excludes 1
    bias: float
    half: float
    voided: float
    unreliable: float
    resolution: float  # median
    twin_differs: float  # two copies of one model were further apart than their interval allows


def summary(found: Sequence[Latency], truth: float) -> Summary:
    """What sessions of one scene came to."""
    inside = np.array([item.ratio_low <= truth <= item.ratio_high for item in found])
    conclusive = np.array([bool(item.conclusive) for item in found])
    half = np.array([item.half_width for item in found])
    resolved = np.array([item.resolution or width for item, width in zip(found, half, strict=True)])
    return Summary(
        covered=float(inside.mean()),
        covered_conclusive=float(inside[conclusive].mean()) if conclusive.any() else math.nan,
        conclusive=float(conclusive.mean()),
        different=float(np.mean([not item.ratio_low <= 1 <= item.ratio_high for item in found])),
        bias=float(np.mean([math.log(item.ratio / truth) for item in found])),
        half=float(np.median(half)),
        voided=float(np.mean([item.voided_rounds > 0 for item in found])),
        unreliable=float(np.mean([item.unreliable for item in found])),
        resolution=float(np.median(resolved)),
        twin_differs=float(np.mean(resolved > half + 1e-9)),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    options = parser.parse_args()
    draw = iter(np.random.SeedSequence(options.seed).generate_state(options.sessions * 128).tolist())
    table, missed = dict[str, dict[str, float]](), list[str]()

    def tell(name: str, shown: dict[str, float], bars: Bars) -> None:
        short = [key for key, low, high in bars if not low <= shown[key] <= high]
        missed.extend(f"{name}: {key}" for key in short)
        table[name] = {key: round(value, 5) for key, value in shown.items() if not math.isnan(value)}
        cells = "  ".join(f"{key} {100 * value:.1f} %" for key, value in shown.items())
        print(f"{name:36} {cells}{'   MISSED: ' + ', '.join(short) if short else ''}", flush=True)
        if options.out:  # after every scene: a run that is cut off has told what it came to
            told = {"sessions": options.sessions, "seed": options.seed, "missed": missed, "scenes": table}
            options.out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")

    for name, scene, tier, bars in _scenes():
        found = [session(next(draw), scene, tier) for _ in range(options.sessions)]
        tell(name, vars(summary(found, scene.ratio)), bars)
    for name, kind, bars in simulated_counter.scenes():
        tell(name, simulated_counter.summary(kind, [next(draw) for _ in range(options.sessions)]), bars)
    print("every bar is met" if not missed else f"missed: {'; '.join(missed)}")
    return 1 if missed else 0


def _scenes() -> Iterator[tuple[str, Scene, Tier, Bars]]:
    """Name, scene, tier, and for each figure that has a bar its lowest and highest value."""
    covers: Bars = [("covered", 0.93, 1.0), ("covered_conclusive", 0.93, 1.0)]
    alike: Bars = [*covers, ("different", 0.0, 0.07)]
    for noise in NOISES:
        told = "/".join(f"{100 * side:g}" for side in noise)
        found: Bars = [("different", 0.9, 1.0)] if max(noise) <= 0.02 else []
        yield f"noise {told} %, 3 % slower", Scene(DIFFERENCE, noise), "trial", covers + found
        yield f"noise {told} %, A/A", Scene(1.0, noise), "trial", alike
    for noise in EQUAL:
        told, found = f"final, noise {100 * noise[0]:g} %", [("different", 0.9, 1.0)] if max(noise) <= 0.02 else []
        placed = {"placement": PLACEMENT, "wander": WANDER}
        yield f"{told}, 3 % slower", Scene(DIFFERENCE, noise, **placed), "final", covers + found
        yield f"{told}, A/A", Scene(1.0, noise, **placed), "final", [*alike, ("twin_differs", 0.0, 0.07)]
    yield "noise 1/1 %, drift 0.1 %/s", Scene(DIFFERENCE, (0.01, 0.01), drift=0.001), "trial", covers
    yield "noise 1/1 %, restless neighbour", Scene(DIFFERENCE, (0.01, 0.01), restless=True), "trial", []
    for fault in FAULTS:
        faulty = Scene(DIFFERENCE, (0.01, 0.01), fault=fault)
        passing = replace(faulty, fault_at=(1.0, 2.0), fault_for_s=PASSING_S)
        yield f"{fault}, {PASSING_S:g} s", passing, "trial", [*covers, ("voided", 1.0, 1.0)]
        lasting: Bars = [("voided", 1.0, 1.0), ("unreliable", 1.0, 1.0)]
        yield f"{fault}, lasting", replace(faulty, fault_at=(4.0, 4.0)), "trial", lasting


def _draws(generator: np.random.Generator, noise: float) -> Iterator[float]:
    while True:
        yield from np.exp(noise * generator.standard_normal(600)).tolist()


def _stretches(generator: np.random.Generator) -> Iterator[tuple[float, tuple[float, float]]]:
    """A neighbour that comes for 0.05 to 5 s, half of the time, and slows the two sides by different factors."""
    until = 0.0
    while True:
        for present in (False, True):
            until += 0.05 * 100 ** generator.random()
            slower = (1 + 0.6 * generator.random(), 1 + 0.3 * generator.random())
            yield until, slower if present else (1.0, 1.0)


if __name__ == "__main__":
    sys.exit(main())
