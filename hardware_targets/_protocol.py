"""How a candidate is timed against a reference. Pure: the callables, both clocks and the watch are passed in.

The session is a row of rounds. In each round every set of inputs is worked on once by all sides, in random order: a
side first settles (its weights come back into the caches), then its blocks are timed, each some passes over the set.
All sides see the same inputs and their blocks last equally long. In a final the candidate stands on a third side as
well, loaded a second time: the two must not differ by more than the session can tell. `_blocks` makes figures of it.

A model on one thread waits for nothing, so a block whose wall time exceeds its CPU time by more than 2 % was
interrupted by the scheduler; it counts with its CPU time, and such blocks are counted. On an idle machine there are
none. Percentiles of single calls are always of wall time.

Why so: `docs/log.md`, 2026-11-23. On 2 virtual cores whose host has other tenants, a 400 s record of a 0.06 ms student
and its 0.9 ms teacher, cut into sessions of 20 s, gave ratios with a standard deviation of 6.4 % by the median of all
blocks, 0.9 to 1.0 % by the undisturbed ones; in 10 s 7.4 % and 1.1 %.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from hardware_targets._blocks import REFERENCE, Record
from hardware_targets._plan import Plan, Shape, Work, burst, choose_sets
from hardware_targets._rounds import Block, Clock, Rounds, Run, Side
from hardware_targets._statistics import drifts
from hardware_targets._void import Watch

PLAN = Plan()
_INTERRUPTED = 1.02  # wall over CPU time from which a block counts as interrupted; undisturbed blocks stay below 1.002


@dataclass(frozen=True)
class _Warm:
    call_ns: float
    calls: int
    steady: bool


def compare(
    run_candidate: Run,
    run_reference: Run,
    work: Work,
    *,
    seed: int,
    clock: Clock,
    cpu_clock: Clock,
    one_thread: bool,
    plan: Plan = PLAN,
    run_twin: Run | None = None,
    watch: Watch | None = None,
    shape: Shape | None = None,
    known_ms: Mapping[int, float] | None = None,
) -> tuple[Record, Shape]:
    """Time callables on the rows that `work` lists; what was timed, and the shape for further processes.

    `clock` is wall time and `cpu_clock` the CPU time of this process, both in nanoseconds; `one_thread` says that a
    call computes on one thread and waits for nothing, so that wall time without CPU time is time given to others.
    `run_twin` is the candidate once more; `shape` is that of the process before, in a session of several; `known_ms`
    what the reference took before, by the number of inputs. Percentiles are of single candidate calls, the rows
    in turn, taken afterwards; nobody asks for them where the ratio is surely over what was asked.
    """
    runs = [run_candidate, run_reference, *([run_twin] if run_twin else [])]
    warm = [_warm_up(run, len(work), clock, plan) for run in runs]
    slower = max(side.call_ns for side in warm)
    sets = shape.sets if shape else choose_sets(work, warm[1].call_ns, slower, len(runs), plan)
    block_ns = max(plan.block_ms * 1e6, slower * len(sets[0]))
    shape = shape or Shape(sets, burst(block_ns, plan))
    rows = [row for part in sets for row in part]
    plan = replace(plan, reference_ms=(known_ms or {}).get(len(rows), plan.reference_ms))
    sides = [
        Side(
            run,
            passes=max(1, round(block_ns / (warmed.call_ns * len(sets[0])))),
            settle_ns=0.0 if warmed.call_ns > plan.settle_ms * 1e7 else plan.settle_ms * 1e6,
            alike=len({work[row][place == REFERENCE] for row in rows}) == 1,
        )
        for place, (run, warmed) in enumerate(zip(runs, warm, strict=True))
    ]
    timer = _timer(sets, shape.blocks, clock, cpu_clock, one_thread)
    rounds = Rounds(sides, len(sets), timer, seed, clock, plan, watch)
    rounds.run()
    times = rounds.times()
    record = Record(
        times,
        jitter_ms=() if rounds.surely_over else tuple(_jitter(run_candidate, rows, warm[0].call_ns, clock, plan)),
        calls=times[0].counted.size * sides[0].passes * len(sets[0]),
        warmup_calls=warm[0].calls,
        steady=all(side.steady for side in warm),
        rounds=len(rounds.found) + len(rounds.void),
        voided=len(rounds.void),
        reasons=dict(rounds.reasons),
    )
    return record, shape


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


def _timer(
    sets: list[list[int]], blocks: int, clock: Clock, cpu_clock: Clock, one_thread: bool
) -> Callable[[Side, int], list[Block]]:
    def block(side: Side, rows: list[int]) -> Block:
        run = side.run
        cpu, wall = cpu_clock(), clock()
        for _ in range(side.passes):
            for row in rows:
                run(row)
        wall, cpu = clock() - wall, cpu_clock() - cpu
        calls = side.passes * len(rows)
        interrupted = one_thread and wall > _INTERRUPTED * cpu
        return (cpu if interrupted else wall) / calls, cpu / calls, interrupted

    def burst(side: Side, part: int) -> list[Block]:
        rows, start, calls = sets[part], clock(), 0
        while side.settle_ns and (calls == 0 or clock() - start < side.settle_ns):
            side.run(rows[calls % len(rows)])
            calls += 1
        return [block(side, rows) for _ in range(blocks)]

    return burst


def _jitter(run: Run, rows: list[int], call_ns: float, clock: Clock, plan: Plan) -> list[float]:
    """Milliseconds of single calls, the rows in turn, as many as the plan's time allows."""
    times = []
    for call in range(max(1, min(plan.jitter_calls, int(plan.jitter_s * 1e9 / call_ns)))):
        start = clock()
        run(rows[call % len(rows)])
        times.append((clock() - start) / 1e6)
    return times
