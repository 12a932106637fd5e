from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from pipeline.metrics import QUALITY
from pipeline.quality import better_than_chance, confusion, quality_with_intervals, scores, wilson


def _answers(rows: int, classes: int, right: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, rows)
    return labels, np.where(rng.random(rows) < right, labels, rng.integers(0, classes, rows))


@pytest.mark.parametrize(("classes", "right"), [(2, 0.7), (3, 0.0), (10, 0.9)])
def test_scores_agree_with_scikit_learn(classes: int, right: float) -> None:
    labels, said = _answers(150, classes, right)
    found = scores(confusion(labels, said, classes))
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(labels, said))
    assert found["balanced_accuracy"] == pytest.approx(reference.balanced_accuracy_score(labels, said))
    assert found["macro_f1"] == pytest.approx(reference.f1_score(labels, said, average="macro"))
    assert found["mcc"] == pytest.approx(reference.matthews_corrcoef(labels, said))


def test_absent_classes_and_constant_answers_agree_with_scikit_learn() -> None:
    labels, said = np.array([0, 0, 1, 1, 0]), np.array([0, 0, 0, 0, 0])
    found = scores(confusion(labels, said, 4))
    assert found["balanced_accuracy"] == pytest.approx(reference.balanced_accuracy_score(labels, said))
    assert found["macro_f1"] == pytest.approx(reference.f1_score(labels, said, average="macro", zero_division=0))
    assert found["mcc"] == 0.0


def test_wilson_interval_of_a_known_example() -> None:
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(10, 10)[1] == 1.0
    assert wilson(0, 10)[0] == 0.0


def test_intervals_hold_the_value_and_shrink_with_rows() -> None:
    widths = []
    for rows in (100, 10000):
        labels, said = _answers(rows, 5, 0.6)
        values, intervals = quality_with_intervals(labels, np.eye(5)[said])
        assert set(values) == set(intervals) == set(QUALITY)
        assert all(low <= values[name] <= high for name, (low, high) in intervals.items())
        widths.append({name: high - low for name, (low, high) in intervals.items()})
    assert all(widths[1][name] < widths[0][name] / 5 for name in QUALITY)


def test_the_bootstrap_of_accuracy_agrees_with_wilson() -> None:
    labels, said = _answers(2000, 2, 0.5)
    _, intervals = quality_with_intervals(labels, np.eye(2)[said])
    drawn = np.random.default_rng(1).choice(labels == said, (2000, 2000)).mean(1)
    assert intervals["accuracy"] == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=3e-3)


@pytest.mark.parametrize("metric", QUALITY)
def test_better_than_chance(metric: str) -> None:
    labels, said = _answers(300, 3, 0.8)
    assert better_than_chance(labels, said, metric) is None
    guesses = np.random.default_rng(3).integers(0, 3, 300)
    sentence = better_than_chance(labels, guesses, metric)
    assert sentence is not None
    assert metric in sentence


def test_the_commonest_class_is_not_better_than_itself() -> None:
    labels = np.array([1] * 90 + [0] * 10)
    assert "scores 0.9000" in str(better_than_chance(labels, np.ones(100, dtype=int), "accuracy"))
