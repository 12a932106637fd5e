"""How good the answers are: accuracy, balanced accuracy, macro F1 and Matthews' correlation, with 95 % intervals."""

from __future__ import annotations

import numpy as np

from pipeline.confusion import confusion, qualities
from pipeline.metrics import QUALITY
from pipeline.statistics import wilson

RESAMPLES = 1000


def quality_with_intervals(
    labels: np.ndarray, logits: np.ndarray, seed: int = 0
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Every quality metric and its 95 % interval, of int labels [N] and logits [N, K]."""
    return _with_intervals(confusion(labels, logits.argmax(1), logits.shape[1]), seed)


def better_than_chance(labels: np.ndarray, predictions: np.ndarray, metric: str, seed: int = 0) -> str | None:
    """A sentence when `metric` of the predicted classes [N] does not beat answering without looking.

    It beats it when the lower end of its 95 % interval lies above what the same rows give for the commonest class, for
    even guesses and for guesses by the classes' shares (on macro F1 guessing is better than the commonest class).
    """
    classes = int(max(labels.max(), predictions.max())) + 1
    counts = np.bincount(labels, minlength=classes)
    blind = (np.eye(classes)[counts.argmax()], np.full(classes, 1 / classes), counts / counts.sum())
    chance = max(scores(np.outer(counts, answers))[metric] for answers in blind)
    values, intervals = _with_intervals(confusion(labels, predictions, classes), seed)
    low, high = intervals[metric]
    if low > chance:
        return None
    return (
        f"its {metric} is {values[metric]:.4f} (95 % interval {low:.4f} to {high:.4f}, {len(labels)} rows) and "
        f"answering without looking scores {chance:.4f}"
    )


def scores(counts: np.ndarray) -> dict[str, float]:
    """Every quality metric of one confusion matrix [K, K]."""
    return {name: float(values[0]) for name, values in qualities(counts[None].astype(np.float64)).items()}


def _with_intervals(counts: np.ndarray, seed: int) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    rows = int(counts.sum())
    # Drawing N rows with replacement draws the cells of the confusion matrix from a multinomial: no row is touched.
    drawn = np.random.default_rng(seed).multinomial(rows, counts.ravel() / rows, size=RESAMPLES)
    resampled = qualities(drawn.reshape(RESAMPLES, *counts.shape).astype(np.float64))
    values = scores(counts)
    intervals = {}
    for name in QUALITY:
        low, high = np.quantile(resampled[name], [0.025, 0.975])
        intervals[name] = (float(low), float(high))
    intervals["accuracy"] = wilson(int(np.trace(counts)), rows)
    return values, intervals
