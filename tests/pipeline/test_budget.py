from __future__ import annotations

import json
import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records_helper import make_record

from pipeline import budget
from pipeline.metrics import METRICS


def test_violations_are_relative_and_know_floors_from_ceilings() -> None:
    found = budget.violations({"latency_p50_ms": 5, "accuracy": 0.9, "speedup": 4}, {
        "latency_p50_ms": 5.8, "accuracy": 0.81, "speedup": 8,
    })  # fmt: skip
    assert found == pytest.approx({"latency_p50_ms": 0.16, "accuracy": 0.1, "speedup": -1.0})
    assert not budget.fits({"latency_p50_ms": 5}, {"latency_p50_ms": 5.8})
    assert budget.fits({"latency_p50_ms": 5}, {"latency_p50_ms": 5})
    assert budget.fits({}, {})


@pytest.mark.parametrize("metrics", [{}, {"energy_mj": math.nan}, {"energy_mj": math.inf}])
def test_a_figure_that_is_not_there_fits_nothing_and_survives_json(metrics: dict[str, float]) -> None:
    found = budget.violations({"energy_mj": 20}, metrics)
    assert found == {"energy_mj": budget.MISSING}
    assert json.loads(json.dumps(found, allow_nan=False)) == found


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(METRICS)), st.floats(0.01, 1e4), st.floats(0.001, 1e4))
def test_fits_means_on_the_good_side_of_the_limit(name: str, limit: float, value: float) -> None:
    good = value >= limit if METRICS[name].maximize else value <= limit
    assert budget.fits({name: limit}, {name: value}) == good


def test_nearest_sorts_by_the_worst_miss_and_leaves_out_what_fits_or_did_not_end_well() -> None:
    records = [
        make_record(1, latency=9.0, energy=19),
        make_record(2, latency=5.5, energy=40),
        make_record(3, latency=5.8, energy=18),
        make_record(4, latency=4.0, energy=10),
        make_record(5, latency=5.1, energy=18, end="failed"),
    ]
    misses = budget.nearest(records, {"latency_p50_ms": 5, "energy_mj": 20})
    assert [miss.record.number for miss in misses] == [3, 1, 2]
    assert misses[0].worst == pytest.approx(0.16)


def test_the_sentence_names_limits_misses_figures_and_the_remedy() -> None:
    record = make_record(37, accuracy=0.912, metrics={"latency_p95_ms": 5.8}, energy=18)
    said = budget.nearest_sentence([record], {"latency_p95_ms": 5, "energy_mj": 20}, "accuracy")
    assert said == (
        "no model fits latency_p95_ms <= 5 and energy_mj <= 20. "
        "Nearest: trial 37, 5.8 ms (16 % over), 18 mJ modelled-generic, accuracy 0.9120. "
        "To take trial 37, loosen to latency_p95_ms 5.8; or give the search more trials"
    )


def test_the_sentence_speaks_of_floors_of_missing_figures_and_of_no_trial_at_all() -> None:
    low = budget.nearest_sentence([make_record(2, accuracy=0.8)], {"accuracy": 0.9})
    assert "accuracy >= 0.9" in low and "accuracy 0.8000 (11 % under)" in low and "loosen to accuracy 0.8;" in low
    lacking = budget.nearest_sentence([make_record(2, kind=None)], {"energy_mj": 9})
    assert "trial 2, no energy_mj" in lacking and "drop the limit on energy_mj" in lacking
    assert "no trial is complete yet. Give" in budget.nearest_sentence([], {"size_mb": 1})
    refused = [make_record(number, end="refused").with_(reason="too slow") for number in (1, 2)]
    failed = make_record(3, end="failed").with_(reason="a NaN")
    said = budget.nearest_sentence([*refused, failed], {"size_mb": 1})
    assert "no trial is complete yet (2 refused, 1 failed; e.g. too slow)" in said


def test_a_huge_excess_has_a_figure_all_the_same() -> None:
    limits, metrics = {"size_mb": 1e-12}, {"size_mb": 20.0}
    assert budget.violations(limits, metrics)["size_mb"] < budget.MISSING
    assert "has no figure" not in budget.sentence(limits, metrics) and "20 MB" in budget.sentence(limits, metrics)


@settings(max_examples=60, deadline=None)
@given(st.floats(0.003, 5000), st.sampled_from(["latency_p50_ms", "speedup"]))
def test_the_limit_that_the_sentence_names_lets_the_nearest_in(value: float, name: str) -> None:
    limit = value * (2 if METRICS[name].maximize else 0.5)
    record = make_record(1, metrics={name: value})
    said = budget.nearest_sentence([record], {name: limit})
    loosened = float(re.search(rf"loosen to {name} ([0-9.e+-]+);", said).group(1))  # type: ignore[union-attr]
    assert budget.fits({name: loosened}, record.metrics)
    assert loosened == pytest.approx(value, rel=0.011)


def test_sentence_lists_what_is_over_for_a_refused_trial() -> None:
    limits, metrics = {"latency_p50_ms": 5.0, "size_mb": 2.0}, {"latency_p50_ms": 5.8, "size_mb": 1.0}
    assert budget.sentence(limits, metrics) == "latency_p50_ms 5.8 ms (16 % over 5)"
    assert budget.sentence(limits, metrics, {"size_mb": -0.5, "latency_p50_ms": 0.16}).startswith("size_mb 1 MB")
    assert budget.sentence({"energy_mj": 3}, {}) == "energy_mj has no figure"


def test_alias_is_what_mlflow_allows_whatever_the_order() -> None:
    limits = {"energy_mj": 20, "latency_p50_ms": 5.5, "accuracy": 0.9}
    assert budget.budget_alias(limits) == "accuracy-0p9--latency_p50_ms-5p5--energy_mj-20"
    assert budget.budget_alias(dict(reversed(limits.items()))) == budget.budget_alias(limits)
    assert budget.budget_alias({}, knee=True) == "knee"
    assert budget.budget_alias({}) == "unlimited"
    many = dict.fromkeys(METRICS, 0.123456789)
    assert len(budget.budget_alias(many)) <= 200
    assert budget.budget_alias(many) != budget.budget_alias({**many, "parameters_m": 7})


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(METRICS)), st.floats(1e-9, 1e12), max_size=4), st.booleans())
def test_no_budget_gives_an_alias_that_mlflow_refuses(limits: dict[str, float], knee: bool) -> None:
    alias = budget.budget_alias(limits, knee)
    assert re.fullmatch(r"[A-Za-z0-9_-]+", alias)
    assert alias != "latest" and not re.fullmatch(r"[vV]\d+", alias)


@settings(max_examples=60, deadline=None)
@given(st.floats(1e-9, 1e12), st.floats(1e-9, 1e12))
def test_different_limits_give_different_aliases(a: float, b: float) -> None:
    same = budget.budget_alias({"size_mb": a}) == budget.budget_alias({"size_mb": b})
    assert same == (a == b)
