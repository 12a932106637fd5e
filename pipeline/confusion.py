"""Counts of true class against answered class, and every quality that can be read from them. Pure numpy."""

from __future__ import annotations

import numpy as np


def confusion(labels: np.ndarray, predictions: np.ndarray, classes: int) -> np.ndarray:
    """int64 [K, K] counts; rows are the true classes."""
    cells = np.bincount(labels.astype(np.int64) * classes + predictions, minlength=classes * classes)
    return cells.reshape(classes, classes)


def qualities(counts: np.ndarray) -> dict[str, np.ndarray]:
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
