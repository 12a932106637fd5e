"""The closed form against brute force: volumes counted with and without the point, and draws of the error."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy.special import ndtri

from pipeline.pareto import hypervolume
from pipeline.search.improvement import expected_improvement

FLOOR = 0.1
# On a coarse lattice, so that equal figures, points beyond the corner and qualities below the floor all occur.
COST = some.integers(-1, 6).map(lambda step: step / 5)
QUALITY = some.integers(0, 9).map(lambda step: step / 10)


def volume(costs: np.ndarray, quality: np.ndarray) -> float:
    return hypervolume(np.column_stack([costs, -quality]), [*np.ones(costs.shape[1]), -FLOOR])


def points(columns: int) -> some.SearchStrategy[list[tuple[float, ...]]]:
    return some.lists(some.tuples(*[COST] * columns, QUALITY), max_size=9)


@pytest.mark.parametrize("columns", [1, 2, 3])
@given(data=some.data())
@settings(max_examples=60, deadline=None)
def test_a_known_error_adds_what_two_volumes_differ_by(columns: int, data: some.DataObject) -> None:
    front = np.array(data.draw(points(columns))).reshape(-1, columns + 1)
    new = np.array(data.draw(some.tuples(*[COST] * columns, QUALITY)))
    costs, quality = front[:, :-1], front[:, -1]
    mean = np.log(1 - new[-1:])
    found = expected_improvement(new[None, :-1], mean, np.zeros(1), costs, quality, np.ones(columns), FLOOR)
    after = volume(np.vstack([costs, new[:-1]]), np.append(quality, new[-1]))
    assert found[0] == pytest.approx(after - volume(costs, quality), abs=1e-12)


@given(front=points(2), place=some.tuples(COST, COST), mean=some.floats(-4, -0.1), deviation=some.floats(0.01, 1.5))
@settings(max_examples=25, deadline=None)
def test_an_uncertain_error_adds_the_mean_of_many_known_ones(
    front: list[tuple[float, ...]], place: tuple[float, float], mean: float, deviation: float
) -> None:
    known = np.array(front).reshape(-1, 3)
    costs, quality, corner = known[:, :2], known[:, 2], np.ones(2)
    # The middles of equally probable slices of the normal distribution: draws without their noise.
    draws = mean + deviation * ndtri((np.arange(4000) + 0.5) / 4000)
    many = expected_improvement(np.tile(place, (4000, 1)), draws, np.zeros(4000), costs, quality, corner, FLOOR)
    whole = expected_improvement(
        np.array([place]), np.array([mean]), np.array([deviation]), costs, quality, corner, FLOOR
    )
    assert whole[0] == pytest.approx(many.mean(), rel=2e-3, abs=1e-6)


def test_what_cannot_enter_the_front_adds_nothing() -> None:
    corner = np.ones(2)
    costs = np.array([[1.2, 0.1], [0.5, 0.5], [0.4, 0.4]])
    front = np.array([[0.45, 0.45]]), np.array([0.99])
    found = expected_improvement(costs, np.full(3, -1.0), np.full(3, 0.01), *front, corner, FLOOR)
    assert found[0] == 0 and found[1] == pytest.approx(0, abs=1e-12) and found[2] > 0


def test_doubt_is_worth_something() -> None:
    front = np.array([[0.2, 0.2]]), np.array([0.8])
    costs, mean = np.full((2, 2), 0.5), np.full(2, np.log(0.2))
    sure, unsure = expected_improvement(costs, mean, np.array([0.01, 0.5]), *front, np.ones(2), FLOOR)
    assert unsure > 10 * sure


def test_many_candidates_are_taken_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = np.random.default_rng(0)
    costs, mean, deviation = chance.random((50, 2)), chance.normal(-1, 0.3, 50), chance.random(50)
    front = chance.random((9, 2)), chance.random(9)
    whole = expected_improvement(costs, mean, deviation, *front, np.ones(2), FLOOR)
    monkeypatch.setattr("pipeline.search.improvement._MOST_TERMS", 100)
    assert np.array_equal(whole, expected_improvement(costs, mean, deviation, *front, np.ones(2), FLOOR))
