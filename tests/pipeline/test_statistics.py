from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import f1_score

from pipeline.statistics import mcnemar_exact, paired_bootstrap, retention_low, tell_apart, wilson


def test_wilson_matches_the_worked_example_and_stays_inside_0_to_1() -> None:
    low, high = wilson(81, 263)  # R. G. Newcombe, Statistics in Medicine 17 (1998), table I, method 3
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(0, 10)[0] == 0.0 and wilson(0, 10)[1] == pytest.approx(0.2775, abs=1e-4)
    assert wilson(10, 10)[1] == 1.0


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 5000), st.floats(0, 1))
def test_wilson_holds_the_share_and_narrows_with_rows(n: int, share: float) -> None:
    right = round(share * n)
    low, high = wilson(right, n)
    assert 0 <= low <= right / n <= high <= 1
    wider = wilson(right, n, alpha=0.01)
    assert wider[0] <= low and high <= wider[1]
    four_times = wilson(4 * right, 4 * n)
    assert four_times[1] - four_times[0] < high - low


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 30))
def test_mcnemar_is_the_binomial_test_on_the_rows_that_disagree(only_a: int, only_b: int, both: int) -> None:
    a = np.array([True] * only_a + [False] * only_b + [True] * both)
    b = np.array([False] * only_a + [True] * only_b + [True] * both)
    expected = binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    assert mcnemar_exact(a, b) == pytest.approx(expected)
    assert mcnemar_exact(a, b) == mcnemar_exact(b, a)


def test_mcnemar_does_not_overflow_where_thousands_of_rows_disagree() -> None:
    a = np.arange(20_000) % 2 == 0
    assert mcnemar_exact(a, ~a) == 1.0
    assert mcnemar_exact(np.ones(20_000, bool), np.zeros(20_000, bool)) == 0.0


def test_pairs_must_be_of_the_same_rows() -> None:
    with pytest.raises(ValueError, match="not the same rows"):
        mcnemar_exact(np.ones(3, bool), np.ones(4, bool))
    with pytest.raises(ValueError, match="at least one row"):
        paired_bootstrap(_accuracy, np.zeros(0, int), np.zeros(0, int), np.zeros(0, int))


def _answers(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    wrong = random.random(len(labels)) > share
    return np.where(wrong, (labels + 1 + random.integers(0, 2, len(labels))) % 3, labels)


def _accuracy(counts: np.ndarray) -> np.ndarray:
    return np.einsum("bkk->b", counts) / counts.sum((1, 2))


def test_bootstrap_holds_the_difference_is_paired_and_repeats_itself() -> None:
    labels = np.random.default_rng(0).integers(0, 3, 600)
    a, b = _answers(labels, 0.9, 1), _answers(labels, 0.8, 2)
    low, high = paired_bootstrap(_accuracy, labels, a, b, seed=3)
    assert low < np.mean(a == labels) - np.mean(b == labels) < high
    assert (low, high) == paired_bootstrap(_accuracy, labels, a, b, seed=3)
    assert paired_bootstrap(_accuracy, labels, a, a) == (0.0, 0.0)
    # Normal theory of a paired difference: its standard error is that of the rows' differences.
    rows = (a == labels).astype(float) - (b == labels)
    assert (high - low) / (2 * 1.96) == pytest.approx(rows.std() / math.sqrt(len(rows)), rel=0.15)


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "macro_f1", "mcc"])
def test_tell_apart_sees_a_clear_difference_and_no_imagined_one(metric: str) -> None:
    labels = np.random.default_rng(0).integers(0, 3, 400)
    good, bad = _answers(labels, 0.92, 1), _answers(labels, 0.75, 2)
    assert tell_apart(metric, labels, good, bad)
    assert tell_apart(metric, labels, bad, good)
    assert not tell_apart(metric, labels, good, _answers(labels, 0.92, 5))
    assert not tell_apart(metric, labels, good, good)


def test_tell_apart_judges_by_the_metric_asked_for() -> None:
    # 20 rows of one class, 980 of the other: `a` never finds the small one, `b` does and misses as many of the large.
    labels = np.array([1] * 20 + [0] * 980)
    a = np.zeros(1000, int)
    b = np.array([1] * 40 + [0] * 960)
    assert not tell_apart("accuracy", labels, a, b)
    assert f1_score(labels, b, average="macro") > f1_score(labels, a, average="macro", zero_division=0) + 0.2
    assert tell_apart("macro_f1", labels, a, b)


def test_retention_is_paired_by_row() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 900)
    teacher = np.where(generator.random(900) < 0.9, labels, 1 - labels)
    assert retention_low(labels, teacher, [teacher, teacher]) == 1.0  # the same answers lose nothing in any sample
    worse = teacher.copy()
    worse[np.flatnonzero(teacher == labels)[:30]] = 1 - labels[np.flatnonzero(teacher == labels)[:30]]
    low = retention_low(labels, teacher, [worse])
    kept = np.mean(worse == labels) / np.mean(teacher == labels)
    assert kept - 0.02 < low < kept
