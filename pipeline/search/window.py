"""study.db behind a window: a sampler reads the best and the latest trials out of memory, not all of a long history.

Reading a trial from study.db takes a millisecond and more, and TPE's own work grows with every trial that it is shown.
What is written goes through to study.db, where all trials stay. As long as a history fits into the window, the sampler
is shown all of it, and suggests what it would without one.
"""

from __future__ import annotations

import copy
from collections.abc import Container, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from pipeline.pareto import efficient

MOST = 500  # finished trials in a window that has just been cut
SLACK = 1.25  # a window is cut when it holds so many times as many
BEST = 0.25  # share of the window that is kept for the best, whatever their age

_UNFINISHED = (TrialState.RUNNING, TrialState.WAITING)


def chosen(costs: NDArray[np.float64], most: int = MOST) -> list[int]:
    """Places in a window of `most` out of all finished trials [n, d] by number: the best by rank, the latest others.

    `costs` are smaller where they are better, and infinite for a trial that is not complete or breaks a constraint.
    """
    if len(costs) <= most:
        return list(range(len(costs)))
    best, left = list[int](), np.flatnonzero(np.isfinite(costs).all(axis=1))
    while len(best) < BEST * most and len(left):
        first = efficient(costs[left])
        best += left[first].tolist()[::-1]  # of the last rank the latest ones stay
        left = left[~first]
    best = best[: int(BEST * most)]
    rest = np.setdiff1d(np.arange(len(costs)), best)
    return sorted([*best, *rest[len(best) - most :].tolist()])


class Window(BaseStorage):
    """Optuna's storage of one study for one process: few of its finished trials, and all that are not finished.

    `history` are finished trials with their numbers, those that `chosen` takes of all. What another process writes into
    the study meanwhile is not seen; whoever writes holds the lock of the search.
    """

    def __init__(self, disk: BaseStorage, study: str, history: Iterable[FrozenTrial] = (), most: int = MOST) -> None:
        self._disk = disk
        self._most = most
        self._ids: dict[int, int] = {}  # of the trials that are not finished, by number
        self._held: dict[int, FrozenTrial] = {}  # the finished ones, by number
        self._signs: list[float] = []
        try:
            known = self._disk.get_study_id_from_name(study)
        except KeyError:
            return  # a new study
        self._signs = _signs(self._disk.get_study_directions(known))
        self._read(known, history)

    def get_all_trials(
        self,
        study_id: int,  # noqa: ARG002 - the one study
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """The window by number, with gaps; what is not finished is read anew. The last trial is always there."""
        found = {**self._held, **{number: self._disk.get_trial(each) for number, each in self._ids.items()}}
        shown = [found[number] for number in sorted(found) if states is None or found[number].state in states]
        return copy.deepcopy(shown) if deepcopy else shown

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        made = self._disk.create_new_trial(study_id, template_trial)
        self._ids[self._disk.get_trial_number_from_id(made)] = made
        if template_trial is not None and template_trial.state.is_finished():
            self._finish(made)
        return made

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        done = self._disk.set_trial_state_values(trial_id, state, values)
        if state.is_finished():
            self._finish(trial_id)
        return done

    def _read(self, study_id: int, history: Iterable[FrozenTrial]) -> None:
        for trial in self._disk.get_all_trials(study_id, deepcopy=False, states=_UNFINISHED):
            self._ids[trial.number] = self._disk.get_trial_id_from_study_id_trial_number(study_id, trial.number)
        count = self._count(study_id)
        self._held = {each.number: each for each in history if each.number < count and each.number not in self._ids}
        if count and count - 1 not in self._held.keys() | self._ids.keys():
            self._finish(self._disk.get_trial_id_from_study_id_trial_number(study_id, count - 1))

    def _count(self, study_id: int) -> int:
        """How many trials the study has, by asking for numbers, which have no gaps: reading all takes long."""
        low, high = 0, 1
        while self._has(study_id, high - 1):
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._has(study_id, middle - 1) else (low, middle)
        return low

    def _has(self, study_id: int, number: int) -> bool:
        try:
            self._disk.get_trial_id_from_study_id_trial_number(study_id, number)
        except KeyError:
            return False
        return True

    def _finish(self, trial_id: int) -> None:
        trial = self._disk.get_trial(trial_id)
        self._ids.pop(trial.number, None)
        self._held[trial.number] = trial
        if len(self._held) > SLACK * self._most:
            trials = [self._held[number] for number in sorted(self._held)]
            costs = [_cost(trial, self._signs) for trial in trials]
            self._held = {trials[place].number: trials[place] for place in chosen(np.array(costs), self._most)}

    # What follows goes through to study.db.

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        made = self._disk.create_new_study(directions, study_name)
        self._signs = _signs(directions)
        return made

    def delete_study(self, study_id: int) -> None:
        self._disk.delete_study(study_id)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        self._disk.set_study_user_attr(study_id, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self._disk.set_study_system_attr(study_id, key, value)

    def get_study_id_from_name(self, study_name: str) -> int:
        return self._disk.get_study_id_from_name(study_name)

    def get_study_name_from_id(self, study_id: int) -> str:
        return self._disk.get_study_name_from_id(study_id)

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        return self._disk.get_study_directions(study_id)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        return self._disk.get_study_user_attrs(study_id)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return self._disk.get_study_system_attrs(study_id)

    def get_all_studies(self) -> list[Any]:
        return self._disk.get_all_studies()

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        self._disk.set_trial_param(trial_id, param_name, param_value_internal, distribution)

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        return self._disk.get_trial_id_from_study_id_trial_number(study_id, trial_number)

    def get_trial_number_from_id(self, trial_id: int) -> int:
        return self._disk.get_trial_number_from_id(trial_id)

    def get_trial_param(self, trial_id: int, param_name: str) -> float:
        return self._disk.get_trial_param(trial_id, param_name)

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        self._disk.set_trial_intermediate_value(trial_id, step, intermediate_value)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._disk.set_trial_user_attr(trial_id, key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._disk.set_trial_system_attr(trial_id, key, value)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        return self._disk.get_trial(trial_id)


def cost(values: Sequence[float] | None, broken: bool, signs: Sequence[float]) -> list[float]:
    """A row for `chosen`: `signs` are -1 for an objective to be maximized, 1 else."""
    if values is None or broken:
        return [float("inf")] * len(signs)
    return [sign * value for sign, value in zip(signs, values, strict=True)]


def _cost(trial: FrozenTrial, signs: Sequence[float]) -> list[float]:
    values = trial.values if trial.state == TrialState.COMPLETE else None
    return cost(values, any(value > 0 for value in trial.constraints.values()), signs)


def _signs(directions: Sequence[StudyDirection]) -> list[float]:
    return [-1.0 if direction == StudyDirection.MAXIMIZE else 1.0 for direction in directions]
