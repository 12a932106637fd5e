"""What a search may do beside sampling, each as a small function over what it has seen.

`refuses` functions answer before training, from device figures alone; `stops` functions answer at a rung. Both give the
violation to tell the sampler, or None to go on. A `resumes` function names the stopped student that goes on by now.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from replay_bank import Point, Stored

from pipeline import budget
from pipeline.metrics import METRICS
from pipeline.pareto import dominates
from pipeline.record import TrialRecord
from pipeline.screening import MARGIN
from search_spaces import IDENTITY
from search_spaces.candidate import Scalar

Violations = Mapping[str, float]
LEAST = 10  # trained students from which a model of accuracy is asked
Z = 3.0  # standard deviations above the expected accuracy: the optimistic bound


@dataclass(frozen=True)
class Reached:
    """A student that came to a rung: its accuracy there, in the place of its quality, and how long it trains in all."""

    record: TrialRecord
    rung: int
    epochs: int


Refuses = Callable[[Point, Sequence[TrialRecord], Stored], Violations | None]
Stops = Callable[[Reached, Sequence[Reached], Stored], Violations | None]
# (all that came to each rung, the rung of each candidate that waits by its key, bank) -> the key of one, or None
Resumes = Callable[[Mapping[int, Sequence[Reached]], Mapping[str, int], Stored], str | None]


def over_budget(point: Point, seen: Sequence[TrialRecord], bank: Stored) -> Violations | None:  # noqa: ARG001
    """The product's own refusal before training: over a device budget by more than the band of two measurements."""
    found = device_violations(point.metrics, bank)
    return found if any(value > MARGIN for value in found.values()) else None


def device_violations(metrics: Mapping[str, float], bank: Stored) -> Violations:
    limits = {name: limit for name, limit in bank.config.budget.items() if not METRICS[name].quality}
    return budget.violations(limits, metrics)


def dominated(point: Point, seen: Sequence[TrialRecord], bank: Stored) -> Violations | None:
    """Refuse what a seen model beats even if this one became as accurate as the bound of `optimistic` says."""
    bound = optimistic(point, seen, bank)
    if bound is None:
        return None
    quality = bank.config.task.metric
    view = TrialRecord(-1, point.candidate, "complete", metrics={**point.metrics, quality: bound},
                       measurement=point.measurement)  # fmt: skip
    better = [one for one in seen if one.feasible and dominates(one, view, bank.config.objectives)]
    if not better:
        return None
    return {"dominated": max(1e-6, max(one.metrics[quality] for one in better) - bound)}


def optimistic(point: Point, seen: Sequence[TrialRecord], bank: Stored) -> float | None:
    """An upper bound of the quality: `Z` standard deviations above what a ridge regression expects, teacher at most.

    Bayesian linear regression over the axes (Bishop 2006, Pattern Recognition and Machine Learning, 3.3), in the logit
    of the quality, one model for each family. None while fewer than `LEAST` of the family have been trained.
    """
    quality, family = bank.config.task.metric, point.candidate.student
    trained = [one for one in seen if one.end == "complete" and one.candidate.student == family != IDENTITY]
    if len(trained) < LEAST:
        return None
    flats = [*(one.candidate.flat() for one in trained), point.candidate.flat()]
    rows = encoded(flats)
    target = _logit(np.array([one.metrics[quality] for one in trained]))
    mean, deviation = _ridge(rows[:-1], target, rows[-1])
    best = max(float(bank.teacher_metrics[quality]), max(one.metrics[quality] for one in trained))
    return min(best, float(1 / (1 + np.exp(-(mean + Z * deviation)))))


def encoded(flats: Sequence[Mapping[str, Scalar]]) -> np.ndarray:
    """[n, k] with a constant column: numbers (large ranges in logs) from -1 to 1, text as one column a value."""
    columns = [np.ones(len(flats))]
    for name in sorted({name for flat in flats for name in flat} - {"student"}):
        values = [flat.get(name) for flat in flats]
        numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
        if len(numbers) == len(values):
            columns += _scaled(np.array(numbers, dtype=float))
        else:
            texts = sorted({str(value) for value in values})
            columns += [np.array([float(str(value) == text) for value in values]) for text in texts[1:]]
    return np.column_stack(columns)


def beaten_at_rung(own: Reached, others: Sequence[Reached], bank: Stored) -> Violations | None:
    """Stop who is dominated at the rung in accuracy so far and known device figures.

    Asynchronous, several objectives: Schmucker et al. 2021, arXiv 2106.12639, without a share that goes on at least.
    Only who trains at least as long beats another: at one epoch a short training's rate has fallen further.
    """
    fair = [one.record for one in others if one.epochs >= own.epochs]
    beating = [one for one in fair if dominates(one, own.record, bank.config.objectives)]
    if not beating:
        return None
    quality = bank.config.task.metric
    behind = max(one.metrics[quality] for one in beating) - own.record.metrics[quality]
    return {"stopped": max(1e-6, behind)}


def _scaled(values: np.ndarray) -> list[np.ndarray]:
    low, high = values.min(), values.max()
    if low == high:
        return []
    if low > 0 and high / low >= 3:
        values, low, high = np.log(values), np.log(low), np.log(high)
    return [2 * (values - low) / (high - low) - 1]


def _logit(values: np.ndarray) -> np.ndarray:
    inside = np.clip(values, 0.01, 0.995)
    return np.log(inside / (1 - inside))


def _ridge(rows: np.ndarray, target: np.ndarray, asked: np.ndarray) -> tuple[float, float]:
    """Predicted mean and standard deviation at `asked`; weights have unit prior variance, the noise is estimated."""
    centre = target.mean()
    noise = max(1e-4, float(target.var()) / 4)
    for _ in range(3):  # the noise from the residuals, the weights from the noise
        precision = rows.T @ rows / noise + np.eye(rows.shape[1])
        weights = np.linalg.solve(precision, rows.T @ (target - centre) / noise)
        effective = np.trace(np.linalg.solve(precision, rows.T @ rows)) / noise
        residual = target - centre - rows @ weights
        noise = max(1e-4, float(residual @ residual) / max(1.0, len(target) - effective))
    spread = noise + float(asked @ np.linalg.solve(precision, asked))
    return float(centre + asked @ weights), float(np.sqrt(spread))
