"""The energy windows of the product on a simulated counter whose true joules are known; see `simulated_device.py`.

The counter is the tests' own: a tick, a smallest step, a range that wraps, and faults on demand. A fault falls on a
reading drawn from the seed, within the first six of the twelve windows that a session has.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from unittest import mock

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "hardware_targets"))

from energy_fakes import PowerDevice, SimulatedCounter, eio, off_by, reset_at

from hardware_targets import Unmeasured
from hardware_targets._energy_windows import EnergyResult, measure_energy

RANGE_J = 262_143.0
_READINGS = (3, 24)
_SESSION_J = 500.0  # less than a session uses, so that a counter so close to its range wraps in every session
_SAME = 1e-5  # of the joules: what a counter's smallest step amounts to

FAULTS: dict[str, Callable[[int], Callable[[int, float], float]]] = {
    "EIO": eio,
    "a step back": lambda reading: off_by(reading, -500.0),
    "a leap": lambda reading: off_by(reading, 1e6),
    "a reset": reset_at,
}


def scenes() -> Iterator[tuple[str, str, list[tuple[str, float, float]]]]:
    """Name, kind, and for each figure that has a bar its lowest and highest value."""
    for noise in ("0.5", "1", "2"):
        covers = [("covered", 0.93, 1.0), ("covered_joules", 0.93, 1.0), ("obtained", 1.0, 1.0)]
        yield f"energy, power wanders by {noise} %", noise, covers
    yield "energy, A/A", "A/A", [("covered", 0.93, 1.0), ("obtained", 1.0, 1.0)]
    for kind in ("wrap", "wall clock"):
        yield f"energy, {kind}", kind, [("same_joules", 1.0, 1.0), ("voided", 0.0, 0.0)]
    for kind in FAULTS:
        yield f"energy, {kind}", kind, [("voided", 1.0, 1.0), ("covered", 0.93, 1.0)]


def summary(kind: str, seeds: Sequence[int]) -> dict[str, float]:
    """Shares of sessions; `same_joules` compares each with the same session without what happens in it."""
    found = [_session(kind, seed) for seed in seeds]
    whole = [(result, device) for result, device in found if isinstance(result, EnergyResult)]
    shown = {
        "obtained": len(whole) / len(found),
        "covered": _share(abs(math.log(result.ratio / device.truth)) <= result.ratio_half for result, device in whole),
        "covered_joules": _share(
            abs(math.log(result.candidate_j / device.joules("C"))) <= math.log1p(result.candidate_half)
            for result, device in whole
        ),
        "voided": _share(not isinstance(result, EnergyResult) or result.voided > 0 for result, _ in found),
    }
    if kind in ("wrap", "wall clock"):
        plain = [_session("1", seed)[0] for seed in seeds]
        shown["same_joules"] = _share(_same(one, other) for (one, _), other in zip(found, plain, strict=True))
    return shown


def _session(kind: str, seed: int) -> tuple[EnergyResult | Unmeasured, PowerDevice]:
    chosen = random.Random(seed)
    if kind == "A/A":
        device = PowerDevice(seed, watts=(20.0, 20.0, 8.0), call_ms=(50.0, 50.0))
    elif kind == "wrap":
        device = PowerDevice(seed, start_j=RANGE_J - chosen.uniform(0.1, 0.9) * _SESSION_J, range_j=RANGE_J)
    elif kind in FAULTS:
        device = PowerDevice(seed, fault=FAULTS[kind](chosen.randint(*_READINGS)))
    else:
        device = PowerDevice(seed, noise=0.01 if kind == "wall clock" else float(kind) / 100)
    if kind != "wall clock":
        return _measured(device, seed), device
    with mock.patch("time.time", side_effect=lambda: chosen.uniform(0, 2e9)):  # set anew at every look
        return _measured(device, seed), device


def _measured(device: PowerDevice, seed: int) -> EnergyResult | Unmeasured:
    counter = SimulatedCounter(device)
    return measure_energy(
        device.candidate,
        device.reference,
        4,
        counter,
        counter.open(),
        seed=seed,
        clock=device.clock,
        period_s=counter.period_s,
    )


def _same(one: EnergyResult | Unmeasured, other: EnergyResult | Unmeasured) -> bool:
    if not (isinstance(one, EnergyResult) and isinstance(other, EnergyResult)):
        return False
    return abs(one.candidate_j / other.candidate_j - 1) < _SAME and abs(one.ratio / other.ratio - 1) < _SAME


def _share(holds: Iterator[bool]) -> float:
    return float(np.mean(list(holds)))
