"""Gaussian processes for a few dozen observations: what is believed of a figure, and how surely.

The covariance is s^2 (w x linear + (1 - w) x Matern 5/2 + t x identity). Its three shape parameters are not fitted, for
a dozen points do not tell them: every combination of a small grid is weighted by how probable it makes the
observations. s^2 has an inverse gamma prior and is integrated out, which leaves a Student t instead of a Gaussian and
keeps the spread honest while there is little to learn from. Rasmussen and Williams, "Gaussian Processes for Machine
Learning", MIT Press 2006, sections 2.7 and 5.2; O'Hagan and Forster, "Bayesian Inference", 2004, section 9.

The covariance functions are scikit-learn's. Pure functions over arrays; nothing here is random.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky
from sklearn.gaussian_process.kernels import DotProduct, Matern

Array = NDArray[np.float64]

LENGTHS = (1.0, 2.0, 4.0)  # of the Matern term, in spans of an axis
LINEAR = (0.1, 0.5, 0.9)  # share of the linear term
NOISE = (1e-4, 3e-3, 3e-2)  # variance of a repetition over s^2
MOST = 250  # observations that are learned from; of more, so many evenly spread over their order
_TRUST = 2.0  # shape of the prior of s^2: worth so many pairs of observations


@dataclass(frozen=True)
class Belief:
    """Mean and standard deviation of a figure at each of n places, both [n]."""

    mean: Array
    deviation: Array


def believe(rows: Array, known: Array, figures: Array, *, centre: float, scale: float) -> Belief:
    """What the figures `figures` [m] of the rows `known` [m, k] say of those of `rows` [n, k], noise left out.

    Before any observation a figure is expected at `centre`, give or take `scale`.
    """
    kept = np.linspace(0, len(figures) - 1, min(MOST, len(figures))).round().astype(int)
    known, target = known[kept], (figures[kept] - centre) / scale
    parts = [_one(rows, known, target, *shape) for shape in product(LENGTHS, LINEAR, NOISE)]
    evidence = np.array([part[0] for part in parts])
    weights = np.exp(evidence - evidence.max())
    weights /= weights.sum()
    means, variances = (np.stack([part[index] for part in parts]) for index in (1, 2))
    mean = weights @ means
    variance = weights @ (variances + np.square(means - mean))
    return Belief(centre + scale * mean, scale * np.sqrt(variance))


def _one(
    rows: Array, known: Array, target: Array, length: float, linear: float, noise: float
) -> tuple[float, Array, Array]:
    """Log evidence, means and variances under one shape of the covariance."""
    lines, waves = DotProduct(1.0), Matern(length, nu=2.5)

    def between(left: Array, right: Array) -> Array:
        return np.asarray(linear * lines(left, right) + (1 - linear) * waves(left, right))

    alone = linear * lines.diag(rows) + (1 - linear)
    if not len(known):
        return 0.0, np.zeros(len(rows)), alone
    factor = cholesky(between(known, known) + noise * np.eye(len(known)), lower=True)
    across = between(known, rows)
    answer = cho_solve((factor, True), target)
    freedom = _TRUST + len(known) / 2
    rest = (_TRUST - 1) + target @ answer / 2
    left = alone - (across * cho_solve((factor, True), across)).sum(axis=0)
    evidence = -np.log(np.diag(factor)).sum() - freedom * np.log(rest)
    return float(evidence), across.T @ answer, np.maximum(left, 1e-12) * rest / (freedom - 1)
