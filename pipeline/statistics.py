"""What a difference between two models is worth: intervals and paired tests. Pure numpy.

Paired tests look at the same rows answered by both models. They see differences that two separate intervals hide,
because the rows that both get right, or both get wrong, drop out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

Answers = NDArray[np.integer[Any]]  # class indices, one per row
Score = Callable[[Answers, Answers], float]  # (labels, predictions) -> quality

ALPHA = 0.05  # a paired test tells two models apart below this probability; intervals hold 1 - ALPHA
RESAMPLES = 1000  # bootstrap draws: the ends of a 95 % interval then vary by about a tenth of its width


def wilson(successes: int, n: int, alpha: float = ALPHA) -> tuple[float, float]:
    """Interval of a share; (0, 1) without rows.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).
    """
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(1 - alpha / 2)
    share = successes / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # At 0 and n successes the end is exactly 0 and 1; rounding would leave it a hair inside.
    return (0.0 if successes == 0 else middle - half), (1.0 if successes == n else middle + half)


def mcnemar_exact(correct_a: NDArray[np.bool_], correct_b: NDArray[np.bool_]) -> float:
    """Two-sided probability of so uneven a split of the rows that only one of two models gets right, were they equal.

    Q. McNemar, Psychometrika 12 (1947); the exact binomial form. Errors: ValueError for unequal lengths.
    """
    a, b = _paired(np.asarray(correct_a, dtype=bool), np.asarray(correct_b, dtype=bool))
    only_a, only_b = int((a & ~b).sum()), int((~a & b).sum())
    n = only_a + only_b
    term, total = 1, 1  # whole numbers: exact however many rows disagree
    for k in range(min(only_a, only_b)):
        term = term * (n - k) // (k + 1)
        total += term
    return min(1.0, 2 * total / 2**n)


def paired_bootstrap(
    metric_fn: Score, labels: Answers, pred_a: Answers, pred_b: Answers, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """95 % percentile interval of `metric(a) - metric(b)` over resampled rows, the same rows for both.

    B. Efron and R. Tibshirani, An Introduction to the Bootstrap (1993), chapter 13. Errors: ValueError without rows.
    """
    labels, pred_a = _paired(labels, pred_a)
    labels, pred_b = _paired(labels, pred_b)

    def difference(rows: Answers) -> float:
        return metric_fn(labels[rows], pred_a[rows]) - metric_fn(labels[rows], pred_b[rows])

    return _percentiles(difference, len(labels), seed, resamples)


def quality_interval(
    metric: str, labels: Answers, predictions: Answers, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """95 % interval of one model's quality: Wilson's for accuracy, else the percentile bootstrap."""
    labels, predictions = _paired(labels, predictions)
    if metric == "accuracy":
        return wilson(int((labels == predictions).sum()), len(labels))
    metric_fn = SCORES[metric]
    return _percentiles(lambda rows: metric_fn(labels[rows], predictions[rows]), len(labels), seed, resamples)


def tell_apart(metric: str, labels: Answers, pred_a: Answers, pred_b: Answers) -> bool:
    """Whether a paired test on these rows tells the quality of two models apart: McNemar's for accuracy, else bootstrap."""
    if metric == "accuracy":
        return mcnemar_exact(np.asarray(pred_a) == labels, np.asarray(pred_b) == labels) < ALPHA
    low, high = paired_bootstrap(SCORES[metric], labels, pred_a, pred_b)
    return not low <= 0 <= high


def confusion(labels: Answers, predictions: Answers) -> NDArray[np.float64]:
    """Counts by label (rows) and prediction (columns)."""
    labels, predictions = _paired(labels, predictions)
    classes = int(max(labels.max(initial=0), predictions.max(initial=0))) + 1
    return np.bincount(labels * classes + predictions, minlength=classes**2).reshape(classes, classes).astype(float)


def accuracy(labels: Answers, predictions: Answers) -> float:
    """Share of right answers."""
    return float(np.mean(np.asarray(labels) == np.asarray(predictions)))


def balanced_accuracy(labels: Answers, predictions: Answers) -> float:
    """Mean recall over the classes that occur among the labels."""
    counts = confusion(labels, predictions)
    support = counts.sum(axis=1)
    return float(np.mean(np.diag(counts)[support > 0] / support[support > 0]))


def macro_f1(labels: Answers, predictions: Answers) -> float:
    """Unweighted mean of F1 over the classes that occur among labels or predictions."""
    counts = confusion(labels, predictions)
    seen = counts.sum(axis=0) + counts.sum(axis=1)
    return float(np.mean(2 * np.diag(counts)[seen > 0] / seen[seen > 0]))


def mcc(labels: Answers, predictions: Answers) -> float:
    """Matthews correlation coefficient for any number of classes; 0 where labels or predictions never vary.

    J. Gorodkin, "Comparing two K-category assignments by a K-category correlation coefficient" (2004).
    """
    counts = confusion(labels, predictions)
    true, guessed, n = counts.sum(axis=1), counts.sum(axis=0), counts.sum()
    spread = (n * n - true @ true) * (n * n - guessed @ guessed)
    return float((np.trace(counts) * n - true @ guessed) / math.sqrt(spread)) if spread > 0 else 0.0


SCORES: dict[str, Score] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": macro_f1,
    "mcc": mcc,
}


def _percentiles(figure: Callable[[Answers], float], n: int, seed: int, resamples: int) -> tuple[float, float]:
    if n == 0:
        raise ValueError("a bootstrap needs at least one row; give labels and predictions")
    random = np.random.default_rng(seed)
    draws = [figure(random.integers(0, n, n)) for _ in range(resamples)]
    low, high = np.quantile(draws, [ALPHA / 2, 1 - ALPHA / 2])
    return float(low), float(high)


def _paired(a: NDArray[Any], b: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape:
        raise ValueError(f"{a.shape} and {b.shape} are not the same rows; give one answer per row for both")
    return a, b
