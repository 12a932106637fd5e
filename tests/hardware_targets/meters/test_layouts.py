"""Every layout gives the right joules or the right sentence, and none counts twice."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import INTEL, LAYOUTS, Layout, Machine, uj, zone

from hardware_targets._counters import MeterFault
from hardware_targets._parts import build
from hardware_targets._roles import Counter


def meter_of(machine: Machine) -> Counter:
    """The layout's meter on that machine; perf events count 80 W and 8 W in units of 2^-32 J."""
    options: dict[str, Any] = {"root": machine.root, "clock": machine.clock, "read": machine.read}
    if machine.layout.meter == "rapl":
        options["wait"] = machine.wait
    elif machine.layout.meter == "perf_power":

        def open_event(kind: int, configuration: int, cpu: int):
            assert (kind, cpu in (0, 16)) == (9, True)
            watts = {2: 80.0, 3: 8.0}[configuration]
            return (lambda: int(watts * machine.now * 2**32)), (lambda: None)

        options["open_event"] = open_event
    else:
        options["background"] = False
    counter: Counter = build("meter", machine.layout.meter, **options)
    return counter


def joules(machine: Machine, counter: Counter, seconds: float) -> float:
    """Counted over some seconds, read ten times a second."""
    reader = counter.open()
    start, first = machine.now, reader.joules()
    while machine.now < start + seconds:
        machine.wait(0.1)
        last = reader.joules()
    reader.close()
    return (last - first) / (machine.now - start)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_layout(layout: Layout, tmp_path: Path) -> None:
    machine = Machine(layout, tmp_path)
    counter = meter_of(machine)
    if layout.refuses is not None:
        reason = counter.unavailable()
        assert reason is not None and layout.refuses in reason
        with pytest.raises(MeterFault):
            counter.open()
        return
    assert counter.unavailable() is None
    assert (counter.boundary, counter.kind) == (layout.boundary, layout.kind)
    assert joules(machine, counter, 10.0) == pytest.approx(layout.watts, rel=1e-3)
    assert counter.source()


def test_there_are_enough_layouts() -> None:
    assert len({layout.name for layout in LAYOUTS}) == len(LAYOUTS) >= 15


@settings(deadline=None, max_examples=25)
@given(st.sets(st.sampled_from(["core", "uncore", "psys", "mmio", "mirror", "nested"])))
def test_children_twins_and_mirrors_never_raise_the_total(extras: set[str]) -> None:
    known = {
        "core": ("intel-rapl:0:0", "core", 20e6),
        "uncore": ("intel-rapl:0:1", "uncore", 3e6),
        "psys": ("intel-rapl:9", "psys", 70e6),
        "mmio": ("intel-rapl-mmio:0", "package-0", 49e6),
        "mirror": ("intel-rapl:1", "package-0-die-1", 50e6),
        "nested": ("intel-rapl/intel-rapl:0", "package-0", 50e6),
    }
    files, rates = {"proc/cpuinfo": INTEL, **zone("intel-rapl:0", "package-0")}, {uj("intel-rapl:0"): 50e6}
    for extra in extras:
        place, name, rate = known[extra]
        files |= zone(place, name)
        rates[uj(place)] = rate
    with tempfile.TemporaryDirectory() as folder:
        machine = Machine(Layout("made", "rapl", files, rates), Path(folder))
        meter = meter_of(machine)
        assert joules(machine, meter, 2.0) == pytest.approx(50.0, rel=1e-3)
        assert meter.boundary == "package"
