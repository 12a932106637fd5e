"""Trials that the sampler is not asked for: finals, what one training serves besides, and what another search lends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.config import SearchConfig
from pipeline.findings import find
from pipeline.record import TrialRecord, write_record
from pipeline.report import FrontReport
from pipeline.search import study as studies
from pipeline.search.deaths import MOST_DEATHS, deaths, given_up, note, trial_of
from pipeline.spent import Ledger
from pipeline.tracking import Tracker
from pipeline.workspace import Workspace
from search_spaces import SearchSpace
from search_spaces.candidate import Candidate

if TYPE_CHECKING:
    from pipeline.search.loop import Progress


@dataclass(frozen=True)
class Stores:
    """Where the trials of a running search are kept, and who is told of them; `records` is the search's own list."""

    config: SearchConfig
    workspace: Workspace
    space: SearchSpace  # the sampler's
    study: Any  # Optuna's
    records: list[TrialRecord]
    ledger: Ledger
    tracker: Tracker
    progress: Progress

    def report(self, paired: bool = True) -> FrontReport:
        return find(self.workspace, self.config, self.records, paired=paired)

    def further(
        self, candidate: Candidate, run: Callable[[int], TrialRecord], *, final_of: int | None = None
    ) -> TrialRecord:
        """Run a trial under the next number and keep it; the study is told of it afterwards."""
        number = max(studies.count(self.study), 1 + max((record.number for record in self.records), default=-1))
        self.progress.begin(number, candidate)
        record = self._tried(number, candidate, run).with_(final_of=final_of)
        write_record(self.workspace.folder, record)
        note(self.workspace.folder, trial_of(candidate), 0)
        self.records.append(record)
        self.ledger.note()
        studies.add(self.study, record, self.config, self.space)
        self.tracker.log(record)
        self.progress.end(record, self.report(paired=False))
        return record

    def _tried(self, number: int, candidate: Candidate, run: Callable[[int], TrialRecord]) -> TrialRecord:
        died = deaths(self.workspace.folder, trial_of(candidate))
        if died >= MOST_DEATHS:
            return given_up(number, candidate, died)
        note(self.workspace.folder, trial_of(candidate), died + 1)
        try:
            return run(number)
        except KeyboardInterrupt:
            note(self.workspace.folder, trial_of(candidate), died)
            raise
