"""A simulated search over a bank: the product's order, study and constraints, with stored outcomes and stored costs.

Identities first, then the recipes, then the sampler; no candidate twice. A trial pays the seconds that its training
took when the bank was made, up to the rung where it was stopped; a refusal pays for its measurement only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import optuna
from bank_design import recipe_candidates
from replay_bank import Point, Stored
from replay_rules import Reached, Refuses, Resumes, Stops, Violations, device_violations, over_budget
from replay_tpe import Listed

from pipeline import budget
from pipeline.config import SOONER
from pipeline.harvest import Training, epochs_more, lenders, lends, siblings, training
from pipeline.metrics import METRICS
from pipeline.pareto import front, front_hypervolume, rankable
from pipeline.record import End, TrialRecord
from pipeline.search import study as studies
from pipeline.search.knowledge import enough
from pipeline.search.standing import Standing, felt
from search_spaces import IDENTITY
from search_spaces.candidate import Candidate


@dataclass(frozen=True)
class Strategy:
    """A sampler and the rules beside it."""

    sampler: str = "tpe"
    refuses: tuple[Refuses, ...] = ()
    stops: Stops | None = None
    resumes: Resumes | None = None
    rungs: tuple[int, ...] = ()
    harvest: int = 0
    choose: Callable[[Search], Candidate | None] | None = None  # instead of the sampler; None asks the sampler
    leaves: Callable[[Search, Candidate], bool] | None = None  # recipes that it is to ask for itself
    listed: bool = False  # TPE is told what the bank has left, and chooses among that
    told_score: bool = False  # the sampler is told the axes of the score, as they are scored, instead of the objectives
    told_identities: bool = True
    sooner: bool = False  # with as many startup trials as the chooser, where it has twice as many
    screened_before: bool = False  # every file of the bank, by another search: their figures are known and cost nothing


@dataclass(frozen=True)
class Mark:
    """Where a search stood after a trial: seconds since its beginning, and the volume of its front."""

    train_s: float
    wall_s: float
    volume: float


@dataclass
class Run:
    """What came of a simulated search."""

    marks: list[Mark] = field(default_factory=list)
    records: list[TrialRecord] = field(default_factory=list)
    trained: int = 0  # students trained to their end
    stopped: int = 0
    resumed: int = 0
    refused: dict[str, int] = field(default_factory=dict)  # by rule
    wronged: dict[str, int] = field(default_factory=dict)  # of these, would have come onto the front at that moment
    entered: int = 0  # trained candidates that came onto the front at their moment
    points_per_student: list[int] = field(default_factory=list)  # mutually non-dominated, of one training

    @property
    def last(self) -> Mark:
        return self.marks[-1]


class Search:
    """The state of a simulated search."""

    def __init__(self, bank: Stored, strategy: Strategy, seed: int) -> None:
        self.bank, self.strategy = bank, strategy
        named: dict[str, Any] = {"name": strategy.sampler}
        if strategy.choose or strategy.sooner:  # the chooser's own default
            named |= {"startup_trials": SOONER}
        if strategy.choose:  # until it knows enough, as in the product
            named |= {"name": "random"}
        changed = {
            "sampler": bank.config.sampler.model_copy(update=named),
            "trials": bank.config.trials.model_copy(update={"harvest": strategy.harvest}),
        }
        self.config = bank.config.model_copy(update={**changed, "seed": seed})
        self.space = bank.space.trained()
        directions = [METRICS[name].direction for name in self.config.objectives]
        if strategy.told_score:
            directions = ["maximize", *["minimize"] * (len(self._scored) - 1)]
        self.study = optuna.create_study(directions=directions, sampler=studies.make_sampler(self.config, seed))
        self._tpe = Listed(self.study, seed) if strategy.listed else None
        self.run = Run()
        self.standing = Standing(self.run.records, self.config.objectives)
        self.tried: set[str] = set()
        self.measured = {point.file for point in bank.students()} if strategy.screened_before else set[str]()
        self._reached: dict[int, list[Reached]] = {rung: [] for rung in strategy.rungs}
        self._waiting: dict[str, int] = {}  # stopped candidates and the rung where they are
        self._wronged_stops: set[str] = set()
        recipes = bank.known(recipe_candidates(bank.space).values())
        if strategy.choose:  # as in the product's loop
            recipes = list({felt(one.candidate): one for one in reversed(recipes)}.values())[::-1]
        self._identities, self._recipes = bank.identities(), recipes
        self._known_params: dict[str, Mapping[str, Any]] = {}
        self._train_s = self._wall_s = 0.0

    def until(self, *, trials: int | None = None, train_s: float | None = None) -> Run:
        """Go on to so many trials or training-seconds, or until nothing is left."""
        while (trials is None or len(self.run.records) < trials) and (train_s is None or self._train_s < train_s):
            key = self._goes_on()
            point, parent = self._next() if key is None else (self.bank.points[key], None)
            if point is None:
                break
            trial, before = self._asked(point), list(self.run.records)
            passed = 0 if key is None else self._waiting.pop(key)
            record = self._tried(point, trial.number, passed, parent)
            if passed:
                record = record.with_(resumed_from=self._goes_on_as(point, trial.number))
            self._tell(trial, record)
            self._remember(record)
            if self.strategy.choose is None or not enough(before, self.config):
                self._harvest(point, record)
        self.run.points_per_student = [self._points(record) for record in self.run.records if lends(record)]
        return self.run

    def lenders(self) -> dict[Training, TrialRecord]:
        """Trials with whose students candidates begin, as in the product's loop."""
        return lenders(self.run.records, self.standing.front(), self.config.trials.harvest)

    def _points(self, parent: TrialRecord) -> int:
        """Mutually non-dominated trials of one training."""
        served = [record for record in self.run.records if record.trained_by == parent.number]
        return len(front([parent, *served], self.config.objectives))

    def _goes_on(self) -> str | None:
        """A stopped student that is taken up again."""
        if not self._waiting or self.strategy.resumes is None:
            return None
        key = self.strategy.resumes(self._reached, self._waiting, self.bank)
        if key is not None:
            self.run.resumed += 1
            if key in self._wronged_stops:
                self._wronged_stops.remove(key)
                self.run.wronged["stopped"] -= 1
        return key

    def _goes_on_as(self, point: Point, number: int) -> int:
        """The trial that was stopped with it, which counts no longer, as in the product's loop."""
        records, key = self.run.records, point.candidate.key
        place = max(i for i, one in enumerate(records) if one.end == "stopped" and one.candidate.key == key)
        records[place] = records[place].with_(continued_in=number)
        return records[place].number

    def _next(self) -> tuple[Point | None, TrialRecord | None]:
        """Who comes next, and the trial whose student it begins with where one serves what was proposed.

        Who is met instead may be served by chance: that saves nothing, for what was proposed would have been trained.
        """
        if self._identities:
            return self._identities.pop(0), None
        while self._recipes:
            point = self._recipes.pop(0)
            if self.strategy.leaves is None or not self.strategy.leaves(self, point.candidate):
                return point, self.lenders().get(training(point.candidate))
        proposed = self.strategy.choose(self) if self.strategy.choose else None
        if proposed is None:
            trial = self.study.ask()
            proposed = self.space.sample(trial, 0) if self._tpe is None else self._listed(trial, self._tpe)
            self.study.tell(trial, state=optuna.trial.TrialState.FAIL)  # only asked; who meets it comes as a trial
        met, able = self.bank.nearest(proposed, self.tried) if proposed else None, self.lenders()
        return met, able.get(training(met.candidate)) if met and training(proposed) in able else None

    def _listed(self, trial: optuna.Trial, tpe: Listed) -> Candidate | None:
        """What TPE chooses of that which the bank has left."""
        left = [point.candidate for point in self.bank.students() if point.candidate.key not in self.tried]
        return left[tpe.choose(trial, [self._params(one) for one in left])] if left else None

    def _params(self, candidate: Candidate) -> Mapping[str, Any]:
        """A candidate of the bank in the study's own terms."""
        if candidate.key not in self._known_params:
            params = self.space.params_of(candidate.flat())
            if isinstance(params, str):
                raise SystemExit(f"the space of {self.config.name} does not hold a student of its bank: {params}")
            self._known_params[candidate.key] = params
        return self._known_params[candidate.key]

    def _asked(self, point: Point) -> optuna.Trial:
        """A trial of the study with the point's own parameters; an identity has none there."""
        flat = point.candidate.flat()
        if point.candidate.student == IDENTITY:
            return self.study.ask()
        self.study.enqueue_trial(dict(self._params(point.candidate)))
        trial = self.study.ask()
        if self._genetic:
            # It numbers its generations while it samples, and what is enqueued is not sampled.
            _ = trial.relative_params
        if self.space.sample(trial, 0).key != point.candidate.key:
            raise SystemExit(f"{flat} was asked for and something else was sampled; the bank is of another space")
        return trial

    def _tell(self, trial: optuna.Trial, record: TrialRecord) -> None:
        """A genetic sampler is not told of identities: without parameters, they leave none that all trials share, and
        only shared ones are crossed over."""
        if record.candidate.student == IDENTITY and (self._genetic or not self.strategy.told_identities):
            self.study.tell(trial, state=optuna.trial.TrialState.FAIL)
        elif self.strategy.told_score:
            self.study.tell(trial, values=[_axis(name, record.metrics[name]) for name in self._scored])
        else:
            studies.tell(self.study, trial, record, self.config)

    @cached_property
    def _scored(self) -> list[str]:
        """The axes of the score, the quality first: energies of a textbook rank nothing."""
        whole = [self._whole(point, 0) for point in self.bank.students()]
        axes = rankable(whole, self.config.objectives)
        return sorted(axes, key=lambda name: not METRICS[name].quality)

    @property
    def _genetic(self) -> bool:
        return self.strategy.sampler.startswith("nsga")

    def _tried(self, point: Point, number: int, passed: int = 0, parent: TrialRecord | None = None) -> TrialRecord:
        """The way of one candidate: from the rung that it has `passed`, or with the student that `parent` trained."""
        self.tried.add(point.candidate.key)
        if point.candidate.student != IDENTITY:
            # who begins with a student has nothing to lose by rungs, nor by being dominated; a budget holds for all
            rules = [
                one for one in self.strategy.refuses if parent is None or (one is over_budget and self.config.budget)
            ]
            if not passed and (refused := self._refused(point, number, rules)) is not None:
                return refused
            if parent is None:
                if self.strategy.rungs:
                    self.screen(point)  # who is compared at a rung is compared by its figures, too
                if (stopped := self._climbed(point, number, passed)) is not None:
                    return stopped
                self.run.trained += 1
                self._pay(point.distill_s - point.spent_s(passed))
            again = parent is not None and parent.candidate.section("prune") == point.candidate.section("prune")
            self._pay(0.0 if again else point.recover_s)
        self._wall_s += point.make_s + self.bank.measure_s
        self.measured.add(point.file)
        whole = self._whole(point, number)
        if parent is not None:
            return whole.with_(trained_by=parent.number)
        if point.candidate.student == IDENTITY:
            return whole
        training_s = {"distill": point.distill_s, "recover": point.recover_s}
        return whole.with_(seconds={**training_s, "export": point.make_s, "measure": self.bank.measure_s})

    def _refused(self, point: Point, number: int, rules: Sequence[Refuses]) -> TrialRecord | None:
        for rule in rules:
            self.screen(point)
            if (violations := rule(point, self.run.records, self.bank)) is not None:
                name = rule.__name__
                self.run.refused[name] = self.run.refused.get(name, 0) + 1
                self.run.wronged[name] = self.run.wronged.get(name, 0) + self._enters(self._whole(point, number))
                return self._record(point, number, "refused", violations)
        return None

    def screen(self, point: Point) -> None:
        """Make and measure its untrained twin, once for each file."""
        if point.file not in self.measured:
            self.measured.add(point.file)
            self._wall_s += point.twin_s + self.bank.screen_s

    def _climbed(self, point: Point, number: int, passed: int) -> TrialRecord | None:
        """The record of a student that is stopped at a rung beyond those it has passed."""
        epochs = len(point.curve)
        for rung in (rung for rung in self.strategy.rungs if passed < rung < epochs):
            own = self._at(point, number, rung)
            others = list(self._reached[rung])
            self._reached[rung].append(own)
            if self.strategy.stops and (violations := self.strategy.stops(own, others, self.bank)) is not None:
                self._pay(point.spent_s(rung) - point.spent_s(passed))
                return self._left(point, number, rung, violations)
        return None

    def _at(self, point: Point, number: int, rung: int) -> Reached:
        metrics = {**point.metrics, self.config.task.metric: point.curve[rung - 1]["rung_accuracy"]}
        limits = device_violations(point.metrics, self.bank)
        record = self._record(point, number, "complete", limits).with_(metrics=metrics, curve=point.curve[:rung])
        return Reached(record, rung, len(point.curve))

    def _left(self, point: Point, number: int, rung: int, violations: Violations) -> TrialRecord:
        key = point.candidate.key
        self._waiting[key] = rung
        self.run.stopped += 1
        self.run.wronged.setdefault("stopped", 0)
        if self._enters(self._whole(point, number)):
            self._wronged_stops.add(key)
            self.run.wronged["stopped"] += 1
        limits = {**device_violations(point.metrics, self.bank), **violations}
        told = {"rung": rung, "rung_accuracy": point.curve[rung - 1]["rung_accuracy"], "curve": point.curve[:rung]}
        return self._record(point, number, "stopped", limits).with_(**told)

    def _harvest(self, parent: Point, record: TrialRecord) -> None:
        """Further candidates that begin with the parent's student, as the product's loop does them."""
        if not lends(record):
            return
        points = [one for one in self.bank.known(siblings(parent.candidate, self.space))
                  if one.candidate.key not in self.tried]  # fmt: skip
        if self.strategy.choose:
            points = [one for one in points if not epochs_more(one.candidate, parent.candidate)]
        for point in points[: self.strategy.harvest]:
            found = self._tried(point, studies.count(self.study), parent=record)
            studies.add(self.study, found, self.config, self.space)
            self._remember(found)

    def _remember(self, record: TrialRecord) -> None:
        self.run.entered += self._enters(record) and record.candidate.student != IDENTITY
        self.run.records.append(record)
        self.run.marks.append(Mark(self._train_s, self._wall_s, volume(self.run.records, self.bank)))

    def _enters(self, record: TrialRecord) -> bool:
        """Whether a candidate comes onto the front as it is now."""
        objectives = self.config.objectives
        return record.feasible and any(one is record for one in front([*self.run.records, record], objectives))

    def _whole(self, point: Point, number: int) -> TrialRecord:
        """What full training would have made of it."""
        return self._record(point, number, "complete", budget.violations(self.config.budget, point.metrics))

    def _record(self, point: Point, number: int, end: End, violations: Violations) -> TrialRecord:
        metrics = point.metrics if end == "complete" else {**point.metrics, **self.bank.chance}
        curve = point.curve if end == "complete" else ()
        told = {"metrics": metrics, "violations": dict(violations), "measurement": point.measurement, "curve": curve}
        return TrialRecord(number, point.candidate, end, **told)

    def _pay(self, seconds: float) -> None:
        self._train_s += seconds
        self._wall_s += seconds


def _axis(name: str, value: float) -> float:
    """As the score counts it: a quality as it is, a cost as its doublings, smaller being better."""
    if METRICS[name].quality:
        return value
    return -math.log2(value) if METRICS[name].maximize else math.log2(value)


def volume(records: Sequence[TrialRecord], bank: Stored) -> float:
    """The front's volume: accuracy from chance to the teacher, costs as log2 of the teacher's over the model's.

    The reference point is chance at the teacher's cost, the same for every run. Energy counts where the product may
    rank it (`pipeline.pareto`): figures of kind modelled-generic are no axis of their own.
    """
    return front_hypervolume(records, bank.config.objectives, bank.teacher_metrics, bank.chance)


def best_volume(bank: Stored) -> float:
    """Of everything in the bank."""
    every = [
        TrialRecord(number, point.candidate, "complete", metrics=point.metrics, measurement=point.measurement,
                    violations=budget.violations(bank.config.budget, point.metrics))
        for number, point in enumerate(bank.points.values())
    ]  # fmt: skip
    return volume(every, bank)
