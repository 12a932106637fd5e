"""How good the answers are: accuracy, balanced accuracy, macro F1 and Matthews' correlation, with 95 % intervals."""

from __future__ import annotations

import math

import numpy as np

from pipeline.metrics import QUALITY

RESAMPLES = 1000
Z = 1.959964  # two-sided 95 % of the normal distribution


def quality_with_intervals(
    labels: np.ndarray, logits: np.ndarray, seed: int = 0
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Every quality metric and its 95 % interval, of int labels [N] and logits [N, K]."""
    return _with_intervals(confusion(labels, logits.argmax(1), logits.shape[1]), seed)


def better_than_chance(labels: np.ndarray, predictions: np.ndarray, metric: str, seed: int = 0) -> str | None:
    """A sentence when `metric` of the predicted classes [N] does not beat always answering the commonest class.

    It beats it when the lower end of its 95 % interval lies above the commonest class's score on the same rows.
    """
    classes = int(max(labels.max(), predictions.max())) + 1
    commonest = np.full_like(labels, np.bincount(labels).argmax())
    chance = scores(confusion(labels, commonest, classes))[metric]
    values, intervals = _with_intervals(confusion(labels, predictions, classes), seed)
    low, high = intervals[metric]
    if low > chance:
        return None
    return (
        f"its {metric} is {values[metric]:.4f} (95 % interval {low:.4f} to {high:.4f}, {len(labels)} rows) and always "
        f"answering the commonest class scores {chance:.4f}"
    )


def confusion(labels: np.ndarray, predictions: np.ndarray, classes: int) -> np.ndarray:
    """int64 [K, K] counts; rows are the true classes."""
    cells = np.bincount(labels.astype(np.int64) * classes + predictions, minlength=classes * classes)
    return cells.reshape(classes, classes)


def scores(counts: np.ndarray) -> dict[str, float]:
    """Every quality metric of one confusion matrix [K, K]."""
    return {name: float(values[0]) for name, values in _all(counts[None].astype(np.float64)).items()}


def wilson(right: int, rows: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927, J. Am. Stat. Assoc. 22:209), which stays inside 0..1."""
    share, square = right / rows, Z * Z
    centre = (share + square / (2 * rows)) / (1 + square / rows)
    half = Z * math.sqrt(share * (1 - share) / rows + square / (4 * rows * rows)) / (1 + square / rows)
    return max(0.0, centre - half), min(1.0, centre + half)


def _with_intervals(counts: np.ndarray, seed: int) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    rows = int(counts.sum())
    # Drawing N rows with replacement draws the cells of the confusion matrix from a multinomial: no row is touched.
    drawn = np.random.default_rng(seed).multinomial(rows, counts.ravel() / rows, size=RESAMPLES)
    resampled = _all(drawn.reshape(RESAMPLES, *counts.shape).astype(np.float64))
    values = scores(counts)
    intervals = {}
    for name in QUALITY:
        low, high = np.quantile(resampled[name], [0.025, 0.975])
        intervals[name] = (float(low), float(high))
    intervals["accuracy"] = wilson(int(np.trace(counts)), rows)
    return values, intervals


def _all(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Metrics of confusion matrices [B, K, K]; a class that neither occurs nor is answered counts nowhere."""
    right = np.einsum("bkk->bk", counts)
    true, said = counts.sum(2), counts.sum(1)
    total = counts.sum((1, 2))
    correct = right.sum(1)
    recall = _over(right, true)
    f1 = _over(2 * right, true + said)
    covariance = correct * total - (true * said).sum(1)
    spread = (total**2 - (true**2).sum(1)) * (total**2 - (said**2).sum(1))
    return {
        "accuracy": correct / total,
        "balanced_accuracy": recall.sum(1) / (true > 0).sum(1),
        "macro_f1": f1.sum(1) / (true + said > 0).sum(1),
        "mcc": _over(covariance, np.sqrt(np.maximum(spread, 0))),
    }


def _over(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Quotient, 0 where the denominator is 0."""
    quotient: np.ndarray = np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)
    return quotient
