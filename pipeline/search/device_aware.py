"""`sampler: device_aware`, an Optuna sampler: which student to try next, its device figures being known beforehand.

It keeps nothing: whatever it knows is in the records of the search, so a resumed search goes on as if it had not
stopped. Before there is enough to learn from it draws at random.
"""

from __future__ import annotations

from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FixedTrial, FrozenTrial

from pipeline.config import SearchConfig
from pipeline.search.knowledge import Known, propose


class DeviceAware(BaseSampler):
    """Proposes a whole candidate, and gives Optuna the parameters that stand for it."""

    def __init__(self, known: Known, config: SearchConfig, seed: int) -> None:
        self._known, self._config, self._random = known, config, RandomSampler(seed=seed)
        self._chosen: dict[int, dict[str, Any]] = {}  # parameters by trial, between the two questions of Optuna

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:  # noqa: ARG002
        self._chosen = {trial.number: {}}
        if "fixed_params" in trial.system_attrs:  # it was queued, and is no matter of choice
            return {}
        candidate = propose(self._known, self._config)
        params = None if candidate is None else self._known.space.params_of(candidate.flat())
        if candidate is None or params is None or isinstance(params, str):
            return {}
        fixed = FixedTrial(dict(params))
        self._known.space.sample(fixed, 0)
        self._chosen = {trial.number: fixed.params}
        return dict(fixed.distributions)

    def sample_relative(
        self,
        study: Study,  # noqa: ARG002
        trial: FrozenTrial,
        search_space: dict[str, BaseDistribution],  # noqa: ARG002
    ) -> dict[str, Any]:
        return self._chosen.pop(trial.number, {})

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def reseed_rng(self) -> None:
        self._random.reseed_rng()
