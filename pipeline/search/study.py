"""The door to Optuna: samplers, the study, telling, and mending the study from the records.

Optuna 5 facts this file rests on: multi-objective TPE is independent unless `multivariate=True`; in a conditional
space only `group=True` models all parameters; a constraint is write-once and feasible when <= 0; TPE learns from
PRUNED trials with a constraint, NSGA-II, NSGA-III and GP read COMPLETE trials only.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from pipeline.config import SearchConfig
from pipeline.metrics import METRICS, QUALITY
from pipeline.record import TrialRecord
from pipeline.search.device_aware import DeviceAware
from pipeline.search.knowledge import Known
from pipeline.search.window import Window, chosen, cost
from pipeline.thinned import thinned
from search_spaces import IDENTITY, SearchSpace
from search_spaces.candidate import Candidate

optuna.logging.set_verbosity(optuna.logging.ERROR)

MOST_RANKED = 2000  # trials that a ranking of parameters is made from
CANDIDATE, SEED, RESUMED = "candidate", "seed", "resumed_from"  # user attributes of a trial
# Samplers that read complete trials only, all of them from study.db (the genetic ones keep their generations there),
# and model the parameters which these share. The teacher's own files have none, and one of them told as complete would
# leave these samplers nothing in common: they would draw at random for ever.
COMPLETE_ONLY = ("nsga2", "nsga3", "gp")


def make_sampler(config: SearchConfig, seed: int, known: Known | None = None) -> BaseSampler:
    """The sampler of a configuration, seeded; `device_aware` needs what the search knows, and is random without."""
    start = config.sampler.startup_trials
    with warnings.catch_warnings():
        # `group=True` announces itself as experimental on every construction.
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        makers: dict[str, Callable[[], BaseSampler]] = {
            "tpe": lambda: optuna.samplers.TPESampler(multivariate=True, group=True, n_startup_trials=start, seed=seed),
            "nsga2": lambda: optuna.samplers.NSGAIISampler(population_size=max(start, 2), seed=seed),
            "nsga3": lambda: optuna.samplers.NSGAIIISampler(population_size=max(start, 2), seed=seed),
            "gp": lambda: optuna.samplers.GPSampler(n_startup_trials=start, seed=seed),
            "random": lambda: optuna.samplers.RandomSampler(seed=seed),
            "device_aware": lambda: (
                optuna.samplers.RandomSampler(seed=seed) if known is None else DeviceAware(known, config, seed)
            ),
        }
        return makers[config.sampler.name]()


def open_study(
    config: SearchConfig, url: str, history: Iterable[FrozenTrial] = (), known: Known | None = None
) -> optuna.Study:
    """Create or load the study; the sampler's seed moves on with the trials, so a resumed search repeats nothing.

    Who asks for candidates gives the `history` that their sampler is to learn from (`seen`), and what the search knows
    beside the study.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        study = optuna.create_study(
            study_name=config.name,
            storage=_storage(config, url, history),
            directions=[METRICS[name].direction for name in config.objectives],
            load_if_exists=True,
        )
        study.set_metric_names(list(config.objectives))
    study.sampler = make_sampler(config, config.seed + count(study), known)
    return study


def _storage(config: SearchConfig, url: str, history: Iterable[FrozenTrial]) -> str | optuna.storages.BaseStorage:
    if config.sampler.name in COMPLETE_ONLY:
        return url
    return Window(optuna.storages.RDBStorage(url), config.name, history)


def seen(records: Iterable[TrialRecord], config: SearchConfig, space: SearchSpace) -> list[FrozenTrial]:
    """Of the finished trials those that the sampler is shown; a sampler without a window reads all from study.db."""
    if config.sampler.name in COMPLETE_ONLY:
        return []
    finished = [record for record in records if record.end != "pending"]
    return [_numbered(finished[place], config, space) for place in chosen(_costs(finished, config))]


def _costs(records: Sequence[TrialRecord], config: SearchConfig) -> NDArray[np.float64]:
    signs = [-1.0 if METRICS[name].maximize else 1.0 for name in config.objectives]
    broken = [any(value > 0 for value in constraints(record).values()) for record in records]
    values = [outcome(record, config)[1] for record in records]
    return np.array([cost(found, over, signs) for found, over in zip(values, broken, strict=True)])


def _numbered(record: TrialRecord, config: SearchConfig, space: SearchSpace) -> FrozenTrial:
    trial = _frozen(record, config, space)
    trial.number = record.number
    return trial


def trials(study: optuna.Study) -> list[FrozenTrial]:
    """The trials in view by number, without the deep copy that costs seconds at 10,000; with gaps behind a window."""
    return study.get_trials(deepcopy=False)


def count(study: optuna.Study) -> int:
    """How many trials the study has, whatever became of them."""
    return max((trial.number for trial in trials(study)), default=-1) + 1


def outcome(record: TrialRecord, config: SearchConfig) -> tuple[TrialState, list[float] | None]:
    """State and values to tell, so that this study's sampler learns the most from the record."""
    if record.end == "pending":
        return TrialState.RUNNING, None
    if record.candidate.student == IDENTITY and config.sampler.name in COMPLETE_ONLY:
        return TrialState.FAIL, None
    if record.end in ("complete", "duplicate") and all(name in record.metrics for name in config.objectives):
        return TrialState.COMPLETE, [record.metrics[name] for name in config.objectives]
    if record.end in ("refused", "stopped"):
        if config.sampler.name not in COMPLETE_ONLY:
            return TrialState.PRUNED, None
        if record.end == "stopped":  # with a violated constraint, so its place among the bad is all that this decides
            known = {**dict.fromkeys(QUALITY, record.rung_accuracy or 0.0), **record.metrics}
            record = record.with_(metrics=known)
        if all(name in record.metrics for name in config.objectives):
            return TrialState.COMPLETE, [record.metrics[name] for name in config.objectives]
    return TrialState.FAIL, None


def constraints(record: TrialRecord) -> dict[str, float]:
    """Named constraints of a trial, <= 0 where they hold: its budgets, and whether a stage refused to make it.

    Without the second a refusal for another reason than a budget would be a PRUNED trial that violates nothing, which
    TPE may take for a good one. For the same reason `stopped` and `dominated`, by how much quality such a student is
    behind, stand among the violations of its record.
    """
    if record.end in ("failed", "interrupted", "pending"):
        return {}
    over = any(value > 0 for value in record.violations.values())
    return {**record.violations, "refused": 1.0 if record.end == "refused" and not over else 0.0}


def tell(study: optuna.Study, trial: optuna.Trial | int, record: TrialRecord, config: SearchConfig) -> None:
    """Constraints last and once, then the outcome; a pending trial stays open, since its values are yet to come."""
    if record.end == "pending":
        return
    handle = trial if not isinstance(trial, int) else _handle(study, trial)
    already = handle.constraints
    for name, value in constraints(record).items():
        if name not in already:
            handle.set_constraint(name, value)
    state, values = outcome(record, config)
    study.tell(handle, values=values, state=state)


def _handle(study: optuna.Study, number: int) -> optuna.Trial:
    return optuna.Trial(study, next(trial for trial in trials(study) if trial.number == number)._trial_id)


def mend(
    study: optuna.Study,
    records: Iterable[TrialRecord],
    config: SearchConfig,
    space: SearchSpace,
    interrupted: Callable[[int, Candidate], TrialRecord],
) -> list[str]:
    """Bring the study in line with the records: they are the truth. Returns a sentence per thing mended.

    A trial that is RUNNING without a record was cut off: `interrupted(number, candidate)` writes its record.
    """
    said = []
    by_number = {record.number: record for record in records}
    missing = range(count(study), max(by_number, default=-1) + 1)
    for number in missing:  # before anything is queued, which would take the first of these numbers
        study.add_trial(_frozen(by_number.get(number), config, space))
    for trial in trials(study):
        if trial.state != TrialState.RUNNING:
            continue
        record = by_number.get(trial.number)
        candidate = noted_candidate(trial)
        if record is not None and record.end == "pending":
            continue
        if record is None and candidate is not None:
            record = interrupted(trial.number, candidate)
            said.append(f"trial {trial.number} was cut off and is queued again")
        elif record is not None:
            said.append(f"trial {trial.number} had finished; the study was told now")
        if record is None:  # it died between ask and the last suggestion: nothing was tried
            study.tell(trial.number, state=TrialState.FAIL)
        else:
            tell(study, trial.number, record, config)
    if missing:
        said.append(f"{len(missing)} trials were put back into the study from their records")
    return said


def _frozen(record: TrialRecord | None, config: SearchConfig, space: SearchSpace) -> FrozenTrial:
    if record is None:  # a number that left no record, not even an interrupted one
        return optuna.trial.create_trial(state=TrialState.FAIL)
    state, values = outcome(record, config)
    known = _parameters(record, space)
    return optuna.trial.create_trial(state=state, values=values, constraints=constraints(record), **known)


def _parameters(record: TrialRecord, space: SearchSpace) -> dict[str, Any]:
    """What a trial of this candidate is made with, apart from its outcome."""
    noted: dict[str, Any] = {CANDIDATE: record.candidate.flat(), SEED: record.candidate.seed}
    if record.resumed_from is not None:
        noted[RESUMED] = record.resumed_from
    params = space.params_of(record.candidate.flat())
    if isinstance(params, str):  # an identity: the sampler's space does not hold it, so it has no parameters
        return {"user_attrs": noted}
    fixed = optuna.trial.FixedTrial(dict(params))
    space.sample(fixed, record.candidate.seed)
    return {"params": fixed.params, "distributions": fixed.distributions, "user_attrs": noted}


def settle(study: optuna.Study, record: TrialRecord, config: SearchConfig) -> None:
    """Tell a trial that has stayed open; where the study has lost it, the next start puts it back from its record."""
    if any(trial.number == record.number and trial.state == TrialState.RUNNING for trial in trials(study)):
        tell(study, record.number, record, config)


def add(study: optuna.Study, record: TrialRecord, config: SearchConfig, space: SearchSpace) -> None:
    """A trial that nobody asked the study for; where the study lost some, the next start puts all of them back."""
    if count(study) == record.number:
        study.add_trial(_frozen(record, config, space))


def begin(study: optuna.Study, candidate: Candidate, space: SearchSpace, resumed_from: int) -> int:
    """The number of a new running trial that goes on with a stopped one; nothing is taken out of the queue."""
    given = TrialRecord(count(study), candidate, "pending", resumed_from=resumed_from)  # pending: open, nothing told
    trial = _parameters(given, space)
    study.add_trial(optuna.trial.create_trial(state=TrialState.RUNNING, **trial))
    return given.number


def rebuild(config: SearchConfig, url: str, records: Iterable[TrialRecord], space: SearchSpace) -> None:
    """The study anew from the records, after figures that it was told have changed; what is queued stays queued.

    Killed in between, the next start puts back what is missing, as after a lost study.db.
    """
    queued = waiting(open_study(config, url))
    optuna.delete_study(study_name=config.name, storage=url)
    study = open_study(config, url)
    by_number = {record.number: record for record in records}
    for number in range(max(by_number, default=-1) + 1):
        study.add_trial(_frozen(by_number.get(number), config, space))
    for params in queued:
        enqueue(study, params)


def note_candidate(trial: optuna.Trial, candidate: Candidate) -> None:
    """Store with the trial what it tries, so that it can be said and queued again if the process dies."""
    trial.set_user_attr(SEED, candidate.seed)
    trial.set_user_attr(CANDIDATE, candidate.flat())


def noted_candidate(trial: FrozenTrial) -> Candidate | None:
    """What `note_candidate` stored."""
    flat = trial.user_attrs.get(CANDIDATE)
    return None if flat is None else Candidate.of(flat, trial.user_attrs[SEED])


def candidate_of(params: Mapping[str, Any], space: SearchSpace, seed: int) -> Candidate:
    """The candidate that these sampler-side parameters stand for."""
    return space.sample(_Given(params), seed)


class _Given:
    """A trial whose parameters are given; a missing one (the trial was cut off early) takes the axis's first value."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        self._params = params

    def suggest_float(self, name: str, low: float, _high: float, **_: Any) -> float:
        return float(self._params.get(name, low))

    def suggest_int(self, name: str, low: int, _high: int, **_: Any) -> int:
        return int(self._params.get(name, low))

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        return self._params.get(name, choices[0])


def waiting(study: optuna.Study) -> list[dict[str, Any]]:
    """Parameters of the trials that are queued and not begun."""
    return [
        dict(trial.system_attrs.get("fixed_params", {})) for trial in trials(study) if trial.state == TrialState.WAITING
    ]


def enqueue(study: optuna.Study, params: Mapping[str, Any]) -> None:
    study.enqueue_trial(dict(params))


@contextmanager
def sampling(study: optuna.Study, at_random: bool, seed: int) -> Iterator[None]:
    """Ask and suggest inside; `at_random` leaves the sampler aside once, after it has repeated itself."""
    usual = study.sampler
    if at_random:
        study.sampler = optuna.samplers.RandomSampler(seed=seed)
    try:
        yield
    finally:
        study.sampler = usual


def importances(records: list[TrialRecord], config: SearchConfig, space: SearchSpace) -> dict[str, dict[str, float]]:
    """Which parameters mattered for each objective (PED-ANOVA, arXiv 2304.10255), per student family too.

    From at most `MOST_RANKED` complete trials, spread over the search.
    Keys are `<objective>` for the choice among all and `<objective> within <student>`; too few trials give no entry.
    """
    found: dict[str, dict[str, float]] = {}
    complete = thinned([record for record in records if record.end == "complete"], MOST_RANKED)
    frozen = {record.number: _frozen(record, config, space) for record in complete}
    groups = {"": complete}
    for student in sorted({record.candidate.student for record in complete}):
        groups[f" within {student}"] = [record for record in complete if record.candidate.student == student]
    for suffix, group in groups.items():
        if len(group) < 8:
            continue
        study = optuna.create_study(directions=[METRICS[name].direction for name in config.objectives])
        study.add_trials([frozen[record.number] for record in group])
        for position, name in enumerate(config.objectives):
            ranked = _ranked(study, position)
            if ranked:
                found[f"{name}{suffix}"] = ranked
    return found


def _ranked(study: optuna.Study, position: int) -> dict[str, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PED-ANOVA warns of every objective that is to be minimised
        try:
            ranks = optuna.importance.get_param_importances(study, target=lambda trial: trial.values[position])
        except (ValueError, RuntimeError):
            return {}  # all trials alike: nothing to rank
    return {name.split("@")[0]: round(float(value), 4) for name, value in ranks.items()}
