"""Intervals, drift, percentiles and the choice of undisturbed blocks."""

from __future__ import annotations

import numpy as np
import pytest

from hardware_targets._statistics import (
    CALLS_NEEDED,
    NEAR,
    T_THREE_LOOKS,
    drifts,
    jackknife,
    nearness,
    percentile,
    undisturbed,
)


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


def test_undisturbed_values_lie_near_the_fastest() -> None:
    values = np.asarray([1.0, 1.02, 1.05, 1.3, 1.5, 1.01])
    assert undisturbed(values).tolist() == [True, True, True, False, False, True]
    assert undisturbed(np.asarray([3.0])).tolist() == [True]


def test_a_single_lucky_value_does_not_make_the_others_disturbed() -> None:
    values = np.concatenate([[0.5], np.full(999, 1.0)])
    assert undisturbed(values).sum() == 1000


def test_the_jackknife_of_a_mean_is_the_known_one() -> None:
    values = np.arange(8.0)
    centre, half = jackknife(lambda keep: float(values[keep].mean()), 8, 8)
    assert centre == 3.5
    assert half == pytest.approx(T_THREE_LOOKS[8] * np.std(values, ddof=1) / 8**0.5)


def test_the_jackknife_sees_slow_changes() -> None:
    generator = np.random.default_rng(0)
    hits = 0
    for _ in range(300):
        slow = np.repeat(generator.normal(size=32), 10)  # neighbouring moments alike
        values = slow + 0.1 * generator.normal(size=320)
        centre, half = jackknife(lambda keep, values=values: float(values[keep].mean()), 320, 8)
        hits += abs(centre) <= half
    assert hits / 300 >= 0.95


def test_the_window_grows_with_the_machines_own_scatter_but_not_with_a_neighbour() -> None:
    generator = np.random.default_rng(0)
    quiet, noisy = (np.exp(sd * generator.standard_normal((200, 3))) for sd in (0.01, 0.03))
    assert nearness(quiet) == NEAR
    assert 1.12 < nearness(noisy) < 1.2
    busy = quiet * np.where(generator.random((200, 1)) < 0.8, 1.05 + generator.random((200, 1)), 1.0)
    assert nearness(busy) == NEAR
    assert nearness(noisy[:, :1]) == NEAR
