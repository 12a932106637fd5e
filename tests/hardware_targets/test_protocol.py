"""The measuring protocol on a simulated clock with known truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from fakes import SimulatedDevice

from hardware_targets import Latency
from hardware_targets._protocol import Plan, compare

TRUE = 1.2


def session(device: SimulatedDevice, *, inputs: int = 16, seed: int = 0, one_thread: bool = True) -> Latency:
    return compare(
        device.candidate,
        device.reference,
        inputs,
        seed=seed,
        clock=device.clock,
        cpu_clock=device.cpu_clock,
        one_thread=one_thread,
    )


@pytest.mark.parametrize("noise", [(0.01, 0.01), (0.02, 0.02), (0.02, 0.005), (0.005, 0.02)])
def test_the_interval_covers_the_truth(noise: tuple[float, float]) -> None:
    found = [session(SimulatedDevice(seed, noise=noise), seed=seed) for seed in range(300)]
    covered = sum(latency.ratio_low <= TRUE <= latency.ratio_high for latency in found) / len(found)
    assert covered >= 0.93
    assert np.mean([latency.ratio for latency in found]) == pytest.approx(TRUE, rel=0.002)


def test_linear_drift_cancels() -> None:
    ratios = [session(SimulatedDevice(seed, noise=(0.001, 0.001), drift=0.02), seed=seed).ratio for seed in range(20)]
    assert np.mean(ratios) == pytest.approx(TRUE, rel=0.001)


def test_single_bursts_do_not_move_the_ratio() -> None:
    def stolen(now_s: float) -> tuple[float, float]:
        return (3.0, 3.0) if math.floor(now_s * 50) % 37 == 0 else (1.0, 1.0)

    for seed in range(10):
        assert session(SimulatedDevice(seed, disturb=stolen), seed=seed).ratio == pytest.approx(TRUE, rel=0.015)


def test_a_neighbour_that_slows_the_sides_differently_is_left_out() -> None:
    def neighbour(now_s: float) -> tuple[float, float]:
        return (1.3, 1.18) if now_s % 2 < 1 else (1.0, 1.0)

    for seed in range(10):
        latency = session(SimulatedDevice(seed, disturb=neighbour), seed=seed)
        assert latency.ratio == pytest.approx(TRUE, rel=0.01)
        plain = math.exp(np.mean(np.log(latency.ratio_samples)))
        assert plain > TRUE * 1.025  # the mean of all groups, which this protocol does not use, is off
        assert latency.median_ms == pytest.approx(12.0, rel=0.02)


def test_time_given_to_others_is_not_the_models() -> None:
    for seed in range(10):
        device = SimulatedDevice(seed, candidate_ms=0.14, reference_ms=1.7, noise=(0.02, 0.02), preempted=(0.2, 4.2))
        latency = session(device, seed=seed)
        assert latency.ratio == pytest.approx(0.14 / 1.7, rel=0.015)
        assert latency.interrupted_blocks > latency.blocks / 4
        assert latency.p99_ms is not None and latency.p99_ms > 4  # single calls keep what really passed
    calm = session(SimulatedDevice(0))
    assert calm.interrupted_blocks == 0


def test_more_threads_are_timed_by_the_wall_alone() -> None:
    device = SimulatedDevice(0, candidate_ms=0.14, reference_ms=1.7, preempted=(0.2, 4.2))
    latency = session(device, one_thread=False)
    assert latency.interrupted_blocks == 0
    assert latency.median_ms > 0.14 * 1.2


def test_it_stops_early_when_nothing_disturbs_and_only_then() -> None:
    assert len(session(SimulatedDevice(0, noise=(0.003, 0.003))).ratio_samples) == Plan().first_look
    assert len(session(SimulatedDevice(0, noise=(0.05, 0.05))).ratio_samples) > Plan().first_look


@pytest.mark.parametrize(("candidate_ms", "reference_ms"), [(0.05, 0.05), (0.1, 2.0), (5.0, 5.0), (0.6, 0.1)])
def test_fast_models_take_a_few_seconds(candidate_ms: float, reference_ms: float) -> None:
    device = SimulatedDevice(0, candidate_ms=candidate_ms, reference_ms=reference_ms, noise=(0.04, 0.04))
    latency = session(device, inputs=200)
    assert device.now_ns / 1e9 < 6.5
    assert latency.ratio == pytest.approx(candidate_ms / reference_ms, rel=0.02)


def test_slow_models_keep_the_fewest_groups() -> None:
    device = SimulatedDevice(0, candidate_ms=100.0, reference_ms=2000.0)
    latency = session(device, inputs=200)
    assert len(latency.ratio_samples) == Plan().fewest_groups
    assert latency.ratio == pytest.approx(0.05, rel=0.02)


def test_both_sides_see_the_same_inputs() -> None:
    device = SimulatedDevice(0, candidate_ms=0.5, reference_ms=2.0)
    session(device, inputs=200)
    rows = {side: {row for heard, row in device.heard if heard == side} for side in "CR"}
    warm = {"C": set(range(200)), "R": set(range(200))}
    assert rows["C"] <= warm["C"] and rows["R"] <= warm["R"]
    tail = device.heard[next(i for i in range(len(device.heard)) if device.heard[i][0] == "R") :]
    blocks = {side: {row for heard, row in tail if heard == side} for side in "CR"}
    assert len(blocks["C"]) >= 8
    assert blocks["C"] <= blocks["R"]


def test_the_order_comes_from_the_seed() -> None:
    def order(seed: int) -> list[str]:
        device = SimulatedDevice(0, noise=(0.0, 0.0))
        session(device, seed=seed)
        return [side for side, _ in device.heard]

    assert order(1) == order(1)
    assert order(1) != order(2)


def test_warm_up_waits_for_a_cold_start_and_says_when_it_never_ends() -> None:
    def cold(now_s: float) -> tuple[float, float]:
        return (1 + max(0.0, 1.5 - now_s), 1.0)

    started = session(SimulatedDevice(0, noise=(0.002, 0.002), disturb=cold))
    assert started.steady and started.ratio == pytest.approx(TRUE, rel=0.01)
    ever = session(SimulatedDevice(0, noise=(0.0, 0.0), drift=0.3))
    assert not ever.steady


def test_counts_and_percentiles() -> None:
    few = session(SimulatedDevice(0, candidate_ms=50.0, reference_ms=50.0))
    assert (few.p90_ms, few.p95_ms, few.p99_ms) == (None, None, None)
    many = session(SimulatedDevice(0, candidate_ms=0.5, reference_ms=0.5))
    assert many.p90_ms is not None and many.p99_ms is not None
    assert many.median_ms < many.p90_ms < many.p99_ms
    assert many.blocks == 2 * len(many.ratio_samples) == 2 * len(many.kept)
    assert many.warmup_calls >= 10
    assert many.cpu_seconds == pytest.approx(many.median_ms / 1000, rel=1e-6)


def test_the_ratio_is_made_of_the_kept_groups() -> None:
    latency = session(SimulatedDevice(3, noise=(0.03, 0.03)))
    kept = [math.log(ratio) for ratio, keep in zip(latency.ratio_samples, latency.kept, strict=True) if keep]
    assert len(kept) == round(len(latency.kept) / 3)
    cut = int(0.2 * len(kept))
    assert latency.ratio == pytest.approx(math.exp(np.mean(sorted(kept)[cut : len(kept) - cut])))


@pytest.mark.parametrize("inputs", [1, 3, 200])
def test_any_number_of_inputs(inputs: int) -> None:
    assert session(SimulatedDevice(0, noise=(0.002, 0.002)), inputs=inputs).ratio == pytest.approx(TRUE, rel=0.01)
