"""What the surrogate believes: calibrated where its form holds and where it does not, honest with little to go by."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from pipeline.search.surrogate import Near, believe

Truth = Callable[[np.ndarray], np.ndarray]
TRUTHS: dict[str, Truth] = {
    "linear": lambda rows: rows @ np.array([1.0, -0.5, 0.2, 0.0]),
    "bent": lambda rows: np.exp(-rows[:, 0]) + 0.3 * rows[:, 1] * rows[:, 2],
    "stepped": lambda rows: (rows[:, 0] > 0) * 1.0 + 0.2 * rows[:, 3],
}


def tried(truth: Truth, count: int, noise: float, seed: int) -> tuple[np.ndarray, float]:
    """Distances of 200 unknown values in believed deviations, and the root mean square error."""
    chance = np.random.default_rng(seed)
    rows, known = chance.uniform(-1, 1, (200, 4)), chance.uniform(-1, 1, (count, 4))
    figures = truth(known) + noise * chance.standard_normal(count)
    belief = believe(rows, known, figures, centre=0.0, scale=1.0)
    off = truth(rows) - belief.mean
    return off / belief.deviation, float(np.sqrt(np.mean(np.square(off))))


@pytest.mark.parametrize("count", [4, 10, 30])
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_nineteen_of_twenty_values_are_within_two_deviations(count: int, noise: float) -> None:
    runs = [tried(truth, count, noise, seed)[0] for truth in TRUTHS.values() for seed in range(8)]
    assert 0.88 < np.mean(np.abs(np.concatenate(runs)) < 1.96) <= 1.0


@pytest.mark.parametrize("name", TRUTHS)
def test_more_trials_teach_more(name: str) -> None:
    few, many = (np.mean([tried(TRUTHS[name], count, 0.0, seed)[1] for seed in range(5)]) for count in (5, 40))
    assert many < 0.7 * few


def test_nothing_known_is_the_expectation() -> None:
    belief = believe(np.zeros((3, 2)), np.zeros((0, 2)), np.zeros(0), centre=-1.0, scale=0.25)
    assert belief.mean == pytest.approx(-1.0) and 0.1 < belief.deviation[0] < 0.4


def test_what_was_tried_is_nearly_sure() -> None:
    known = np.random.default_rng(0).uniform(-1, 1, (12, 3))
    figures = known @ np.array([1.0, -0.5, 0.2])
    belief = believe(np.vstack([known, known + 3]), known, figures, centre=0.0, scale=1.0)
    assert 4 * belief.deviation[:12].max() < belief.deviation[12:].min()


def test_the_unit_of_a_figure_changes_nothing() -> None:
    chance = np.random.default_rng(1)
    rows, known, figures = chance.random((5, 2)), chance.random((8, 2)), chance.random(8)
    one = believe(rows, known, figures, centre=0.5, scale=0.3)
    thousand = believe(rows, known, 1000 * figures, centre=500.0, scale=300.0)
    assert thousand.mean == pytest.approx(1000 * one.mean) and thousand.deviation == pytest.approx(1000 * one.deviation)


def test_one_neighbourhood_serves_several_figures_and_parts_of_what_was_observed() -> None:
    chance = np.random.default_rng(2)
    rows, known, which = chance.random((5, 2)), chance.random((9, 2)), np.arange(9) % 3 > 0
    near = Near.of(rows, known)
    for figures in chance.random((2, 9)):
        whole = believe(rows, known, figures, centre=0.5, scale=0.3)
        part = believe(rows, known[which], figures[which], centre=0.5, scale=0.3)
        assert near.believe(figures, centre=0.5, scale=0.3).deviation == pytest.approx(whole.deviation)
        assert near.expect(figures, centre=0.5, scale=0.3) == pytest.approx(whole.mean)
        assert near.among(which).expect(figures[which], centre=0.5, scale=0.3) == pytest.approx(part.mean)
