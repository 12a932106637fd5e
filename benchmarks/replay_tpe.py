"""TPE over a list: Optuna's own densities, by which it chooses among what a bank has left instead of the whole space.

It draws as many as TPE draws, from the density of the good (l), and takes the one of the largest l / g, as TPE does
(Bergstra, Bardenet, Bengio and Kegl 2011); only that it draws from the list, in proportion to l, not from the space.
Parameters that belong together are modelled together and groups of them apart, so the logarithms of groups are summed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.samplers import TPESampler

DRAWN = 24  # TPE's own number, `n_ei_candidates`


class Listed:
    """The TPE of a study, asked for one of a list instead."""

    def __init__(self, study: optuna.Study, seed: int) -> None:
        assert isinstance(study.sampler, TPESampler)
        self._study, self._tpe, self._chance = study, study.sampler, np.random.default_rng(seed)
        self._densities: list[tuple[Sequence[str], Any, Any]] = []
        weigh = self._tpe._compute_acquisition_func

        def noted(samples: dict[str, Any], below: Any, above: Any) -> NDArray[Any]:
            """Where TPE weighs its draws in a group of parameters, its two densities are taken down."""
            self._densities.append((list(samples), below, above))
            return weigh(samples, below, above)

        self._tpe._compute_acquisition_func = noted  # type: ignore[method-assign]

    def choose(self, trial: optuna.Trial, listed: Sequence[Mapping[str, Any]]) -> int:
        """The place in `listed`, parameters of candidates, of the one to try; by chance before it has learned."""
        frozen = self._study.get_trials(deepcopy=False)[trial.number]
        space = self._tpe.infer_relative_search_space(self._study, frozen)
        self._densities.clear()
        self._tpe.sample_relative(self._study, frozen, space)
        if not self._densities:
            return int(self._chance.integers(len(listed)))
        good, other = np.zeros(len(listed)), np.zeros(len(listed))
        for names, below, above in self._densities:
            having = [place for place, params in enumerate(listed) if params.keys() >= set(names)]
            if having:
                asked = {n: np.array([space[n].to_internal_repr(listed[p][n]) for p in having]) for n in names}
                good[having] += below.log_pdf(asked)
                other[having] += above.log_pdf(asked)
        return drawn(good, other, self._chance)


def drawn(good: NDArray[Any], other: NDArray[Any], chance: np.random.Generator) -> int:
    """Of `DRAWN` places, drawn by log l `good` [n], the one where log l - log g is largest."""
    weights = np.exp(good - good.max())
    places = chance.choice(len(good), DRAWN, p=weights / weights.sum())
    return int(places[np.argmax((good - other)[places])])
