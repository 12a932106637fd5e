"""Intervals, drift, percentiles and the choice of quiet moments."""

from __future__ import annotations

import numpy as np
import pytest

from hardware_targets._statistics import CALLS_NEEDED, drifts, mean_interval, percentile, quiet, trimmed_interval


def test_mean_interval_of_a_known_case() -> None:
    centre, half = mean_interval([1.0, 2.0, 3.0])  # sd 1, t(2) = 6.205
    assert centre == 2.0
    assert half == pytest.approx(6.205 / 3**0.5)


@pytest.mark.parametrize("count", [4, 11, 21, 64])
def test_trimmed_interval_covers(count: int) -> None:
    generator = np.random.default_rng(count)
    hits = 0
    for _ in range(600):
        centre, half = trimmed_interval(list(generator.normal(size=count)))
        hits += abs(centre) <= half
    assert 0.945 <= hits / 600 <= 0.995


def test_a_burst_does_not_move_the_trimmed_mean() -> None:
    values = [1.0 + 0.001 * step for step in range(20)]
    calm, _ = trimmed_interval(values)
    struck, _ = trimmed_interval([*values[:-1], 50.0])
    assert struck == pytest.approx(calm, abs=1e-9)


@pytest.mark.parametrize(("percent", "needed"), CALLS_NEEDED.items())
def test_percentiles_need_their_counts(percent: int, needed: int) -> None:
    assert percentile(list(range(needed - 1)), percent) is None
    assert percentile(list(range(needed)), percent) is not None


def test_percentiles_are_order_statistics() -> None:
    values = [float(value) for value in np.random.default_rng(0).permutation(1000) + 1]
    assert [percentile(values, percent) for percent in (50, 90, 95, 99)] == [500, 900, 950, 990]


def test_drift() -> None:
    assert drifts([6.0, 5.0, 4.1, 3.0, 2.0, 1.0])
    assert not drifts([1.0, 1.1, 0.9, 0.9, 1.1, 1.0])
    assert not drifts([1.0] * 6)


def test_quiet_groups_lie_between_quiet_neighbours() -> None:
    slowness = np.asarray([0.0, 0.0, 0.0, 0.3, 0.3, 0.3, 0.0, 0.0, 0.0])
    mask = quiet(slowness, np.zeros(9, dtype=int), keep=4)
    assert list(np.flatnonzero(mask)) == [0, 1, 7, 8]


def test_longer_inputs_are_not_mistaken_for_a_busy_machine() -> None:
    slices = np.arange(16) % 2
    slowness = np.where(slices == 1, 5.0, 0.0)  # slice 1 holds long inputs
    slowness[:8] += 0.5
    assert list(np.flatnonzero(quiet(slowness, slices, keep=7))) == list(range(9, 16))


def test_a_group_has_no_say_in_its_own_choice() -> None:
    generator = np.random.default_rng(1)
    slowness = generator.normal(size=12)
    struck = slowness.copy()
    struck[6] = 9.0
    slices = np.arange(12)  # all different: nothing is compared, all are 0
    assert np.array_equal(quiet(slowness, slices, 4), quiet(struck, slices, 4))
    flat = np.zeros(12)
    flat[6] = 9.0
    mask = quiet(flat, np.zeros(12, dtype=int), 10)
    assert mask[6] and not mask[5] and not mask[7]
