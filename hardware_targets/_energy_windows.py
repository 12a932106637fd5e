"""Joules per inference of a candidate and a reference, from a counter of joules. Pure: runs, reader, clock are given.

A session first asks whether the counter answers to this device at all (idle against full load), which also gives the
idle baseline, and how often the counter ticks. Then candidate and reference run in turn, in quartets of windows
`R C C R` or `C R R C` as the seed says. Power drifts by percents while a device warms up; within a quartet a linear
drift cancels exactly, and each quartet has a level of its own.

A window with a reading that failed, went backwards or was too much, or during which something else used the device, is
void: its quartet is run again, it is counted, and when more than a quarter of all windows are void there is no figure.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hardware_targets._counters import MeterFault
from hardware_targets._measurement import Energy, Unmeasured
from hardware_targets._roles import Counter, Reader
from hardware_targets._window import Clock, EnergyPlan, Run, Turns, Watch, Window

# Student's t, two-sided 95 %, by degrees of freedom (0 would be no interval at all).
_T95 = (math.inf, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201)
_MOST_VOID = 0.25
PLAN = EnergyPlan()


@dataclass(frozen=True)
class Qualification:
    """What a counter showed on this device: its tick, and watts idle and under load."""

    period_s: float
    idle_w: float
    load_w: float


@dataclass(frozen=True)
class EnergyResult:
    """Joules per inference, both sides, with 95 % intervals, and what had to be left out."""

    candidate_j: float
    candidate_half: float  # of the 95 % interval, relative
    reference_j: float
    ratio: float
    ratio_half: float  # of the log ratio
    net_j: float | None  # the candidate's, less idle power over the same time; None where idle is not below it
    windows: int
    voided: int
    reasons: tuple[str, ...]

    def energy(self, counter: Counter) -> Energy:
        """The candidate's figure in millijoules."""
        mj = self.candidate_j * 1e3
        note = f"; {self.voided} of {self.windows} windows void ({self.reasons[0]})" if self.voided else ""
        return Energy(
            mj=mj,
            mj_low=mj / (1 + self.candidate_half),
            mj_high=mj * (1 + self.candidate_half),
            kind=counter.kind,
            boundary=counter.boundary,
            meter=counter.name,
            source=counter.source() + note,
            net_mj=None if self.net_j is None else self.net_j * 1e3,
            ratio=self.ratio,
            ratio_low=self.ratio * math.exp(-self.ratio_half),
            ratio_high=self.ratio * math.exp(self.ratio_half),
            voided=self.voided,
        )


def qualify(
    load: Run,
    inputs: int,
    counter: Counter,
    reader: Reader,
    *,
    clock: Clock,
    wait: Callable[[float], object],
    plan: EnergyPlan = PLAN,
) -> Qualification | Unmeasured:
    """Whether the counter answers to this device: idle and full load in turn, at least three deviations apart."""
    try:
        period = _tick(reader, counter, clock, plan)
        session = Turns(counter, reader, period, clock, plan, inputs, _calm)
        idle, busy = [], []
        for _ in range(plan.idle_windows):
            wait(max(counter.lag_s, 2 * period))  # what ran before is no longer in the sensor's mean
            idle.append(session.idle_watts(wait))
            busy.append(session.window("R", load).watts)
    except MeterFault as fault:
        return Unmeasured(f"the meter {counter.name} failed while it was tried: {fault}")
    spread = math.sqrt((np.var(idle, ddof=1) + np.var(busy, ddof=1)) / 2) if len(idle) > 1 else 0.0
    low, high = float(np.mean(idle)), float(np.mean(busy))
    if high - low <= max(plan.apart * spread, plan.response * low, 1e-6):
        return Unmeasured(
            f"the meter {counter.name} does not respond to this device: {low:.3g} W idle, {high:.3g} W under full "
            "load; choose the meter of the device that runs the model"
        )
    return Qualification(period, low, high)


def measure_energy(
    candidate: Run,
    reference: Run,
    inputs: int,
    counter: Counter,
    reader: Reader,
    *,
    seed: int,
    clock: Clock,
    period_s: float,
    idle_w: float | None = None,
    watch: Watch | None = None,
    plan: EnergyPlan = PLAN,
) -> EnergyResult | Unmeasured:
    """Quartets until enough of them are whole; `candidate(row)` and `reference(row)` take rows 0 to `inputs` - 1."""
    session = Turns(counter, reader, period_s, clock, plan, inputs, watch or _calm)
    runs = {"C": candidate, "R": reference}
    generator = random.Random(seed)
    whole: list[list[Window]] = []
    reasons: list[str] = []
    windows = 0
    for _ in range(plan.attempts):
        quartet = [session.try_window(side, runs[side]) for side in generator.choice(("RCCR", "CRRC"))]
        windows += len(quartet)
        reasons += [window.void for window in quartet if window.void is not None]
        if not any(window.void for window in quartet):
            whole.append(quartet)
        if len(whole) == plan.quartets:
            break
    if len(reasons) > _MOST_VOID * windows or len(whole) < 2:
        common = max(reasons, key=reasons.count)  # of equally common ones the first
        return Unmeasured(
            f"{len(reasons)} of {windows} windows of the meter {counter.name} are void, so there is no figure: {common}"
        )
    return _result(whole, windows, reasons, idle_w, period_s / counter.window_s)


def _calm() -> Callable[[], str | None]:
    return lambda: None


def _tick(reader: Reader, counter: Counter, clock: Clock, plan: EnergyPlan) -> float:
    """How often the counter changes, looked at for a moment; never less than it is said to."""
    start = changed = clock()
    last, gaps = reader.joules(), list[float]()
    while clock() - start < plan.look_s and len(gaps) < 20:
        now = reader.joules()
        if now != last:
            last, at = now, clock()
            gaps.append(at - changed)
            changed = at
    return max([counter.period_s, *([float(np.median(gaps[1:]))] if len(gaps) > 3 else [])])


def _result(
    quartets: Sequence[Sequence[Window]], windows: int, reasons: Sequence[str], idle_w: float | None, coarse: float
) -> EnergyResult:
    """Means and intervals; `coarse` is the share of a window by which its edges may be late."""
    logs = np.log([[window.joules for window in quartet] for quartet in quartets])
    sides = np.array([[1.0 if window.side == "C" else -1.0 for window in quartet] for quartet in quartets])
    # Sides are orthogonal to level and slope within a quartet, so the contrast is free of both (least squares). Of the
    # scatter only levels and one slope for all are taken away: power wanders slowly, and slopes that differ from
    # quartet to quartet are part of that.
    centre = float((logs * sides).sum(axis=1).mean() / 2)
    time = np.array([-1.5, -0.5, 0.5, 1.5])
    slope = float((logs @ time).mean() / (time @ time))
    rest = logs - logs.mean(axis=1, keepdims=True) - slope * time - sides * centre / 2
    free = 3 * len(quartets) - 2  # four windows each, less the levels, the slope and the contrast
    spread = math.sqrt(float((rest**2).sum()) / free)
    half = math.hypot(_t95(free) * spread / math.sqrt(len(quartets)), coarse / math.sqrt(2 * len(quartets)))
    ours = [window for quartet in quartets for window in quartet if window.side == "C"]
    theirs = [window for quartet in quartets for window in quartet if window.side == "R"]
    joules = np.array([window.joules for window in ours])
    mean, seconds = float(joules.mean()), float(np.mean([window.seconds for window in ours]))
    wander = logs - sides * centre / 2  # both sides, as if they were one: slow wandering shows between quartets too
    scatter = float(wander.std(ddof=2)) / math.sqrt(len(joules))
    net = None if idle_w is None else mean - idle_w * seconds
    return EnergyResult(
        candidate_j=mean,
        candidate_half=math.hypot(_t95(len(joules) - 1) * scatter, coarse / math.sqrt(len(joules))),
        reference_j=float(np.mean([window.joules for window in theirs])),
        ratio=math.exp(centre),
        ratio_half=half,
        net_j=net if net is not None and net > 0 else None,
        windows=windows,
        voided=len(reasons),
        reasons=tuple(sorted(set(reasons), key=list(reasons).count, reverse=True)),
    )


def _t95(free: int) -> float:
    return _T95[min(free, len(_T95) - 1)]
