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
from scipy.linalg import cho_solve, cholesky, solve_triangular
from sklearn.gaussian_process.kernels import DotProduct, Matern

Array = NDArray[np.float64]

LENGTHS = (1.0, 2.0, 4.0)  # of the Matern term, in spans of an axis
LINEAR = (0.1, 0.5, 0.9)  # share of the linear term
NOISE = (1e-4, 3e-3, 3e-2)  # variance of a repetition over s^2
_TRUST = 2.0  # shape of the prior of s^2: worth so many pairs of observations
_NEGLIGIBLE = 1e-3  # of the weight of the likeliest shape of the covariance: what is less likely predicts nothing


@dataclass(frozen=True)
class Belief:
    """Mean and standard deviation of a figure at each of n places, both [n]."""

    mean: Array
    deviation: Array


def believe(rows: Array, known: Array, figures: Array, *, centre: float, scale: float) -> Belief:
    """What the figures `figures` [m] of the rows `known` [m, k] say of those of `rows` [n, k], noise left out.

    Before any observation a figure is expected at `centre`, give or take `scale`.
    """
    target = (figures - centre) / scale
    lines, waves = DotProduct(1.0), {length: Matern(length, nu=2.5) for length in LENGTHS}
    alone = lines.diag(rows)
    if not len(known):
        return Belief(np.full(len(rows), centre), scale * np.sqrt(1 + np.mean(LINEAR) * (alone - 1)))
    shapes = list(product(LENGTHS, LINEAR, NOISE))
    line, wave = lines(known), {length: of(known) for length, of in waves.items()}
    fits = [_fit(x * line + (1 - x) * wave[length] + noise * np.eye(len(known)), target) for length, x, noise in shapes]
    evidence = np.array([fit.evidence for fit in fits])
    weights = np.exp(evidence - evidence.max())
    weights[weights < _NEGLIGIBLE] = 0.0
    weights /= weights.sum()
    line, wave = lines(known, rows), {length: of(known, rows) for length, of in waves.items()}
    mean, square = np.zeros(len(rows)), np.zeros(len(rows))
    for weight, fit, (length, x, _) in zip(weights, fits, shapes, strict=True):
        if weight:
            one, spread = fit.of(x * line + (1 - x) * wave[length], 1 + x * (alone - 1))
            mean, square = mean + weight * one, square + weight * (spread + np.square(one))
    return Belief(centre + scale * mean, scale * np.sqrt(np.maximum(square - np.square(mean), 1e-12)))


@dataclass(frozen=True)
class _Fit:
    """What the observations say under one shape of the covariance; `rest` is what the prior of s^2 has become."""

    evidence: float  # its logarithm, up to a constant
    factor: Array
    answer: Array
    rest: float

    def of(self, across: Array, alone: Array) -> tuple[Array, Array]:
        """Means and variances [n] of what has the covariances `across` [m, n] with them and `alone` [n] with itself."""
        left = alone - np.square(solve_triangular(self.factor, across, lower=True)).sum(axis=0)
        return across.T @ self.answer, np.maximum(left, 1e-12) * self.rest


def _fit(covariance: Array, target: Array) -> _Fit:
    factor = cholesky(covariance, lower=True)
    answer = cho_solve((factor, True), target)
    freedom = _TRUST + len(target) / 2
    rest = (_TRUST - 1) + target @ answer / 2
    evidence = -np.log(np.diag(factor)).sum() - freedom * np.log(rest)
    return _Fit(float(evidence), factor, answer, float(rest / (freedom - 1)))
