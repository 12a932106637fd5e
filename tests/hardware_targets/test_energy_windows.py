"""Windows on a device whose true power is known."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from energy_fakes import PowerDevice, SimulatedCounter, eio, off_by, reset_at

from hardware_targets import Energy, Unmeasured
from hardware_targets._energy_windows import EnergyResult, Qualification, _result, measure_energy, qualify
from hardware_targets._window import EnergyPlan, Watch, Window

PLAN = EnergyPlan(idle_s=5.0)


def session(
    device: PowerDevice,
    *,
    seed: int = 0,
    counter: SimulatedCounter | None = None,
    watch: Watch | None = None,
    idle_w: float | None = None,
    inputs: int = 4,
) -> EnergyResult | Unmeasured:
    counter = counter or SimulatedCounter(device)
    return measure_energy(
        device.candidate,
        device.reference,
        inputs,
        counter,
        counter.open(),
        seed=seed,
        clock=device.clock,
        period_s=counter.period_s,
        idle_w=idle_w,
        watch=watch,
        plan=PLAN,
    )


def whole(found: EnergyResult | Unmeasured) -> EnergyResult:
    assert isinstance(found, EnergyResult), found
    return found


def covers(found: EnergyResult, truth: float) -> bool:
    return abs(math.log(found.ratio / truth)) <= found.ratio_half


@pytest.mark.parametrize("noise", [0.005, 0.01, 0.02])
def test_the_interval_covers_the_true_ratio(noise: float) -> None:
    covered = 0
    for seed in range(150):
        device = PowerDevice(seed, noise=noise)
        covered += covers(whole(session(device, seed=seed)), device.truth)
    assert covered / 150 >= 0.93


def test_the_interval_covers_the_true_ratio_while_the_device_warms_up() -> None:
    covered, ratios = 0, []
    for seed in range(150):
        device = PowerDevice(seed, leak=lambda t: 1 + 0.05 * (1 - math.exp(-t / 40)))
        found = whole(session(device, seed=seed))
        covered += covers(found, device.truth)
        ratios.append(found.ratio / device.truth)
    assert covered / 150 >= 0.93
    assert np.mean(ratios) == pytest.approx(1, abs=0.003)


def test_the_interval_covers_the_true_joules() -> None:
    covered = 0
    for seed in range(150):
        device = PowerDevice(seed)
        found = whole(session(device, seed=seed))
        truth = device.joules("C")
        covered += (
            found.candidate_j / (1 + found.candidate_half) <= truth <= found.candidate_j * (1 + found.candidate_half)
        )
        assert found.candidate_j == pytest.approx(truth, rel=0.03)
    assert covered / 150 >= 0.93


def test_no_false_difference_and_a_true_one_is_found() -> None:
    alarms = found_it = 0
    for seed in range(100):
        same = whole(session(PowerDevice(seed, watts=(20, 20, 8), call_ms=(50, 50), noise=0.01), seed=seed))
        alarms += not covers(same, 1.0)
        better = whole(session(PowerDevice(seed, watts=(19.4, 20, 8), call_ms=(50, 50), noise=0.01), seed=seed))
        found_it += math.log(better.ratio) + better.ratio_half < 0
    assert alarms <= 7
    assert found_it >= 80  # a difference of 3 %


def test_a_linear_drift_cancels() -> None:
    for seed in range(5):
        device = PowerDevice(seed, noise=0.0, jitter=0.0, leak=lambda t: 1 + 0.002 * t)
        assert whole(session(device, seed=seed)).ratio == pytest.approx(device.truth, rel=2e-3)


def test_a_tick_of_100_ms_and_a_coarse_step_do_not_matter() -> None:
    for seed in range(10):
        device = PowerDevice(seed, noise=0.002, tick_s=0.1, lsb_j=0.001, range_j=None, call_ms=(3.0, 5.0))
        counter = SimulatedCounter(device, period_s=0.1, window_s=10.0)
        found = whole(session(device, seed=seed, counter=counter))
        assert found.ratio == pytest.approx(device.truth, rel=0.01)
        assert found.candidate_j == pytest.approx(device.joules("C"), rel=0.01)


def test_windows_begin_and_end_with_a_tick() -> None:
    """A tick of 100 ms in windows of 1 s: unaligned, every window would be off by up to 10 %."""
    for seed in range(5):
        device = PowerDevice(seed, noise=0.0, jitter=0.0, tick_s=0.1, range_j=None, call_ms=(3.0, 5.0))
        found = whole(session(device, seed=seed, counter=SimulatedCounter(device, period_s=0.1, window_s=1.0)))
        assert found.ratio == pytest.approx(device.truth, rel=4e-3)
        assert found.candidate_j == pytest.approx(device.joules("C"), rel=4e-3)


def test_a_sensor_that_lags_sees_one_model_only() -> None:
    for seed in range(5):
        device = PowerDevice(seed, noise=0.0, jitter=0.0, late_s=1.0, watts=(40.0, 20.0, 8.0))
        found = whole(session(device, seed=seed, counter=SimulatedCounter(device, lag_s=1.1)))
        assert found.ratio == pytest.approx(device.truth, rel=2e-3)


def test_a_wrap_leaves_the_joules_as_they_are() -> None:
    plain = whole(session(PowerDevice(3), seed=3))
    wrapped = whole(session(PowerDevice(3, start_j=262_143.0 - 700.0), seed=3))
    assert wrapped.voided == 0
    assert wrapped.candidate_j == pytest.approx(plain.candidate_j, rel=1e-5)
    assert wrapped.ratio == pytest.approx(plain.ratio, rel=1e-5)


@pytest.mark.parametrize("kind", [eio, lambda n: off_by(n, -500.0), lambda n: off_by(n, 1e6), reset_at])
def test_every_fault_voids_its_window_and_the_figure_stays_right(kind) -> None:
    for seed in range(25):
        reading = random.Random(seed).randint(3, 48)
        device = PowerDevice(seed, fault=kind(reading))
        found = whole(session(device, seed=seed))
        assert 1 <= found.voided <= 2 and device.readings >= reading
        assert found.windows > 12
        assert found.ratio == pytest.approx(device.truth, rel=0.05)


def test_a_clock_that_goes_back_voids() -> None:
    device = PowerDevice(1)
    calls = 0

    def clock() -> float:
        nonlocal calls
        calls += 1
        return device.now - (1e4 if calls > 1500 else 0.0)

    device.clock = clock  # type: ignore[method-assign]
    assert whole(session(device, seed=1)).voided >= 1


def test_too_many_void_windows_leave_no_figure() -> None:
    device = PowerDevice(0, fault=lambda n, raw: raw - 500.0 if n % 4 == 0 else raw)
    found = session(device)
    assert isinstance(found, Unmeasured)
    assert "windows of the meter simulated are void" in found.reason and "no wrap" in found.reason


def test_three_whole_quartets_do_not_save_a_session_of_which_a_third_is_void() -> None:
    told = iter(["other processes used 30% of the machine; stop them"] * 8)
    found = session(PowerDevice(0), watch=lambda: lambda: next(told, None))
    assert isinstance(found, Unmeasured) and "8 of 20 windows" in found.reason


def test_what_disturbs_a_window_voids_it() -> None:
    told = iter([None, "the hypervisor withheld 3.0% of the processor time; measure again when its host is quieter"])
    found = whole(session(PowerDevice(0), watch=lambda: lambda: next(told, None)))
    assert (found.voided, found.windows) == (1, 16)
    counter = SimulatedCounter(PowerDevice(0))
    energy = found.energy(counter)
    assert "1 of 16 windows void (the hypervisor withheld 3.0%" in energy.source and energy.voided == 1
    always = session(PowerDevice(0), watch=lambda: lambda: "the processor held its clocks down; cool it")
    assert isinstance(always, Unmeasured) and "20 of 20" in always.reason and "held its clocks down" in always.reason


def test_a_figure_is_gross_with_net_beside_it() -> None:
    device = PowerDevice(0, noise=0.001)
    counter = SimulatedCounter(device)
    energy = whole(session(device, idle_w=8.0, counter=counter)).energy(counter)
    assert energy.mj == pytest.approx(22 * 30, rel=0.01)
    assert energy.net_mj == pytest.approx((22 - 8) * 30, rel=0.01)
    assert energy.ratio == pytest.approx(0.66, rel=0.01)
    assert energy.ratio_low is not None and energy.ratio_high is not None
    assert energy.ratio_low < 0.66 < energy.ratio_high
    assert Energy.from_json(energy.to_json()) == energy
    assert whole(session(PowerDevice(0), idle_w=99.0)).net_j is None  # idle above load is no figure
    assert whole(session(PowerDevice(0))).net_j is None


def test_the_order_comes_from_the_seed_and_windows_are_whole_passes() -> None:
    def order(seed: int) -> list[str]:
        device, heard = PowerDevice(0), list[str]()
        candidate, reference = device.candidate, device.reference
        device.candidate = lambda row: (heard.append("C"), candidate(row))[1]  # type: ignore[method-assign,assignment]
        device.reference = lambda row: (heard.append("R"), reference(row))[1]  # type: ignore[method-assign,assignment]
        session(device, seed=seed)
        return [side for place, side in enumerate(heard) if place == 0 or heard[place - 1] != side]

    assert order(1) == order(1)
    assert len({tuple(order(seed)) for seed in range(8)}) > 1


def test_inputs_of_different_sizes_are_seen_by_both_sides_alike() -> None:
    class Mixed(PowerDevice):
        def candidate(self, row: int) -> None:
            for _ in range(1 + 3 * row):
                self._work("C")

        def reference(self, row: int) -> None:
            for _ in range(1 + 3 * row):
                self._work("R")

    device = Mixed(0, noise=0.001, jitter=0.0)
    found = whole(session(device, inputs=8))
    assert found.ratio == pytest.approx(device.truth, rel=3e-3)
    assert found.candidate_j == pytest.approx(device.joules("C") * np.mean([1 + 3 * row for row in range(8)]), rel=0.01)


def test_qualification_finds_tick_idle_and_load() -> None:
    device = PowerDevice(0, tick_s=0.1, range_j=None)
    counter = SimulatedCounter(device, period_s=0.02, window_s=2.0)
    shown = qualify(
        device.reference, 4, counter, counter.open(), clock=device.clock, wait=device.wait, plan=EnergyPlan(idle_s=5.0)
    )
    assert isinstance(shown, Qualification)
    assert shown.period_s == pytest.approx(0.1, rel=0.05)
    assert shown.idle_w == pytest.approx(8, rel=0.03) and shown.load_w == pytest.approx(20, rel=0.03)


@pytest.mark.parametrize(
    ("device", "said"),
    [
        (PowerDevice(0, watts=(8, 8, 8), noise=0.03), "does not respond to this device: 8"),
        (PowerDevice(0, dead=True), "stood still"),
        (PowerDevice(0, fault=eio(40)), "failed while it was tried: /sys/energy_uj cannot be read"),
    ],
)
def test_a_counter_that_does_not_answer_to_the_device_is_refused(device: PowerDevice, said: str) -> None:
    counter = SimulatedCounter(device)
    shown = qualify(device.reference, 4, counter, counter.open(), clock=device.clock, wait=device.wait, plan=PLAN)
    assert isinstance(shown, Unmeasured) and said in shown.reason


def test_a_session_ends_within_the_time_it_is_given() -> None:
    device = PowerDevice(0)
    counter = SimulatedCounter(device)
    start = device.now
    qualify(device.reference, 4, counter, counter.open(), clock=device.clock, wait=device.wait, plan=PLAN)
    qualified = device.now
    session(device, watch=lambda: lambda: "disturbed; measure again")  # every attempt is used up
    assert device.now - start <= 1.1 * PLAN.seconds(counter, qualified=False)
    assert device.now - qualified <= 1.1 * PLAN.seconds(counter, qualified=True)


def test_least_squares_by_hand() -> None:
    """A level for each quartet, one slope, one contrast: numpy's least squares gives the same contrast and error."""
    generator = np.random.default_rng(0)
    quartets, rows, values = [], [], []
    for place, order in enumerate(("RCCR", "CRRC", "RCCR")):
        quartet = []
        for at, side in enumerate(order):
            log = 0.3 * place + 0.1 * at + (0.2 if side == "C" else 0.0) + 0.01 * generator.standard_normal()
            quartet.append(Window(side, math.exp(log), 1.0))
            row = np.zeros(5)
            row[0], row[1 + place], row[4] = side == "C", 1, at
            rows.append(row)
            values.append(log)
        quartets.append(quartet)
    solution, rest, *_ = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)
    found = _result(quartets, 12, [], None, 0.0)
    assert math.log(found.ratio) == pytest.approx(solution[0])
    error = math.sqrt(rest[0] / 7 * np.linalg.inv(np.array(rows).T @ np.array(rows))[0, 0])
    assert found.ratio_half == pytest.approx(2.365 * error)
