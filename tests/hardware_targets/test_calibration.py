"""Fitting watts to metered rows: the truth is found, odd rows do no harm, bands hold families that were not seen."""

from __future__ import annotations

import math
from dataclasses import replace

import metered_rows
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware_targets import TargetError
from hardware_targets._calibration import BY_RATE, BY_TIME, band_of, calibrate, fit, left_out, order_right, validate


def test_one_number_per_precision_is_found_where_that_is_the_truth() -> None:
    curve = fit(metered_rows.rows(noise=0.0, rate_power=0.0), BY_TIME)
    assert curve.watts == pytest.approx({"fp32": 20.0, "int8": 16.0})
    assert all(slope == pytest.approx(0.0, abs=1e-9) for slopes in curve.exponents.values() for slope in slopes)


def test_the_rate_is_what_makes_the_error_small() -> None:
    rows = metered_rows.rows(noise=0.01, per_family=30)
    by_rate, by_time = validate(rows, BY_RATE), validate(rows, BY_TIME)
    assert by_rate.median < 0.03 < by_time.median


def test_odd_rows_move_little() -> None:
    rows = metered_rows.rows(noise=0.01, rate_power=0.0)
    odd = [replace(row, energy_mj=row.energy_mj * 3) if index % 10 == 0 else row for index, row in enumerate(rows)]
    assert fit(odd, BY_TIME).watts["fp32"] == pytest.approx(20.0, rel=0.05)


def test_three_precisions_and_few_rows_of_one() -> None:
    rows = metered_rows.rows(noise=0.01, watts=(("fp32", 20.0), ("int8", 16.0), ("fp16", 12.0)))
    few = [row for index, row in enumerate(rows) if row.precision != "fp16" or index % 4 == 0]
    curve = fit(few, BY_RATE)
    told = {name: curve.energy_mj(name, 10.0, 150.0) / 10.0 for name in curve.watts}  # at the rate 15
    assert told == pytest.approx({"fp32": 20.0, "int8": 16.0, "fp16": 12.0}, rel=0.03)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.01, 100), st.integers(0, 99))
def test_scaling_the_joules_scales_the_watts_and_nothing_else(factor: float, seed: int) -> None:
    rows = metered_rows.rows(per_family=4, seed=seed)
    plain, scaled = (
        fit(group, BY_RATE) for group in (rows, [replace(row, energy_mj=row.energy_mj * factor) for row in rows])
    )
    for name, watts in plain.watts.items():
        assert scaled.watts[name] == pytest.approx(watts * factor, rel=1e-6)
        assert scaled.exponents[name] == pytest.approx(plain.exponents[name], abs=1e-6)


def test_a_row_is_predicted_without_its_own_family() -> None:
    rows = metered_rows.rows(noise=0.0, rate_power=0.0)
    doubled = [replace(row, energy_mj=row.energy_mj * 2) if row.family == "alpha" else row for row in rows]
    errors = left_out(doubled, BY_TIME)
    alone = np.array([row.family == "alpha" for row in doubled])
    assert errors[alone] == pytest.approx(-math.log(2), abs=0.01)


def test_nested_bands_hold_families_that_were_not_seen() -> None:
    inside = [validate(metered_rows.rows(noise=0.08, seed=seed), BY_RATE).inside for seed in range(25)]
    held = np.concatenate([flags for flags in inside if flags is not None])
    assert len(inside) == 25
    assert 0.88 <= held.mean() <= 0.97


def test_two_families_give_a_band_that_nothing_tested() -> None:
    assert validate(metered_rows.rows(families=("alpha", "beta")), BY_RATE).inside is None


def test_a_band_takes_ten_rows() -> None:
    assert band_of(np.full(9, 0.1)) is None
    assert band_of(np.array([0.1] * 9 + [np.nan])) is None
    assert band_of(np.linspace(-0.1, 0.1, 100)) == pytest.approx(math.exp(0.1), rel=0.02)


def test_order_of_twins() -> None:
    rows = metered_rows.rows(noise=0.0, per_family=1, families=("alpha", "beta"))
    assert order_right(rows, np.zeros(len(rows))) == (2, 2)
    turned = np.array([-9.0 if row.energy_mj > other.energy_mj else 9.0 for row, other in _with_twins(rows)])
    assert order_right(rows, turned) == (0, 2)
    assert order_right(rows, np.full(len(rows), np.nan)) == (0, 0)
    assert order_right([replace(row, model=None) for row in rows], np.zeros(len(rows))) == (0, 0)


def test_calibrate_keeps_what_the_figures_came_from() -> None:
    rows = metered_rows.rows() + metered_rows.rows(runtime="other", threads=None, macs=False, seed=1)
    model = calibrate(rows, device="board", boundary="wall", source="a test", date="2026-01-01")
    assert [(item.runtime, item.threads, item.rows) for item in model.models] == [
        ("onnxruntime", 1, 96),
        ("other", None, 96),
    ]
    first, second = model.models
    assert [curve.terms for curve in first.curves] == [BY_RATE, BY_TIME]
    assert [curve.terms for curve in second.curves] == [BY_TIME]
    assert first.families == tuple(sorted(metered_rows.FAMILIES))
    times = [row.latency_ms for row in rows if row.precision == "int8" and row.runtime == "onnxruntime"]
    assert first.latency_ms["int8"] == (min(times), max(times))
    assert 1 < first.curves[0].band < first.curves[1].band
    assert (first.curves[0].covered or 0) > 0.8


@pytest.mark.parametrize(
    ("rows", "boundary", "words"),
    [
        ([], "wall", "has no rows"),
        (metered_rows.rows(families=("alpha",)), "wall", "all rows are of family 'alpha'"),
        (metered_rows.rows(per_family=2, families=("alpha", "beta")), "wall", "too few for a 90 % band"),
        (metered_rows.rows(), " ", "--boundary"),
        (
            [row for row in metered_rows.rows() if row.precision == "fp32" or row.family == "alpha"],
            "wall",
            "all int8 rows are of one family",
        ),
    ],
)
def test_what_cannot_be_validated_is_refused(rows: list[metered_rows.Row], boundary: str, words: str) -> None:
    with pytest.raises(TargetError, match=words):
        calibrate(rows, device="board", boundary=boundary, source="a test")


def _with_twins(rows: list[metered_rows.Row]) -> list[tuple[metered_rows.Row, metered_rows.Row]]:
    return [
        (row, next(other for other in rows if other.model == row.model and other.precision != row.precision))
        for row in rows
    ]
