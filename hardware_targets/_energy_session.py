"""A real counter in the measuring process: opened, tried out once per target, read while both models run, closed."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from hardware_targets._conditions import read_conditions, snapshot
from hardware_targets._counters import MeterFault
from hardware_targets._doubts import disturbance
from hardware_targets._energy_windows import EnergyResult, Qualification, measure_energy, qualify
from hardware_targets._measurement import Energy, Unmeasured
from hardware_targets._roles import Counter
from hardware_targets._void import throttled
from hardware_targets._window import EnergyPlan, Run

_PASS_SHARE = 0.25  # of a window that one pass of the reference over its inputs may take


def energy_session(
    counter: Counter,
    candidate: Run,
    reference: Run,
    rows: int,
    *,
    seed: int,
    qualified: Mapping[str, Any] | None,
    plan: EnergyPlan | None = None,
) -> dict[str, Any]:
    """JSON of `energy` (as in a Measurement) and `qualified`, which the next session with this counter may be given."""
    found: Energy | Unmeasured
    plan = plan or EnergyPlan()
    try:
        reader = counter.open()
    except MeterFault as fault:
        return {"energy": {"unmeasured": str(fault)}, "qualified": qualified}
    collecting = gc.isenabled()
    gc.disable()
    try:
        chosen = _inputs(reference, rows, counter.window_s)
        ours, theirs = _on(candidate, chosen), _on(reference, chosen)
        shown: Qualification | Unmeasured
        if qualified is None:
            shown = qualify(theirs, len(chosen), counter, reader, clock=time.perf_counter, wait=time.sleep, plan=plan)
        else:
            shown = Qualification(**qualified)
        if isinstance(shown, Unmeasured):
            return {"energy": {"unmeasured": shown.reason}, "qualified": None}
        result = measure_energy(
            ours,
            theirs,
            len(chosen),
            counter,
            reader,
            seed=seed,
            clock=time.perf_counter,
            period_s=shown.period_s,
            idle_w=shown.idle_w,
            watch=lambda: _watch(counter),
            plan=plan,
        )
        found = result.energy(counter) if isinstance(result, EnergyResult) else result
    finally:
        reader.close()
        if collecting:
            gc.enable()
    told = {"unmeasured": found.reason} if isinstance(found, Unmeasured) else found.to_json()
    return {"energy": told, "qualified": asdict(shown)}


def _watch(counter: Counter) -> Callable[[], str | None]:
    """From now on: what took processor time, held clocks down, or changed the supply while a window was open."""
    before, slowed = snapshot(), throttled()
    supply = read_conditions(runtime="", runtime_version="", threads=1).on_ac
    own: Callable[[], str | None] = getattr(counter, "watch", lambda: lambda: None)()  # nvml watches its GPU as well

    def ended() -> str | None:
        now = read_conditions(runtime="", runtime_version="", threads=1, before=before, after=snapshot())
        after = throttled()
        heat = after - slowed if after is not None and slowed is not None else 0
        return disturbance(now, throttled=heat, supply_changed=now.on_ac != supply) or own()

    return ended


def _inputs(reference: Run, rows: int, window_s: float) -> list[int]:
    """Evenly spaced rows, as many (a power of two) as the reference passes over in a quarter of a window."""
    start, calls = time.perf_counter(), 0
    while calls == 0 or (calls < 8 and time.perf_counter() - start < 1.0):
        reference(calls % rows)
        calls += 1
    each = (time.perf_counter() - start) / calls
    count = 1
    while 2 * count <= rows and 2 * count * each <= _PASS_SHARE * window_s:
        count *= 2
    return [int(place) for place in np.linspace(0, rows - 1, count).round()]


def _on(run: Run, chosen: list[int]) -> Run:
    return lambda place: run(chosen[place])
