from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records_helper import TEACHER, make_record, make_search

from pipeline.pareto import (
    contenders,
    contributions,
    dominates,
    domination,
    efficient,
    front,
    front_hypervolume,
    hypervolume,
    knee,
    on_front,
)
from pipeline.record import TrialRecord

TWO = ("accuracy", "latency_p50_ms")
THREE = ("accuracy", "latency_p50_ms", "energy_mj")


def test_dominates_follows_each_metrics_own_direction() -> None:
    better, worse = make_record(1, 0.9, 5.0), make_record(2, 0.8, 5.0)
    assert dominates(better, worse, TWO) and not dominates(worse, better, TWO)
    assert not dominates(better, better, TWO)
    assert not dominates(make_record(1, 0.9, 5.0), make_record(2, 0.8, 4.0), TWO)
    assert dominates(make_record(1, 0.8, 4.0), make_record(2, 0.8, 5.0), ("accuracy", "speedup"))


def test_a_missing_figure_keeps_a_record_off_the_front() -> None:
    whole, lacking = make_record(1, 0.5, 50.0), make_record(2, 0.99, 1.0, kind=None)
    assert on_front([whole, lacking], THREE) == {1}
    assert dominates(whole, lacking, THREE) and not dominates(lacking, whole, THREE)
    assert on_front([whole, lacking], TWO) == {2}
    not_a_number = make_record(3, 0.99, 1.0, metrics={"accuracy": float("nan")})
    assert on_front([whole, not_a_number], TWO) == {1}


def test_an_unreliable_record_stays_off_the_front_unless_there_is_no_other() -> None:
    good, bad = make_record(1, 0.8, 5.0), make_record(2, 0.9, 4.0)
    bad = bad.with_(measurement={**(bad.measurement or {}), "latency": {"unreliable": True}})
    assert on_front([good, bad], TWO) == {1}
    assert on_front([bad], TWO) == on_front([bad, make_record(3, None, 1.0)], TWO) == {2}


def test_generic_energy_ranks_within_one_precision_and_not_across() -> None:
    # Same quality and latency order reversed against energy: only energy would keep `b` on the front.
    a = make_record(1, 0.9, 5.0, energy=50, scheme="none")
    b_same = make_record(2, 0.89, 5.5, energy=10, scheme="none")
    b_other = make_record(3, 0.89, 5.5, energy=10, scheme="static_int8")
    assert not dominates(a, b_same, THREE)
    assert dominates(a, b_other, THREE)
    measured = make_record(4, 0.89, 5.5, energy=10, scheme="static_int8", kind="measured")
    metered = make_record(5, 0.9, 5.0, energy=50, scheme="none", kind="measured")
    assert not dominates(metered, measured, THREE)


def test_energy_of_another_kind_or_boundary_is_not_compared() -> None:
    a = make_record(1, 0.9, 5.0, energy=50, kind="measured", boundary="package")
    for kind, boundary in (("measured", "wall"), ("modelled-calibrated", "package")):
        b = make_record(2, 0.89, 5.5, energy=10, kind=kind, boundary=boundary)
        assert dominates(a, b, THREE)


def test_one_objective_left_over_decides_nothing() -> None:
    pair = ("accuracy", "energy_mj")
    a, b = make_record(1, 0.9, energy=50, scheme="none"), make_record(2, 0.8, energy=10, scheme="fp16")
    assert not dominates(a, b, pair) and not dominates(b, a, pair)
    assert on_front([a, b], pair) == {1, 2}
    assert on_front([a, make_record(3, 0.8, energy=60, scheme="none")], pair) == {1}


def test_front_takes_complete_and_feasible_records_once_and_orders_by_latency() -> None:
    records = [
        make_record(5, 0.9, 5.0),
        make_record(1, 0.7, 1.0),
        make_record(7, 0.9, 5.0),
        make_record(2, 0.99, 1.0, end="failed"),
        make_record(3, 0.99, 1.0, end="duplicate"),
        make_record(4, 0.99, 1.0, violations={"size_mb": 0.2}),
        make_record(6, 0.95, 9.0, violations={"size_mb": -0.2}),
    ]
    assert [record.number for record in front(records, TWO)] == [1, 5, 6]
    assert front([], TWO) == []


def test_equal_points_of_several_kinds_do_not_remove_each_other() -> None:
    rows = [(0, 1, 2, "fp16", "measured"), (0, 1, 1, "fp16", "modelled-generic"), (0, 1, 1, "fp16", "measured")]
    assert on_front(_records(rows), THREE) == {1, 2}


records_strategy = st.lists(
    st.tuples(
        st.integers(0, 4), st.integers(1, 5), st.integers(1, 4), st.sampled_from(["none", "fp16"]),
        st.sampled_from(["modelled-generic", "measured"]),
    ),
    max_size=14,
)  # fmt: skip


def _records(rows: list[tuple[int, int, int, str, str]]) -> list[TrialRecord]:
    return [
        make_record(number, 0.9 + quality / 100, float(latency), float(energy), scheme=scheme, kind=kind)
        for number, (quality, latency, energy, scheme, kind) in enumerate(rows)
    ]


@settings(max_examples=120, deadline=None)
@given(records_strategy, st.sampled_from([TWO, THREE, ("accuracy", "energy_mj")]))
def test_front_is_what_nothing_dominates(
    rows: list[tuple[int, int, int, str, str]], objectives: tuple[str, ...]
) -> None:
    records = _records(rows)
    found = on_front(records, objectives)
    for record in records:
        beaten = any(dominates(other, record, objectives) for other in records)
        assert not (beaten and record.number in found)
        if not beaten and record.number not in found:  # then an equal one with a lower number stands for it
            twins = [o for o in records if o.number < record.number and not dominates(record, o, objectives)]
            assert any(o.metrics["accuracy"] == record.metrics["accuracy"] for o in twins)
    assert bool(found) == bool(records)


@settings(max_examples=40, deadline=None)
@given(records_strategy, st.sampled_from([TWO, THREE, ("accuracy", "energy_mj")]))
def test_domination_is_dominates_for_all_pairs(
    rows: list[tuple[int, int, int, str, str]], objectives: tuple[str, ...]
) -> None:
    records = [*_records(rows), make_record(99, None, 1.0)]
    found = domination(records, objectives)
    for (i, a), (j, b) in itertools.product(enumerate(records), repeat=2):
        assert found[i, j] == dominates(a, b, objectives)


@settings(max_examples=60, deadline=None)
@given(records_strategy, st.randoms())
def test_front_does_not_depend_on_the_order_of_records(rows: list[tuple[int, int, int, str, str]], random) -> None:  # type: ignore[no-untyped-def]
    records = _records(rows)
    expected = on_front(records, THREE)
    random.shuffle(records)
    assert on_front(records, THREE) == expected


@settings(max_examples=120, deadline=None)
@given(records_strategy, st.sampled_from([TWO, THREE, ("accuracy", "energy_mj")]), st.data())
def test_contenders_stand_for_all_whatever_comes(
    rows: list[tuple[int, int, int, str, str]], objectives: tuple[str, ...], data: st.DataObject
) -> None:
    disturbed = {"latency": {"unreliable": True}}
    records = [
        record.with_(measurement={**(record.measurement or {}), **disturbed}) if data.draw(st.booleans()) else record
        for record in [*_records(rows), make_record(99, None, 1.0), make_record(98, end="failed")]
    ]
    cut = data.draw(st.integers(0, len(records)))
    few = contenders(records[:cut], objectives)
    assert front([*few, *records[cut:]], objectives) == front(records, objectives)
    assert contenders([*few, *records[cut:]], objectives) == contenders(records, objectives)


def test_ten_thousand_records_in_two_seconds() -> None:
    random = np.random.default_rng(0)
    angles = random.uniform(0.01, 1.5, 10_000)  # every point on an arc: the whole set is the front
    records = [
        make_record(n, float(np.sin(a)), float(np.exp(3 * np.sin(a))), float(np.exp(3 * np.cos(a))), intervals=False)
        for n, a in enumerate(angles)
    ]
    begin = time.process_time()
    found = front(records, THREE)
    assert time.process_time() - begin < 2.0
    assert len(found) == 10_000


def _inclusion_exclusion(points: np.ndarray, reference: np.ndarray) -> float:
    total = 0.0
    for size in range(1, len(points) + 1):
        for group in itertools.combinations(points, size):
            total -= (-1) ** size * np.prod(np.maximum(reference - np.max(group, axis=0), 0))
    return total


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 4), st.data())
def test_hypervolume_is_exact(dimensions: int, data: st.DataObject) -> None:
    coordinate = st.integers(0, 12).map(lambda value: value / 8)
    points = np.array(data.draw(st.lists(st.tuples(*[coordinate] * dimensions), min_size=1, max_size=7)))
    reference = np.ones(dimensions)
    assert hypervolume(points, reference) == pytest.approx(_inclusion_exclusion(points, reference), abs=1e-12)


@pytest.mark.parametrize("dimensions", [2, 3, 4])
def test_hypervolume_agrees_with_darts_thrown_at_it(dimensions: int) -> None:
    random = np.random.default_rng(dimensions)
    points = random.random((40, dimensions))
    darts = random.random((20_000, dimensions))
    hit = np.zeros(len(darts), dtype=bool)
    for point in points:
        hit |= (darts >= point).all(axis=1)
    assert hypervolume(points, np.ones(dimensions)) == pytest.approx(hit.mean(), abs=0.015)


def test_hypervolume_of_nothing_and_of_points_outside_is_zero() -> None:
    assert hypervolume(np.zeros((0, 2)), [1, 1]) == 0.0
    assert hypervolume([[1.0, 0.0], [2.0, -3.0]], [1, 1]) == 0.0


def test_front_volume_counts_doublings_of_the_teachers_cost_and_the_share_of_its_quality() -> None:
    teacher, chance = {"accuracy": 0.9, "latency_p50_ms": 20.0}, {"accuracy": 0.1}
    half = make_record(1, 0.5, 5.0)  # half the way from chance, two doublings
    assert front_hypervolume([half], TWO, teacher, chance) == pytest.approx(0.5 * 2)
    assert front_hypervolume([half, make_record(2, 0.9, 10.0)], TWO, teacher, chance) == pytest.approx(0.5 * 2 + 0.5)
    assert front_hypervolume([make_record(3, 0.95, 25.0)], TWO, teacher, chance) == 0.0  # slower than the teacher
    assert front_hypervolume([make_record(4, 0.05, 1.0)], TWO, teacher, chance) == 0.0  # worse than chance
    assert front_hypervolume([], TWO, teacher, chance) == 0.0


def test_front_volume_uses_energy_only_where_it_may_be_ranked() -> None:
    chance = {"accuracy": 0.1}
    generic, metered = make_record(1, 0.95, 5.0, energy=45), make_record(1, 0.95, 5.0, energy=45, kind="measured")
    assert front_hypervolume([generic], THREE, TEACHER, chance) == pytest.approx(2)
    assert front_hypervolume([metered], THREE, TEACHER, chance) == pytest.approx(2 * 1)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 25)), min_size=1, max_size=8))
def test_a_contribution_is_what_the_volume_loses_without_the_record(cases: list[tuple[int, int]]) -> None:
    records = [make_record(place, skill / 10, float(latency)) for place, (skill, latency) in enumerate(cases)]
    chance, found = {"accuracy": 0.1}, contributions(records, TWO, TEACHER, {"accuracy": 0.1})
    whole = front_hypervolume(records, TWO, TEACHER, chance)
    for place in range(len(records)):
        others = [*records[:place], *records[place + 1 :]]
        assert found[place] == pytest.approx(whole - front_hypervolume(others, TWO, TEACHER, chance), abs=1e-9)


def test_front_volume_never_falls_as_trials_come_in() -> None:
    records = make_search(60)
    volumes = [front_hypervolume(records[:count], THREE, TEACHER, {"accuracy": 0.1}) for count in range(0, 61, 5)]
    assert volumes == sorted(volumes) and volumes[-1] > volumes[0]


def test_knee_is_the_point_that_bulges_most() -> None:
    # From 1 to 16 ms: the middle one has nearly the best quality at a quarter of the time.
    records = [
        make_record(1, 0.70, 1.0),
        make_record(2, 0.92, 4.0),
        make_record(3, 0.93, 8.0),
        make_record(4, 0.94, 16.0),
    ]
    assert knee(records, TWO).number == 2  # type: ignore[union-attr]
    assert knee(records, THREE).number == 2  # type: ignore[union-attr]
    metered = [r.with_(measurement={"energy": {"kind": "measured", "boundary": "wall"}}) for r in records]
    assert knee(metered, THREE).number == 2  # type: ignore[union-attr]


def test_knee_of_few_points() -> None:
    assert knee([], TWO) is None
    assert knee([make_record(1)], TWO).number == 1  # type: ignore[union-attr]
    two = [make_record(1, 0.7, 1.0), make_record(2, 0.9, 9.0)]
    assert knee(two, TWO) in two


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 3)] * 3), max_size=30))
def test_efficient_rows_are_those_that_no_other_row_covers(rows: list[tuple[int, int, int]]) -> None:
    costs = np.array(rows, dtype=float).reshape(-1, 3)
    covered = [
        any((b <= a).all() and ((b < a).any() or j < i) for j, b in enumerate(costs) if j != i)
        for i, a in enumerate(costs)
    ]
    assert efficient(costs).tolist() == [not each for each in covered]
