"""The search: ask, run the trial, remember, tell, show; and resume by doing the same again.

Order of a trial's end: record.json (write, fsync, rename), then the study, then MLflow, then the front. Whatever dies
in between, the next start mends the later ones from the earlier.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import yaml

from pipeline import workbench
from pipeline.ancestor import Ancestor, nearest
from pipeline.config import SearchConfig
from pipeline.estimate import PROBES, Estimate, estimate, probes
from pipeline.findings import drop_models, write_front
from pipeline.harvest import lends
from pipeline.lineage import Begun
from pipeline.metrics import yardstick
from pipeline.own_energy import over_limit, own_energy
from pipeline.phases import Phases, added
from pipeline.preflight import preflight, same_space
from pipeline.record import TrialRecord, read_records, write_record
from pipeline.report import FrontReport
from pipeline.rungs import Peers
from pipeline.screening import compares, known_figures, learned
from pipeline.search import study as studies
from pipeline.search.deaths import MOST_DEATHS, deaths, given_up, look_at, note
from pipeline.search.first_recipes import FirstRecipes
from pipeline.search.further import Stores
from pipeline.search.knowledge import Known
from pipeline.search.serving import Serving
from pipeline.search.waiting import Waiting
from pipeline.spent import Ledger, kept, read_spent
from pipeline.tracking import Tracker, save_environment
from pipeline.trial import run_trial
from pipeline.warm_start import Lender, borrowed, lender, loan
from pipeline.workbench import Workbench
from pipeline.workspace import Workspace
from search_spaces import IDENTITY
from search_spaces.candidate import Candidate, Scalar

DIED = "the process ended during this trial"
STOPPED = "stopped by the user"
# After so many equal candidates in a row the sampler is left aside once; after so many more the space counts as seen.
REPEATS_BEFORE_RANDOM = 3
REPEATS_BEFORE_END = 60
# The front's files and MLflow's view of it are rewritten at most this often while the search runs, and at its end.
FRONT_EVERY_S = 30.0
# After so many trials in a row that found the device away, training more would only pile up what cannot be ranked.
MOST_AWAY = 3


class Progress(Protocol):
    """What the search tells its onlookers; nothing comes back."""

    def before(self, records: Sequence[TrialRecord]) -> None: ...
    def step(self, sentence: str) -> None: ...
    def begin(self, number: int, candidate: Candidate) -> None: ...
    def end(self, record: TrialRecord, report: FrontReport) -> None: ...
    def say(self, sentence: str) -> None: ...


@dataclass(frozen=True)
class SearchResult:
    """What a search came to."""

    workspace: Workspace
    report: FrontReport
    reason: str  # why it ended


def run_search(
    config: SearchConfig,
    workspace: Workspace,
    progress: Progress,
    *,
    now: Callable[[], float] = time.monotonic,
    prepare: Callable[..., Workbench] = workbench.prepare,
    ask: Callable[[Estimate], bool] | None = None,
) -> SearchResult:
    """Run or resume a search to its limits. Errors: ConfigError, Unavailable before the first trial.

    `ask` is shown an estimate after the first trained trials, and says whether to go on.
    """
    preflight(config, workspace)
    lends = lender(workspace.root, config.warm_start, config) if config.warm_start else None
    with ExitStack() as stack:
        stack.enter_context(workspace.lock())
        ledger = stack.enter_context(kept(workspace, "search"))
        bench = prepare(config, workspace, progress.step, progress.say)
        ledger.prepared(bench.teacher_spent)
        space = bench.space.describe()
        same_space(space, workspace)
        workspace.save_state(
            config=config.resolved(),
            space=space,
            target=bench.target.conditions().to_json(),
            notes=list(bench.notes),
        )
        loop = _Loop(config, workspace, bench, progress, ledger, now, ask, lends)
        with loop.tracker.running():
            return loop.run()


class _Loop:
    """The state of a running search: its records by candidate, its study, its view in MLflow."""

    def __init__(
        self,
        config: SearchConfig,
        workspace: Workspace,
        bench: Workbench,
        progress: Progress,
        ledger: Ledger,
        now: Callable[[], float],
        ask: Callable[[Estimate], bool] | None,
        lends: Lender | None = None,
    ) -> None:
        self.config, self.workspace, self.bench, self.progress, self.now = config, workspace, bench, progress, now
        self.ledger, self.ask = ledger, ask
        self.space = bench.space.trained()  # the sampler is not asked for identities: they come first, and are few
        self.records = read_records(workspace.folder)
        self.waiting = Waiting(config, workspace, bench, self.records)
        self.serving = Serving(config, workspace, self.space, self.records)
        self.loan = loan(lends, bench, self.space) if lends else None
        seen = studies.seen(self.records, config, self.space)
        self.known = self._known_before()
        self.study = studies.open_study(config, workspace.study_url, seen, self.known)
        self._mend()
        self.waiting.mark_continued()
        self._tidy()
        self.tracker = Tracker(workspace, config, progress.say)
        self.stores = Stores(config, workspace, self.space, self.study, self.records, ledger, self.tracker, progress)
        self.tracker.repair(self.records)
        self._tell_about_search()
        self._looked = Phases()  # at untrained twins, since the last trial
        spent_before_s = sum(sum(record.seconds.values()) for record in self.records if record.final_of is None)
        self._begun_at = now() - spent_before_s
        self._front_at = -FRONT_EVERY_S
        self.recipes = FirstRecipes(config, self.space, self.study, self.records, self.known, progress.say)
        self._lent_queued = False
        self._cut_off: int | None = None  # the trial whose harvest a limit has ended

    def _known_before(self) -> Known:
        """What a sampler may know beside the study, and find out."""
        teacher, chance = yardstick(self.bench.teacher_metrics), self.bench.chance
        figures = partial(known_figures, bench=self.bench)
        serving = self.serving
        return Known(self.space, serving.standing, teacher, chance, figures, serving.lenders, self._screen)

    def _screen(self, candidate: Candidate) -> bool:
        folder, what = self.workspace.folder, look_at(candidate)
        if (died := deaths(folder, what)) >= MOST_DEATHS:
            return False
        self.progress.step("measuring untrained, to choose")
        note(folder, what, died + 1)
        try:
            # killed, `clean` finds the folder
            with self._looked("screen"), tempfile.TemporaryDirectory(prefix=".", suffix=".part", dir=folder) as place:
                found = learned(candidate, self.bench, Path(place))
        except KeyboardInterrupt:
            note(folder, what, died)
            raise
        note(folder, what, 0)
        return found

    def run(self) -> SearchResult:
        repeats, away = 0, 0
        self.progress.before([record for record in self.records if record.final_of is None])
        self._harvest_again()
        if self.loan and self.loan.why is None and (lent := self._lent()):
            self.progress.say(self.loan.sentence(len(lent)))
        while not (reason := self._limit(repeats, away) or self._declined()):
            record = self._one(at_random=repeats >= REPEATS_BEFORE_RANDOM)
            repeats = repeats + 1 if record.same_as is not None else 0
            if record.same_as is None:
                away = away + 1 if record.end == "pending" else 0
        self._show_front(final=True)
        return SearchResult(self.workspace, self.stores.report(), reason)

    def _one(self, at_random: bool) -> TrialRecord:
        if (left := self.waiting.goes_on_now()) is not None:
            number = studies.begin(self.study, left.candidate, self.space, left.number)
            return self._carry(number, number, left.candidate, left)
        seed = self.config.seed + len(self.records)
        identity = self._identity(seed)
        if identity is None and self.loan and self.loan.why is None and (lent := self._lent()):
            return self._take(lent[0][0])
        if identity is None:  # not before: asking for an identity's number would take one out of the queue
            if not self._lent_queued:
                self._enqueue_lent()
            self.recipes.enqueue_next()
        with studies.sampling(self.study, at_random, seed):
            trial = self.study.ask()
            candidate = self.serving.as_trained(self.waiting.as_left(identity or self.space.sample(trial, seed)))
        studies.note_candidate(trial, candidate)
        return self._carry(trial, trial.number, candidate, None)

    def _carry(self, trial: Any, number: int, candidate: Candidate, left: TrialRecord | None) -> TrialRecord:
        """One candidate to its record; `left` is the record of the stopped student that goes on with it."""
        self.progress.begin(number, candidate)
        try:
            record = (None if left else self._known(number, candidate)) or self._run(number, candidate, left)
            record = self._with_looks(record)
        except KeyboardInterrupt:
            # Recorded and queued again now; after a kill -9 the next start does the same in `_mend`.
            self._remember(number, self._interrupted(number, candidate, STOPPED))
            raise
        self._remember(trial, record)
        for before in self.waiting.mark_continued():
            self.tracker.replace(before)
        self._tidy()
        self.progress.end(record, self.stores.report(paired=False))
        self._harvest(record)  # before the front is shown: models off it may be deleted then
        self._show_front(final=False)
        return record

    def _with_looks(self, record: TrialRecord) -> TrialRecord:
        """With the time of the twins that were measured to choose it."""
        looked, self._looked = self._looked, Phases()
        seconds = added(record.seconds, looked.seconds())
        return record.with_(seconds=seconds, cpu_seconds=added(record.cpu_seconds, looked.cpu_seconds()))

    def _run(self, number: int, candidate: Candidate, left: TrialRecord | None) -> TrialRecord:
        peers = None
        if compares(self.config.trials):
            peers = Peers(tuple(self.records), 0 if left is None else left.rung or 0)
        serves, step = self.config.trials.harvest > 0, self.progress.step
        if left is None and (start := self.serving.start_of(candidate)) is not None:
            return self._begun_with(number, candidate, start)
        ancestor = None if left else self._ancestor(candidate)  # who goes on has weights of its own, in a checkpoint
        record = run_trial(number, candidate, self.bench, step, peers=peers, ancestor=ancestor, lends=serves)
        return record.with_(resumed_from=left.number, inherited_from=left.inherited_from) if left else record

    def _ancestor(self, candidate: Candidate) -> Ancestor | None:
        if self.config.trials.inherit == "teacher" or candidate.student == IDENTITY:
            return None
        nested = self.bench.families[candidate.student].nested
        return nearest(candidate, self.records, self.workspace.folder, nested)

    def _tidy(self) -> None:
        for sentence in self.waiting.tidy():
            self.progress.say(sentence)

    def _harvest(self, parent: TrialRecord) -> None:
        """Further trials that begin with the student that `parent` trained; the study is told of them afterwards.

        Cut off, the next start does those that are missing; so does one with wider limits.
        """
        self._cut_off = parent.number
        for candidate, start in self.serving.at_once(parent):
            if self._done() >= self.config.limits.trials or self._spent() is not None:
                return
            self.stores.further(candidate, partial(self._begun_with, candidate=candidate, start=start))
        self._cut_off = None
        self.serving.has_served(parent)

    def _begun_with(self, number: int, candidate: Candidate, start: Begun) -> TrialRecord:
        parent = next(record for record in self.records if record.number == start.number)
        record = run_trial(number, candidate, self.bench, self.progress.step, start)
        return record.with_(inherited_from=parent.inherited_from)  # its training is the parent's

    def _lent(self) -> list[tuple[TrialRecord, Mapping[str, Scalar]]]:
        """Of what another search lends, the trials whose candidates have no result here, with parameters."""
        tried = {record.candidate.key for record in self.records if record.counts}
        return [pair for pair in self.loan.records if pair[0].candidate.key not in tried] if self.loan else []

    def _take(self, theirs: TrialRecord) -> TrialRecord:
        """A file of another search as a trial of this one; cut off, the next start takes those that are missing."""
        record = self.stores.further(
            theirs.candidate, lambda number: borrowed(number, theirs, self.bench, self.progress.step)
        )
        self._harvest(record)
        self._show_front(final=False)
        return record

    def _enqueue_lent(self) -> None:
        """Where the files of another search cannot be used, its front's candidates, to be tried first."""
        self._lent_queued = True
        queued = studies.waiting(self.study)
        new = [params for _, params in self._lent() if params not in queued]
        for params in new:
            studies.enqueue(self.study, params)
        if new and self.loan:
            self.progress.say(self.loan.sentence(len(new)))

    def _harvest_again(self) -> None:
        """What a killed search left undone: at most the siblings of the last student that was trained."""
        if trained := [record for record in self.records if lends(record)]:
            self._harvest(trained[-1])

    def _remember(self, trial: Any, record: TrialRecord) -> None:
        write_record(self.workspace.folder, record)
        self.records.append(record)
        self.ledger.note()
        studies.tell(self.study, trial, record, self.config)
        self.tracker.log(record)

    def _known(self, number: int, candidate: Candidate) -> TrialRecord | None:
        """An equal candidate's record under the new number; the seed is not part of the key."""
        for record in self.records:
            if record.candidate.key == candidate.key and record.counts:
                same = f"the same candidate as trial {record.number}; not trained twice"
                moment = datetime.now(UTC).isoformat(timespec="seconds")
                changes: dict[str, Any] = {"curve": (), "started": moment, "ended": moment}
                changes |= {"seconds": {}, "cpu_seconds": {}, "resumed_from": None, "final_of": None}
                # A refusal or a stop stays one, for the sampler; what is pending is measured under its first number.
                end = "duplicate" if record.end in ("complete", "pending") else record.end
                return record.with_(number=number, end=end, reason=same, same_as=record.number, **changes)
        return None

    def _identity(self, seed: int) -> Candidate | None:
        """The next quantization of the untrained teacher that has no result yet."""
        tried = {record.candidate.key for record in self.records if record.counts}
        own = [Candidate.of(flat, seed) for flat in self.bench.space.identity_candidates()]
        return next((candidate for candidate in own if candidate.key not in tried), None)

    def _interrupted(self, number: int, candidate: Candidate, how: str) -> TrialRecord:
        """The record of a trial that was cut off; its candidate is queued again unless it keeps taking us down."""
        cut_off = [record for record in self.records if record.end == "interrupted"]
        same = [record for record in cut_off if record.candidate.key == candidate.key]
        deaths = sum(str(record.reason).startswith(DIED) for record in same) + (how == DIED)
        stopped = [record for record in self.records if record.end == "stopped" and record.counts]
        left = next((record.number for record in stopped if record.candidate.key == candidate.key), None)
        moment = datetime.now(UTC).isoformat(timespec="seconds")
        if deaths >= MOST_DEATHS:
            return given_up(number, candidate, deaths).with_(resumed_from=left, ended=moment)
        if left is not None:  # the stopped student still deserves it, and goes on from its last checkpoint
            reason = f"{how}; trial {left} goes on again"
            return TrialRecord(number, candidate, "interrupted", reason, resumed_from=left, ended=moment)
        queued = self.space.params_of(candidate.flat())
        if not isinstance(queued, str):
            studies.enqueue(self.study, queued)
        reason = f"{how}; the same candidate is queued again"
        return TrialRecord(number=number, candidate=candidate, end="interrupted", reason=reason, ended=moment)

    def _mend(self) -> None:
        def interrupted(number: int, candidate: Candidate) -> TrialRecord:
            record = self._interrupted(number, candidate, DIED)
            write_record(self.workspace.folder, record)
            self.records.append(record)
            return record

        for sentence in studies.mend(self.study, self.records, self.config, self.space, interrupted):
            self.progress.say(sentence)
        self._queue_again()

    def _queue_again(self) -> None:
        """Who was cut off, and then taken out of the queue by a process that ended before it had begun with it."""
        done, queued = {record.candidate.key for record in self.records if record.counts}, studies.waiting(self.study)
        cut_off = [record.candidate for record in self.records if record.end == "interrupted"]
        for candidate in cut_off:
            params = self.space.params_of(candidate.flat())
            if candidate.key not in done and not isinstance(params, str) and params not in queued:
                studies.enqueue(self.study, params)
                queued.append(params)

    def _tell_about_search(self) -> None:
        """The resolved configuration, the environment, the teacher's figures and the notes, on the search's own run."""
        folder = self.workspace.folder
        save_environment(folder / "environment.json")
        (folder / "config.yaml").write_text(yaml.safe_dump(self.config.resolved(), sort_keys=False), encoding="utf-8")
        files = [folder / "config.yaml", folder / "environment.json"]
        self.tracker.log_parent(flat(self.config.resolved()), self.bench.teacher_metrics, files, self.bench.notes)

    def _done(self) -> int:
        return sum(record.counts for record in self.records if record.final_of is None)

    def _spent(self) -> str | None:
        """Which limit of time or energy is reached, or None."""
        limits, hours = self.config.limits, (self.now() - self._begun_at) / 3600
        if limits.hours is not None and hours >= limits.hours:
            return f"{hours:.2f} hours are spent (limits.hours)"
        return None if limits.max_kwh is None else over_limit(self.workspace, self.records, limits.max_kwh)

    def _limit(self, repeats: int, away: int) -> str | None:
        """Why the search ends now, or None."""
        limits = self.config.limits
        if away >= MOST_AWAY:
            return stays_away(self.config.name, away)
        done = self._done()
        size = self.bench.space.size()
        seen = size is not None and done >= size
        # Nobody who deserves to go on is left behind: that makes no further candidate, and ends.
        last = (done >= limits.trials or seen) and self.waiting.goes_on_now() is None
        if last and done >= limits.trials:
            return f"{done} trials are done (limits.trials)"
        if reason := self._spent():
            return reason
        if last and seen:
            return f"all of the space has been seen: {done} different candidates"
        if repeats >= REPEATS_BEFORE_END:
            of = "" if size is None else f" of {size}"
            return f"{repeats} proposals in a row were repetitions: {done}{of} different candidates have been seen"
        return None

    def _declined(self) -> str | None:
        """Once enough trials have been trained: why the search ends by the user's answer to an estimate, or None."""
        if self.ask is None or len(probes(self.records)) < PROBES:
            return None
        ask, self.ask = self.ask, None
        self.ledger.note()
        own = own_energy(read_spent(self.workspace), self.records)
        if ask(estimate(self.records, self.config.limits, own)):
            return None
        return "stopped after the estimate; the trials are kept, and the same command goes on"

    def _show_front(self, final: bool) -> None:
        if not final and self.now() - self._front_at < FRONT_EVERY_S:
            return
        report = self.stores.report()
        mattered = studies.importances(self.records, self.config, self.space) if final else None
        files = write_front(report, self.workspace, mattered)
        lending = {record.number for record in self.serving.lenders().values()}
        if final:
            lending = set() if self._cut_off is None else {self._cut_off}
        self.serving.keep_only(lending)
        if self.config.keep == "front":
            for path in drop_models(report, self.workspace, lending):
                self.tracker.drop_model(int(path.parent.name))
        self.tracker.show_front(report, files)
        self._front_at = self.now()


def stays_away(name: str, trials: int) -> str:
    """Why nothing more is trained, and what to type."""
    return (
        f"the device stays away: {trials} trials in a row were trained and kept, and wait to be measured; "
        f"once it is back, type: niwaki measure-pending {name}"
    )


def flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested plain data under dotted keys."""
    found: dict[str, Any] = {}
    for key, value in data.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found
