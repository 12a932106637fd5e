"""What a difference between two models is worth: intervals and paired tests. Pure numpy.

Paired tests look at the same rows answered by both models. They see differences that two separate intervals hide,
because the rows that both get right, or both get wrong, drop out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.confusion import qualities

Answers = NDArray[np.integer[Any]]  # class indices, one per row
Counts = NDArray[np.float64]
Scores = Callable[[Counts], Counts]  # confusion matrices [B, K, K] -> qualities [B]

ALPHA = 0.05  # a paired test tells two models apart below this probability; intervals hold 1 - ALPHA
RESAMPLES = 1000  # bootstrap draws: the ends of a 95 % interval then vary by about a tenth of its width


def retention_low(labels: np.ndarray, teacher: np.ndarray, students: Sequence[np.ndarray], seed: int = 0) -> float:
    """Lower end of the 95 % interval of mean student accuracy over teacher accuracy, paired by row.

    `teacher` and each of `students` are int [N] answers to the same rows, which are drawn anew 10,000 times (percentile
    bootstrap, Efron 1979); the students' seeds are not.
    """
    right = np.mean([answers == labels for answers in students], axis=0)
    whole = (teacher == labels).astype(float)
    generator, ratios = np.random.default_rng(seed), []
    for _ in range(20):
        rows = generator.integers(0, len(labels), (500, len(labels)))
        ratios.append(right[rows].mean(1) / np.maximum(whole[rows].mean(1), 1e-9))
    return float(np.quantile(np.concatenate(ratios), 0.025))


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
    return min(1.0, float(2 * total / 2**n))


def paired_bootstrap(
    metric_fn: Scores, labels: Answers, pred_a: Answers, pred_b: Answers, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """95 % percentile interval of `metric(a) - metric(b)` over resampled rows, the same rows for both.

    B. Efron and R. Tibshirani, An Introduction to the Bootstrap (1993), chapter 13. Errors: ValueError without rows.
    """
    labels, pred_a = _paired(labels, pred_a)
    labels, pred_b = _paired(labels, pred_b)
    if len(labels) == 0:
        raise ValueError("a bootstrap needs at least one row; give labels and predictions")
    classes = int(max(labels.max(), pred_a.max(), pred_b.max())) + 1
    # Rows with the same label and the same two answers are alike: drawing how many of each kind is drawing the rows.
    triples, counts = np.unique(np.stack([labels, pred_a, pred_b]), axis=1, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(len(labels), counts / len(labels), size=resamples).astype(float)
    a, b = (metric_fn(_matrices(drawn, triples[0], answers, classes)) for answers in triples[1:])
    low, high = np.quantile(a - b, [ALPHA / 2, 1 - ALPHA / 2])
    return float(low), float(high)


def tell_apart(metric: str, labels: Answers, pred_a: Answers, pred_b: Answers) -> bool:
    """Whether a paired test on these rows tells two models' quality apart: McNemar's for accuracy, else bootstrap."""
    if metric == "accuracy":
        return mcnemar_exact(np.asarray(pred_a) == labels, np.asarray(pred_b) == labels) < ALPHA
    low, high = paired_bootstrap(lambda counts: qualities(counts)[metric], labels, pred_a, pred_b)
    return not low <= 0 <= high


def _matrices(drawn: Counts, labels: Answers, answers: Answers, classes: int) -> Counts:
    """Confusion matrices [B, K, K] of draws [B, kinds of row]; rows of a matrix are the labels."""
    places = np.zeros((len(labels), classes * classes))
    places[np.arange(len(labels)), labels * classes + answers] = 1
    return (drawn @ places).reshape(-1, classes, classes)


def _paired(a: NDArray[Any], b: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape:
        raise ValueError(f"{a.shape} and {b.shape} are not the same rows; give one answer per row for both")
    return a, b
