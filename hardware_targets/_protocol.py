"""How a candidate is timed against a reference. Pure: the two callables and both clocks are passed in.

The session is a row of short groups of four blocks, `R C C R` or `C R R C` by the seed, so that linear drift cancels
inside a group. A block passes over one slice of the inputs until it has lasted about 10 ms; both sides see the same
inputs. A group's score is the ratio of its summed times. The result is the 20 % trimmed mean of the log scores over the
quiet third of the groups, with its 95 % interval; which third is quiet is decided by how long the neighbouring groups
took, both sides together.

A model on one thread waits for nothing, so a block whose wall time exceeds its CPU time by more than 2 % was
interrupted by the scheduler; it counts with its CPU time, and such blocks are counted. On an idle machine there are
none. Percentiles of single calls are always of wall time.

Why so. On 2 virtual cores shared with other jobs (1-minute load 3 to 5), the ratio of a 0.14 ms to a 1.7 ms network was
taken in sessions of 3 s. Standard deviation of the ratio between 10 to 12 sessions, in three such rounds:

    16 groups of 25 ms blocks:    mean 1.3-2.2 %   trimmed mean 1.4-2.4 %   median 2.5-2.9 %
    64 groups of 10-15 ms blocks: mean 0.9-2.3 %   trimmed mean 1.2-2.7 %   quiet third 0.4-1.4 %

A neighbour slows both sides for a second or so, and by different factors (here 30 % and 18 %), so whole stretches of a
session are biased and no centre of all groups recovers the undisturbed ratio; short groups let the quiet stretches be
picked. When the machine is starved throughout (load 5 to 6, most blocks interrupted) nothing is quiet: by wall time ten
sessions differed by 4 to 9 %, with CPU time for interrupted blocks by 1.5 to 1.8 %; interval and warnings say so.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hardware_targets._measurement import Latency
from hardware_targets._statistics import drifts, mean_interval, percentile, quiet, trimmed_interval

Run = Callable[[int], object]
Clock = Callable[[], int]  # nanoseconds

_INTERRUPTED = 1.02  # wall over CPU time from which a block counts as interrupted; undisturbed blocks stay below 1.002


@dataclass(frozen=True)
class Plan:
    """How long a session may take and when it is precise enough."""

    warmup_calls: int = 10
    warmup_s: float = 0.2  # at least, per side
    warmup_cap_s: float = 2.0  # at most, per side, unless the calls above take longer
    block_ms: float = 10.0
    slices: int = 8
    groups: int = 64
    first_look: int = 32
    fewest_groups: int = 8  # also when the budget is spent
    budget_s: float = 4.0  # for the groups
    half_width: float = 0.0075  # of the log ratio
    jitter_calls: int = 662
    jitter_s: float = 0.6


@dataclass(frozen=True)
class _Block:
    time_ns: float  # of one call
    cpu_ns: float  # of one call
    interrupted: bool


@dataclass(frozen=True)
class _Group:
    inputs: int  # which slice
    candidate: tuple[_Block, _Block]
    reference: tuple[_Block, _Block]
    calls: int  # of the candidate


@dataclass(frozen=True)
class _Warm:
    call_ns: float
    calls: int
    steady: bool


def compare(
    run_candidate: Run,
    run_reference: Run,
    inputs: int,
    *,
    seed: int,
    clock: Clock,
    cpu_clock: Clock,
    one_thread: bool,
    plan: Plan = Plan(),
) -> Latency:
    """Time two callables on inputs 0..inputs-1 in turn.

    `clock` is wall time and `cpu_clock` the CPU time of this process, both in nanoseconds; `one_thread` says that a
    call computes on one thread and waits for nothing, so that wall time without CPU time is time given to others.
    Milliseconds and CPU-seconds of the result are medians over the quiet groups' blocks; percentiles are of single
    candidate calls at input 0, taken afterwards.
    """
    candidate = _warm_up(run_candidate, inputs, clock, plan)
    reference = _warm_up(run_reference, inputs, clock, plan)
    slices = _slices(inputs, max(candidate.call_ns, reference.call_ns), plan)
    passes = [
        max(1, math.ceil(plan.block_ms * 1e6 / (warm.call_ns * len(slices[0])))) for warm in (candidate, reference)
    ]
    timers = {
        "C": _timer(run_candidate, slices, passes[0], clock, cpu_clock, one_thread),
        "R": _timer(run_reference, slices, passes[1], clock, cpu_clock, one_thread),
    }
    groups = _groups(timers, slices, passes[0], seed, clock, plan)
    jitter = _jitter(run_candidate, candidate.call_ns, clock, plan)
    return _latency(groups, jitter, candidate.calls, candidate.steady and reference.steady)


def _warm_up(run: Run, inputs: int, clock: Clock, plan: Plan) -> _Warm:
    """Call until enough calls and time have passed and the last blocks no longer drift, or the cap is reached."""
    start, calls, blocks = clock(), 0, list[float]()
    while True:
        began, before = clock(), calls
        while calls == before or clock() - began < plan.block_ms * 1e6:
            run(calls % inputs)
            calls += 1
        now = clock()
        blocks.append((now - began) / (calls - before))
        seconds = (now - start) / 1e9
        if calls < plan.warmup_calls or seconds < plan.warmup_s:
            continue
        steady = len(blocks) >= 6 and not drifts(blocks[-6:])
        if steady or seconds >= plan.warmup_cap_s:
            return _Warm(float(np.median(blocks[-6:])), calls, steady)


def _slices(inputs: int, call_ns: float, plan: Plan) -> list[range]:
    """Equal slices that take every n-th input, as many inputs as the slower side can work through within the budget."""
    affordable = plan.budget_s * 1e9 / (plan.groups * 4 * call_ns)
    parts = min(plan.slices, inputs)
    length = max(1, min(inputs // parts, int(affordable)))
    return [range(part, part + parts * length, parts) for part in range(parts)]


def _timer(
    run: Run, slices: list[range], passes: int, clock: Clock, cpu_clock: Clock, one_thread: bool
) -> Callable[[int], _Block]:
    def block(part: int) -> _Block:
        indices = slices[part]
        cpu, wall = cpu_clock(), clock()
        for _ in range(passes):
            for index in indices:
                run(index)
        wall, cpu = clock() - wall, cpu_clock() - cpu
        calls = passes * len(indices)
        interrupted = one_thread and wall > _INTERRUPTED * cpu
        return _Block((cpu if interrupted else wall) / calls, cpu / calls, interrupted)

    return block


def _groups(
    timers: dict[str, Callable[[int], _Block]], slices: list[range], passes: int, seed: int, clock: Clock, plan: Plan
) -> list[_Group]:
    """Groups until the plan's count, its precision at the first look, or its budget is reached."""
    generator, start, groups = random.Random(seed), clock(), list[_Group]()
    while len(groups) < plan.groups:
        part = len(groups) % len(slices)
        order = "RCCR" if generator.random() < 0.5 else "CRRC"
        taken = [(letter, timers[letter](part)) for letter in order]
        first, second = (block for letter, block in taken if letter == "C")
        before, after = (block for letter, block in taken if letter == "R")
        groups.append(_Group(part, (first, second), (before, after), 2 * passes * len(slices[part])))
        spent = len(groups) >= plan.fewest_groups and (clock() - start) / 1e9 >= plan.budget_s
        if spent or (len(groups) == plan.first_look and _undisturbed(groups, plan)):
            break
    return groups


def _undisturbed(groups: list[_Group], plan: Plan) -> bool:
    """Whether ALL groups agree well enough to stop; the quiet ones alone may agree in a busy stretch, too."""
    return mean_interval([math.log(_score(group)) for group in groups])[1] <= plan.half_width


def _score(group: _Group) -> float:
    return sum(block.time_ns for block in group.candidate) / sum(block.time_ns for block in group.reference)


def _jitter(run: Run, call_ns: float, clock: Clock, plan: Plan) -> list[float]:
    """Milliseconds of single calls at input 0, as many as the plan's time allows."""
    times = []
    for _ in range(max(1, min(plan.jitter_calls, int(plan.jitter_s * 1e9 / call_ns)))):
        start = clock()
        run(0)
        times.append((clock() - start) / 1e6)
    return times


def _latency(groups: list[_Group], jitter: list[float], warmup_calls: int, steady: bool) -> Latency:
    slowness = np.log([[block.time_ns for block in group.candidate + group.reference] for group in groups]).mean(axis=1)
    mask = quiet(slowness, np.asarray([group.inputs for group in groups]), keep=max(4, round(len(groups) / 3)))
    kept = [group for group, keep in zip(groups, mask, strict=True) if keep]
    centre, half = trimmed_interval([math.log(_score(group)) for group in kept])
    return Latency(
        median_ms=_median([block.time_ns for group in kept for block in group.candidate]) / 1e6,
        p90_ms=percentile(jitter, 90),
        p95_ms=percentile(jitter, 95),
        p99_ms=percentile(jitter, 99),
        reference_median_ms=_median([block.time_ns for group in kept for block in group.reference]) / 1e6,
        ratio=math.exp(centre),
        ratio_low=math.exp(centre - half),
        ratio_high=math.exp(centre + half),
        ratio_samples=tuple(_score(group) for group in groups),
        blocks=2 * len(groups),
        calls=sum(group.calls for group in groups),
        batch_size=1,
        cpu_seconds=_median([block.cpu_ns for group in kept for block in group.candidate]) / 1e9,
        warmup_calls=warmup_calls,
        steady=steady,
        kept=tuple(bool(keep) for keep in mask),
        interrupted_blocks=sum(block.interrupted for group in groups for block in group.candidate),
    )


def _median(values: list[float]) -> float:
    return float(np.median(values))
