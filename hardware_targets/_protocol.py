"""How a candidate is timed against a reference. Pure: the two callables and both clocks are passed in.

The session is a row of rounds. In each round every set of inputs is worked on once by both sides, in random order: a
side first settles (its weights come back into the caches), then its blocks are timed, each some passes over the set.
Both sides see the same inputs and their blocks last equally long.

A neighbour on the same host only ever makes a block slower, in stretches of 10 ms to minutes, and it slows two models
by different factors; no mean over a session recovers the undisturbed ratio. So each side is given the time of its
undisturbed blocks: the median of those within 8 % of its fastest hundredth. Where nothing disturbs, these are nearly
all blocks, and their median is the median of all. Which blocks count is decided for each side by its own times, never
by the ratio. A neighbour may also stay for longer than a session: where the reference's undisturbed time is known from
before, a session that has not met it goes on, up to five times its budget. The 95 % interval comes from leaving out
each eighth of the session's undisturbed rounds in turn.

A model on one thread waits for nothing, so a block whose wall time exceeds its CPU time by more than 2 % was
interrupted by the scheduler; it counts with its CPU time, and such blocks are counted. On an idle machine there are
none. Percentiles of single calls are always of wall time.

Why so: `docs/log.md`, 2026-11-23. On 2 virtual cores whose host has other tenants, a 400 s record of a 0.06 ms student
and its 0.9 ms teacher, cut into sessions of 20 s, gave ratios with a standard deviation of 6.4 % by the median of all
blocks, 0.9 to 1.0 % by the undisturbed ones; in 10 s 7.4 % and 1.1 %.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hardware_targets._measurement import Latency
from hardware_targets._statistics import Z_THREE_LOOKS, drifts, jackknife, median_error, percentile, undisturbed

Run = Callable[[int], object]
Clock = Callable[[], int]  # nanoseconds
_Block = tuple[float, float, bool]  # nanoseconds per call that count, CPU nanoseconds per call, interrupted
Work = Sequence[tuple[int, int]]  # per row, how large the candidate's and the reference's input is

_INTERRUPTED = 1.02  # wall over CPU time from which a block counts as interrupted; undisturbed blocks stay below 1.002
_SEGMENTS = 8
MET = 1.06  # of the known undisturbed time: up to here a session has met it


@dataclass(frozen=True)
class Plan:
    """How long a session may take and when it is precise enough."""

    warmup_calls: int = 10
    warmup_s: float = 0.2  # at least, per side
    warmup_cap_s: float = 2.0  # at most, per side, unless the calls above take longer
    block_ms: float = 4.0  # at least
    settle_ms: float = 2.0  # and at least one call, unless a call is longer than this times ten
    burst_ms: float = 60.0  # blocks of one side in a row: up to three, not longer than this
    sets: int = 8
    set_size: int = 4
    long_call_ms: float = 10.0  # of the reference, from which a set is a single input
    budget_s: float = 12.0  # for the rounds
    looks: tuple[float, ...] = (0.25, 0.5, 1.0)  # of the budget: when the precision is looked at
    half_width: float = 0.0075  # of the log ratio
    reference_ms: float | None = None  # its fastest known undisturbed time; None: nothing is known
    patience: float = 5.0  # budgets that a session may take to meet that time again
    jitter_calls: int = 662
    jitter_s: float = 0.6


@dataclass(frozen=True)
class _Warm:
    call_ns: float
    calls: int
    steady: bool


@dataclass(frozen=True)
class _Side:
    """How one model is called: passes over a set per block, and whether all inputs are the same work for it."""

    run: Run
    passes: int
    settle_ns: float
    alike: bool


@dataclass(frozen=True)
class _Times:
    """Per call in nanoseconds, [rounds, sets, blocks]."""

    counted: np.ndarray
    cpu: np.ndarray
    interrupted: np.ndarray


def compare(
    run_candidate: Run,
    run_reference: Run,
    work: Work,
    *,
    seed: int,
    clock: Clock,
    cpu_clock: Clock,
    one_thread: bool,
    plan: Plan = Plan(),
) -> Latency:
    """Time two callables on the rows that `work` lists.

    `clock` is wall time and `cpu_clock` the CPU time of this process, both in nanoseconds; `one_thread` says that a
    call computes on one thread and waits for nothing, so that wall time without CPU time is time given to others.
    Milliseconds and CPU-seconds of the result are of the undisturbed blocks; percentiles are of single candidate calls
    at one input, taken afterwards.
    """
    candidate = _warm_up(run_candidate, len(work), clock, plan)
    reference = _warm_up(run_reference, len(work), clock, plan)
    slower = max(candidate.call_ns, reference.call_ns)
    sets = _sets(work, reference.call_ns, slower, plan)
    block_ns = max(plan.block_ms * 1e6, slower * len(sets[0]))
    rows = [row for part in sets for row in part]
    sides = [
        _Side(
            run,
            passes=max(1, round(block_ns / (warm.call_ns * len(sets[0])))),
            settle_ns=0.0 if warm.call_ns > plan.settle_ms * 1e7 else plan.settle_ms * 1e6,
            alike=len({work[row][place] for row in rows}) == 1,
        )
        for place, (run, warm) in enumerate(((run_candidate, candidate), (run_reference, reference)))
    ]
    timer = _timer(sets, _burst(block_ns, plan), clock, cpu_clock, one_thread)
    times = _rounds(sides, len(sets), timer, seed, clock, plan)
    jitter = _jitter(run_candidate, rows[0], candidate.call_ns, clock, plan)
    calls = times[0].counted.size * sides[0].passes * len(sets[0])
    return _latency(times, sides, jitter, calls, candidate.calls, candidate.steady and reference.steady)


def _warm_up(run: Run, inputs: int, clock: Clock, plan: Plan) -> _Warm:
    """Call until enough calls and time have passed and the last blocks no longer drift, or the cap is reached."""
    start, calls, blocks = clock(), 0, list[float]()
    while True:
        began, before = clock(), calls
        while calls == before or clock() - began < 2.5 * plan.block_ms * 1e6:
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


def _sets(work: Work, reference_ns: float, slower_ns: float, plan: Plan) -> list[list[int]]:
    """Rows in sets of equal size and, nearly, equal work: evenly over the rows as the reference's size orders them.

    How many rows there are follows from the reference's speed, so that all candidates of a study work on the same.
    Models too slow for all sets within the budget get half as many, or a quarter, or one.
    """
    size = plan.set_size if reference_ns <= plan.long_call_ms * 1e6 else 1
    size = max(1, min(size, len(work)))
    block_ns = max(plan.block_ms * 1e6, slower_ns * size)
    pair_s = 2 * (plan.settle_ms * 1e6 + _burst(block_ns, plan) * block_ns) / 1e9
    sets = max(1, min(plan.sets, len(work) // size))
    while sets > 1 and sets * _SEGMENTS * pair_s > plan.budget_s:
        sets //= 2
    order = sorted(range(len(work)), key=lambda row: (work[row][1], work[row][0]))
    places = np.linspace(0, len(order) - 1, sets * size).round().astype(int)
    chosen = [order[place] for place in places]
    turns = [list(range(sets)), list(range(sets))[::-1]]  # to and fro, so that no set gets the larger of each row
    dealt: list[list[int]] = [[] for _ in range(sets)]
    for place, row in enumerate(chosen):
        dealt[turns[place // sets % 2][place % sets]].append(row)
    return dealt


def _burst(block_ns: float, plan: Plan) -> int:
    return max(1, min(3, int(plan.burst_ms * 1e6 / block_ns + 0.5)))


def _timer(
    sets: list[list[int]], blocks: int, clock: Clock, cpu_clock: Clock, one_thread: bool
) -> Callable[[_Side, int], list[_Block]]:
    def block(side: _Side, rows: list[int]) -> _Block:
        run = side.run
        cpu, wall = cpu_clock(), clock()
        for _ in range(side.passes):
            for row in rows:
                run(row)
        wall, cpu = clock() - wall, cpu_clock() - cpu
        calls = side.passes * len(rows)
        interrupted = one_thread and wall > _INTERRUPTED * cpu
        return (cpu if interrupted else wall) / calls, cpu / calls, interrupted

    def burst(side: _Side, part: int) -> list[_Block]:
        rows, start, calls = sets[part], clock(), 0
        while side.settle_ns and (calls == 0 or clock() - start < side.settle_ns):
            side.run(rows[calls % len(rows)])
            calls += 1
        return [block(side, rows) for _ in range(blocks)]

    return burst


def _rounds(
    sides: Sequence[_Side],
    sets: int,
    timer: Callable[[_Side, int], list[_Block]],
    seed: int,
    clock: Clock,
    plan: Plan,
) -> tuple[_Times, _Times]:
    """Rounds until a look finds the ratio precise enough, or the budget is spent."""
    generator, start = random.Random(seed), clock()
    found: list[list[list[list[_Block]]]] = []  # [rounds][sides][sets][blocks]
    looks = list(plan.looks)
    unmet_s = 0.0  # how long the machine was slower than it is known to be: time that counts for nothing
    while True:
        taken: list[list[list[_Block]]] = [[[] for _ in range(sets)] for _ in sides]
        for part in generator.sample(range(sets), sets):
            for place in generator.sample((0, 1), 2):
                taken[place][part] = timer(sides[place], part)
        found.append(taken)
        spent = (clock() - start) / 1e9
        if len(found) < _SEGMENTS or spent < looks[0] * plan.budget_s:
            continue
        looks.pop(0)
        times = _times(found, 0), _times(found, 1)
        met = plan.reference_ms is None or _typical(times[1].counted, sides[1].alike) <= MET * plan.reference_ms * 1e6
        unmet_s = unmet_s if met else spent
        enough = spent - unmet_s >= plan.budget_s or _ratio(times, sides)[1] <= plan.half_width
        if (met and enough) or spent >= plan.patience * plan.budget_s:
            return times
        looks = looks or [spent / plan.budget_s + plan.looks[0]]


def _times(found: list[list[list[list[_Block]]]], side: int) -> _Times:
    array = np.asarray([taken[side] for taken in found], dtype=float)
    return _Times(array[..., 0], array[..., 1], array[..., 2].astype(bool))


def _ratio(times: tuple[_Times, _Times], sides: Sequence[_Side]) -> tuple[float, float]:
    """The log ratio and the half-width of its 95 % interval."""
    calm = _calm(times[1].counted, sides[1].alike)

    def statistic(keep: np.ndarray) -> float:
        candidate, reference = (
            _typical(side_times.counted[calm[keep]], side.alike) for side_times, side in zip(times, sides, strict=True)
        )
        return math.log(candidate / reference)

    centre, half = jackknife(statistic, len(calm), _SEGMENTS)
    errors = [
        median_error([pool[undisturbed(pool)] for pool in _pools(side_times.counted, side.alike)])
        for side_times, side in zip(times, sides, strict=True)
    ]
    # Eight stretches alone may agree by chance; blocks that scatter as they do never give a median better than this.
    return centre, max(half, Z_THREE_LOOKS * math.hypot(*errors))


def _calm(counted: np.ndarray, alike: bool) -> np.ndarray:
    """Rounds in which some block of the reference was undisturbed; all of them where these are too few to cut up."""
    masks = [undisturbed(pool) for pool in _pools(counted, alike)]
    shape = counted.shape if alike else (counted.shape[0], counted.shape[2])
    some = np.any([mask.reshape(shape[0], -1).any(axis=1) for mask in masks], axis=0)
    calm = np.flatnonzero(some)
    return calm if len(calm) >= _SEGMENTS else np.arange(len(counted))


def _typical(counted: np.ndarray, alike: bool) -> float:
    """Undisturbed nanoseconds of a call, averaged over the sets; [rounds, sets, blocks]."""
    return float(np.mean([np.median(pool[undisturbed(pool)]) for pool in _pools(counted, alike)]))


def _pools(values: np.ndarray, alike: bool) -> list[np.ndarray]:
    """Blocks that did the same work, and so may be compared with each other."""
    return [values.ravel()] if alike else [values[:, part].ravel() for part in range(values.shape[1])]


def _jitter(run: Run, row: int, call_ns: float, clock: Clock, plan: Plan) -> list[float]:
    """Milliseconds of single calls at one input, as many as the plan's time allows."""
    times = []
    for _ in range(max(1, min(plan.jitter_calls, int(plan.jitter_s * 1e9 / call_ns)))):
        start = clock()
        run(row)
        times.append((clock() - start) / 1e6)
    return times


def _latency(
    times: tuple[_Times, _Times],
    sides: Sequence[_Side],
    jitter: list[float],
    calls: int,
    warmup_calls: int,
    steady: bool,
) -> Latency:
    candidate, reference = times
    centre, half = _ratio(times, sides)
    pools = list(zip(_pools(candidate.counted, sides[0].alike), _pools(candidate.cpu, sides[0].alike), strict=True))
    cpu_ns = float(np.mean([np.median(cpu[undisturbed(counted)]) for counted, cpu in pools]))
    shares = [
        float(np.mean(np.concatenate([undisturbed(pool) for pool in _pools(side_times.counted, side.alike)])))
        for side_times, side in zip(times, sides, strict=True)
    ]
    segments = np.array_split(np.arange(len(candidate.counted)), _SEGMENTS)
    return Latency(
        median_ms=_typical(candidate.counted, sides[0].alike) / 1e6,
        p90_ms=percentile(jitter, 90),
        p95_ms=percentile(jitter, 95),
        p99_ms=percentile(jitter, 99),
        reference_median_ms=_typical(reference.counted, sides[1].alike) / 1e6,
        ratio=math.exp(centre),
        ratio_low=math.exp(centre - half),
        ratio_high=math.exp(centre + half),
        ratio_samples=tuple(float(candidate.counted[i].sum() / reference.counted[i].sum()) for i in segments),
        blocks=candidate.counted.size,
        calls=calls,
        batch_size=1,
        cpu_seconds=cpu_ns / 1e9,
        warmup_calls=warmup_calls,
        steady=steady,
        undisturbed_share=min(shares),
        interrupted_blocks=int(candidate.interrupted.sum()),
    )
