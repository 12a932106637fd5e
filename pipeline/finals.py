"""Finalists distilled in full: every training row, more epochs, several seeds, each a trial of its own.

A search may train its trials cheaply (`trials.rows`, few epochs); what is shipped deserves the whole treatment. A final
takes the same way as every trial, is recorded, told to the study and shown like one, and says whose final it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

from pipeline import ancestor, workbench
from pipeline.config import FinalsConfig, SearchConfig
from pipeline.errors import ConfigError, near
from pipeline.findings import write_front
from pipeline.preflight import preflight, same_space
from pipeline.record import TrialRecord, read_records
from pipeline.search import study as studies
from pipeline.search.deaths import is_given_up
from pipeline.search.further import Stores
from pipeline.search.loop import MOST_AWAY, Progress, stays_away
from pipeline.spent import kept
from pipeline.tracking import Tracker
from pipeline.trial import run_trial
from pipeline.workbench import Workbench
from pipeline.workspace import Workspace
from search_spaces import IDENTITY
from search_spaces.candidate import Candidate

SEED_STEP = 1000  # between the finals of one trial: far from the seeds of a search's own trials


def run_finals(
    config: SearchConfig,
    workspace: Workspace,
    numbers: Sequence[int],
    progress: Progress,
    *,
    prepare: Callable[..., Workbench] = workbench.prepare,
) -> list[TrialRecord]:
    """Distil these trials in full, `config.finals.seeds` times each; those that are done already are left alone.

    The first seed of all comes before the second of any; none begins once `config.finals.hours` are spent on finals.
    Killed and started again, it goes on with what is missing. Errors: ConfigError for a trial that cannot be one.
    """
    preflight(config, workspace)
    with ExitStack() as stack:
        stack.enter_context(workspace.lock())
        records = read_records(workspace.folder)
        chosen = [_finalist(number, records) for number in numbers]
        ledger = stack.enter_context(kept(workspace, "finals"))
        bench = replace(prepare(config, workspace, progress.step), in_full=True)
        ledger.prepared(bench.teacher_spent)
        same_space(bench.space.describe(), workspace)
        study = studies.open_study(config, workspace.study_url)
        tracker = Tracker(workspace, config, progress.say)
        stack.enter_context(tracker.running())
        stores = Stores(config, workspace, bench.space.trained(), study, records, ledger, tracker, progress)
        away = 0
        for record, seed in in_turn(chosen, records, config.finals):
            if config.finals.hours is not None and (spent := hours_spent(records)) >= config.finals.hours:
                progress.say(
                    f"{spent:.2f} hours are spent on finals (finals.hours); with more the same command goes on"
                )
                break
            candidate = in_full(record.candidate, config.finals, seed)
            start = ancestor.again(record, workspace.folder, progress.say)
            run = partial(run_trial, candidate=candidate, bench=bench, step=progress.step, ancestor=start)
            done = stores.further(candidate, run, final_of=record.number)
            away = away + 1 if done.end == "pending" else 0
            if away >= MOST_AWAY:
                progress.say(stays_away(config.name, away))
                break
        report = stores.report()
        tracker.show_front(report, write_front(report, workspace, None))
        return [record for record in records if record.final_of in numbers]


def in_full(candidate: Candidate, finals: FinalsConfig, seed: int) -> Candidate:
    """The same candidate with a final's epochs and seed."""
    flat = candidate.flat()
    if finals.epochs is not None:
        flat["distill.epochs"] = finals.epochs
    return Candidate.of(flat, seed)


def in_turn(
    chosen: Sequence[TrialRecord], records: Sequence[TrialRecord], finals: FinalsConfig
) -> list[tuple[TrialRecord, int]]:
    """Finalists and the seeds that they lack, seed by seed."""
    todo = [(record, seed) for record in chosen for seed in missing_seeds(record, records, finals)]
    return sorted(todo, key=lambda item: item[1] - item[0].candidate.seed)


def hours_spent(records: Sequence[TrialRecord]) -> float:
    """What finals have taken so far, ended well or not."""
    return sum(sum(record.seconds.values()) for record in records if record.final_of is not None) / 3600


def missing_seeds(record: TrialRecord, records: Sequence[TrialRecord], finals: FinalsConfig) -> list[int]:
    """Seeds of this trial's finals that have no result yet."""
    wanted = [record.candidate.seed + SEED_STEP * (place + 1) for place in range(finals.seeds)]
    ends = ("complete", "pending")  # what waits for its device is trained already
    done = [item for item in records if item.end in ends or is_given_up(item)]
    own = [item.candidate for item in done if item.final_of == record.number]
    # finals of other epochs are other students
    return [seed for seed in wanted if in_full(record.candidate, finals, seed) not in own]


def _finalist(number: int, records: Sequence[TrialRecord]) -> TrialRecord:
    complete = {record.number: record for record in records if record.end == "complete" and record.final_of is None}
    record = complete.get(number)
    if record is None:
        known = [str(item) for item in complete]
        raise ConfigError(f"there is no complete trial {number} to distil in full{near(str(number), known)}")
    if record.candidate.student == IDENTITY:
        raise ConfigError(f"trial {number} is the teacher itself, which is not trained; name a trial with a student")
    return record
