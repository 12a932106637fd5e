"""Gaussian processes for a few dozen observations: what is believed of a figure, and how surely.

The covariance is s^2 (w x linear + (1 - w) x Matern 5/2 + t x identity). Its three shape parameters are not fitted, for
a dozen points do not tell them: every combination of a small grid is weighted by how probable it makes the
observations. s^2 has an inverse gamma prior and is integrated out, which leaves a Student t instead of a Gaussian and
keeps the spread honest while there is little to learn from. Rasmussen and Williams, "Gaussian Processes for Machine
Learning", MIT Press 2006, sections 2.7 and 5.2; O'Hagan and Forster, "Bayesian Inference", 2004, section 9.

The covariance functions are scikit-learn's. Pure functions over arrays; nothing here is random.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
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
    return Near.of(rows, known).believe(figures, centre=centre, scale=scale)


@dataclass(frozen=True)
class Near:
    """How near n places are to m observed ones: the terms of their covariance, for any figure of them.

    `alone` [n] is the linear term of a place with itself; `line` [m, m] and `line_across` [m, n] are that of the
    observed ones with each other and with the places, `wave` and `wave_across` the Matern terms by length.
    """

    alone: Array
    line: Array
    line_across: Array
    wave: Mapping[float, Array]
    wave_across: Mapping[float, Array]

    @classmethod
    def of(cls, rows: Array, known: Array) -> Near:
        """Of the rows `rows` [n, k] to `known` [m, k]."""
        if not len(known):
            return cls(DotProduct(1.0).diag(rows), np.zeros((0, 0)), np.zeros((0, len(rows))), {}, {})
        lines, waves = DotProduct(1.0), {length: Matern(length, nu=2.5) for length in LENGTHS}
        within = {length: of(known) for length, of in waves.items()}
        across = {length: of(known, rows) for length, of in waves.items()}
        return cls(lines.diag(rows), lines(known), lines(known, rows), within, across)

    def among(self, which: NDArray[np.bool_]) -> Near:
        """To those of the observed places only, bool [m]."""
        if which.all():
            return self
        both = np.ix_(which, which)
        return Near(
            self.alone,
            self.line[both],
            self.line_across[which],
            {length: wave[both] for length, wave in self.wave.items()},
            {length: wave[which] for length, wave in self.wave_across.items()},
        )

    def believe(self, figures: Array, *, centre: float, scale: float) -> Belief:
        """What the figures [m] of the observed places say of the others'; see the function of this name."""
        if not len(figures):
            spread = scale * np.sqrt(1 + np.mean(LINEAR) * (self.alone - 1))
            return Belief(np.full(len(self.alone), centre), spread)
        mean, square = np.zeros(len(self.alone)), np.zeros(len(self.alone))
        for weight, fit, across, alone in self._likely((figures - centre) / scale):
            one = across.T @ fit.answer
            mean, square = mean + weight * one, square + weight * (fit.variance(across, alone) + np.square(one))
        return Belief(centre + scale * mean, scale * np.sqrt(np.maximum(square - np.square(mean), 1e-12)))

    def expect(self, figures: Array, *, centre: float, scale: float) -> Array:
        """The mean alone, [n], which takes a fraction of the time."""
        likely = self._likely((figures - centre) / scale) if len(figures) else []
        means = [weight * (across.T @ fit.answer) for weight, fit, across, _ in likely]
        return centre + scale * sum(means, np.zeros(len(self.alone)))

    @cached_property
    def _factors(self) -> dict[tuple[float, float, float], Array]:
        """By length, share and noise the Cholesky factors [m, m] of the covariance, the same for every figure."""
        found = {}
        for length, x in product(LENGTHS, LINEAR):
            mixed = x * self.line + (1 - x) * self.wave[length]
            for noise in NOISE:
                found[length, x, noise] = cholesky(mixed + noise * np.eye(len(mixed)), lower=True)
        return found

    def _likely(self, target: Array) -> Iterator[tuple[float, _Fit, Array, Array]]:
        """Of each shape of the covariance that is not negligible its weight, its fit, and it across and of a place."""
        fits = [_fit(factor, target) for factor in self._factors.values()]
        evidence = np.array([fit.evidence for fit in fits])
        weights = np.exp(evidence - evidence.max())
        weights[weights < _NEGLIGIBLE] = 0.0
        for weight, fit, (length, x, _) in zip(weights / weights.sum(), fits, self._factors, strict=True):
            if weight:
                across = x * self.line_across + (1 - x) * self.wave_across[length]
                yield weight, fit, across, 1 + x * (self.alone - 1)


@dataclass(frozen=True)
class _Fit:
    """What the observations say under one shape of the covariance; `rest` is what the prior of s^2 has become."""

    evidence: float  # its logarithm, up to a constant
    factor: Array
    answer: Array
    rest: float

    def variance(self, across: Array, alone: Array) -> Array:
        """Of what has the covariances `across` [m, n] with the observations and `alone` [n] with itself, [n]."""
        left = alone - np.square(solve_triangular(self.factor, across, lower=True)).sum(axis=0)
        found: Array = np.maximum(left, 1e-12) * self.rest
        return found


def _fit(factor: Array, target: Array) -> _Fit:
    answer = cho_solve((factor, True), target)
    freedom = _TRUST + len(target) / 2
    rest = (_TRUST - 1) + target @ answer / 2
    evidence = -np.log(np.diag(factor)).sum() - freedom * np.log(rest)
    return _Fit(float(evidence), factor, answer, float(rest / (freedom - 1)))
