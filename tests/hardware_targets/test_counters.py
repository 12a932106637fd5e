"""Properties of every counter: wraps, additivity, order, units, and zones that must never add."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware_targets._counters import MeterFault, PolledPower, StepCounter, Total, is_virtual, rapl_kind, text

STEPS = st.lists(st.floats(min_value=0, max_value=900), min_size=1, max_size=60)  # joules of one second each
quick = settings(deadline=None, max_examples=60)


class Script:
    """A counter that plays rows of (seconds, joules), and its clock."""

    def __init__(self, values: list[float], step_s: float = 1.0) -> None:
        self._values, self._step_s, self._place = values, step_s, -1

    def clock(self) -> float:
        return max(self._place, 0) * self._step_s

    def read(self) -> float:
        self._place += 1
        value = self._values[self._place]
        if value is None:
            raise MeterFault("/sys/energy_uj cannot be read (Input/output error); look into the kernel's log")
        return value


def counted(values: list[float], range_j: float | None = None, step_s: float = 1.0) -> list[float]:
    script = Script(values, step_s)
    counter = StepCounter("c", script.read, script.clock, period_s=0.5, range_j=range_j)
    return [counter.joules() for _ in values[1:]]


def sums(steps: list[float], start: float = 0.0) -> list[float]:
    return list(itertools.accumulate(steps, initial=start))


@quick
@given(STEPS, st.floats(min_value=0, max_value=99_999), st.floats(min_value=5_000, max_value=100_000))
def test_where_a_counter_wraps_changes_nothing(steps: list[float], start: float, range_j: float) -> None:
    wrapped = [value % range_j for value in sums(steps, start)]
    assert counted(wrapped, range_j) == pytest.approx(sums(steps)[1:], abs=1e-6)


@quick
@given(STEPS, st.data())
def test_adjacent_windows_add_up_however_often_they_are_read(steps: list[float], data: st.DataObject) -> None:
    values = sums(steps)
    kept = sorted({0, len(values) - 1, *data.draw(st.lists(st.integers(0, len(values) - 1)))})
    script = Script(values)
    every = StepCounter("c", script.read, script.clock, period_s=0.5)
    total = [every.joules() for _ in values[1:]][-1]

    place = 0

    def now() -> float:
        return float(kept[min(place, len(kept) - 1)])

    def read() -> float:
        nonlocal place
        value = values[kept[place]]
        place += 1
        return value

    some = StepCounter("c", read, now, period_s=0.5, most_watts=2000)
    parts = [0.0, *(some.joules() for _ in kept[1:])]
    assert parts[-1] == pytest.approx(total, abs=1e-6)
    assert parts == sorted(parts)


@quick
@given(STEPS)
def test_it_never_goes_down_and_units_scale(steps: list[float]) -> None:
    once = counted(sums(steps))
    assert once == sorted(once) and once[0] >= 0
    half = counted([value / 2 for value in sums(steps)])
    assert half == pytest.approx([value / 2 for value in once])


def test_a_sum_wraps_each_counter_by_itself() -> None:
    scripts = Script([90.0, 95.0, 3.0]), Script([10.0, 12.0, 14.0])
    total = Total(
        [StepCounter("c", script.read, script.clock, period_s=0.01, range_j=100.0, most_watts=20) for script in scripts]
    )
    assert [total.joules(), total.joules()] == pytest.approx([7.0, 17.0])
    assert total.poll_s == pytest.approx(100 / 20 / 4)
    total.close()


@pytest.mark.parametrize(
    ("values", "range_j", "said"),
    [
        ([100.0, 50.0], None, "went back by 50 J, which is no wrap"),
        ([100_000.0, 50_000.0], 262_143.0, "went back by 5e"),
        ([100.0, 9_000.0], 262_143.0, "more than the 1000 W"),
        ([100.0, None], 262_143.0, "Input/output error"),
        ([2.0**64 / 1e6, 5.0], 262_143.0, "went back by"),
        ([5.0, 2.0**64 / 1e6], 262_143.0, "more than the 1000 W"),
    ],
)
def test_what_is_no_reading_is_a_fault_and_the_next_one_counts_again(
    values: list[float], range_j: float | None, said: str
) -> None:
    last = values[-1] or 100.0
    script = Script([*values, last + 30.0])
    counter = StepCounter("c", script.read, script.clock, period_s=0.001, range_j=range_j)
    with pytest.raises(MeterFault, match=said):
        counter.joules()
    assert counter.joules() == pytest.approx(30.0)


def test_a_long_silence_may_hide_a_wrap() -> None:
    with pytest.raises(MeterFault, match="may have gone round more than once"):
        counted([0.0, 10.0], range_j=262_143.0, step_s=300.0)
    assert counted([0.0, 10.0], range_j=None, step_s=300.0) == [10.0]


def test_a_clock_that_goes_back_is_a_fault() -> None:
    moments = iter([0.0, 10.0, 10.0, 3.0, 3.0])
    values = iter([1.0, 2.0, 3.0])
    counter = StepCounter("c", lambda: next(values), lambda: next(moments), period_s=0.001)
    counter.joules()
    with pytest.raises(MeterFault, match="the clock went back by 7 s"):
        counter.joules()


def test_the_wall_clock_is_nobodys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Setting the time of day leaves joules unchanged: nothing asks for it."""

    def asked() -> float:
        raise AssertionError("the time of day was asked for")

    monkeypatch.setattr(time, "time", asked)
    values = itertools.count(0.0, 1e-6)
    counter = StepCounter("c", lambda: next(values), time.monotonic, period_s=0.001)
    assert counter.joules() == pytest.approx(1e-6)
    power = PolledPower("p", lambda: 5.0, time.monotonic, interval_s=0.1, most_watts=10, background=False)
    assert power.joules() >= 0


# ---- power that is added up ------------------------------------------------------------------------------------------


@quick
@given(st.lists(st.floats(min_value=0, max_value=100), min_size=2, max_size=50))
def test_power_is_added_up_by_trapezoids(watts: list[float]) -> None:
    samples, seconds = iter(watts), itertools.count()
    power = PolledPower(
        "p", lambda: next(samples), lambda: next(seconds) * 0.1, interval_s=0.1, most_watts=100, background=False
    )
    found = [power.joules() for _ in watts[1:]]
    expected = sums([0.1 * (first + last) / 2 for first, last in itertools.pairwise(watts)])[1:]
    assert found == pytest.approx(expected)
    assert power.poll_s == 0.1


def test_gaps_and_nonsense_of_a_power_sensor_are_faults() -> None:
    now, watts = [0.0], [5.0]
    power = PolledPower("the sensor", lambda: watts[0], lambda: now[0], interval_s=0.1, most_watts=60, background=False)
    now[0] = 2.0
    with pytest.raises(MeterFault, match=r"the sensor was not read for 2 s, but must be every 0\.1 s"):
        power.joules()
    for value in (-1.0, 61.0, float("nan")):
        now[0], watts[0] = now[0] + 0.1, value
        with pytest.raises(MeterFault, match="cannot draw"):
            power.joules()
    now[0], watts[0] = now[0] + 0.1, 5.0
    power.joules()
    now[0] -= 1.0
    with pytest.raises(MeterFault, match="clock went back"):
        power.joules()


def test_a_thread_reads_a_sensor_and_tells_what_went_wrong() -> None:
    asked = itertools.count()
    power = PolledPower("p", lambda: 40.0 + 0 * next(asked), time.monotonic, interval_s=0.01, most_watts=60)
    start = time.monotonic()
    first = power.joules()
    time.sleep(0.3)
    joules, seconds = power.joules() - first, time.monotonic() - start
    assert next(asked) >= 5  # though nobody asked meanwhile
    assert joules == pytest.approx(40 * seconds, rel=0.1)
    assert power.poll_s == 60.0
    power.close()

    fails = iter([1.0, 1.0])
    broken = PolledPower("p", lambda: next(fails, -1.0), time.monotonic, interval_s=0.01, most_watts=60)
    time.sleep(0.3)
    broken.close()
    with pytest.raises(MeterFault, match="cannot draw"):
        broken.joules()


def test_the_processor_is_read_from_its_own_file(tmp_path: Path) -> None:
    assert not is_virtual(tmp_path, text)
    assert rapl_kind(tmp_path, text) == "measured-vendor-model"  # of an unknown chip nobody knows better
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(
        "vendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 60\nflags\t: hypervisor\n"
    )
    assert is_virtual(tmp_path, text) and rapl_kind(tmp_path, text) == "measured"
