"""The students that were stopped at a rung and wait: who goes on by now, and whose checkpoint stays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.at_rungs import checkpoints_of, terms_of
from pipeline.checkpoints import Checkpoints
from pipeline.config import SearchConfig
from pipeline.record import TrialRecord, write_record
from pipeline.rungs import deserving, expendable
from pipeline.workspace import Workspace
from search_spaces.candidate import Candidate

if TYPE_CHECKING:
    from pipeline.workbench import Workbench


@dataclass(frozen=True)
class Waiting:
    """Of one search; `records` is its own list, which grows."""

    config: SearchConfig
    workspace: Workspace
    bench: Workbench
    records: list[TrialRecord]

    @property
    def checkpoints(self) -> Checkpoints:
        return checkpoints_of(self.config, self.workspace)

    def goes_on_now(self) -> TrialRecord | None:
        """The stopped student that deserves it most by now, where one does and its checkpoint is there."""
        if not self.config.trials.rungs:
            return None
        there = self.checkpoints.keys()
        found = deserving(self.records, self.config.trials.rungs, terms_of(self.config, self.bench)) if there else []
        return next((record for record in found if record.candidate.key in there), None)

    def as_left(self, candidate: Candidate) -> Candidate:
        """With the seed of its checkpoint, where the process died after one was written."""
        seed = self.checkpoints.seed(candidate.key) if self.config.trials.rungs else None
        return candidate if seed is None else Candidate(candidate.values, seed)

    def mark_continued(self) -> list[TrialRecord]:
        """Stopped trials that another has gone on with say so, and count no longer; killed before, it is done now."""
        after = {record.resumed_from: record.number for record in self.records if record.counts}
        changed = []
        for place, record in enumerate(self.records):
            if record.end == "stopped" and record.number in after and record.continued_in is None:
                self.records[place] = record.with_(continued_in=after[record.number])
                write_record(self.workspace.folder, self.records[place])
                changed.append(self.records[place])
        return changed

    def tidy(self) -> list[str]:
        """Checkpoints of who waits or was cut off stay, as far as `trials.checkpoints_gb` goes; what went, in words."""
        if not self.config.trials.rungs:
            return []
        ended = {record.candidate.key for record in self.records if record.counts and record.end != "stopped"}
        self.checkpoints.drop(self.checkpoints.keys() & ended)
        there = self.checkpoints.keys()
        waiting = {record.candidate.key: record for record in expendable(self.records)}
        return [
            f"trial {waiting[key].number} cannot go on any more: its checkpoint made room (trials.checkpoints_gb)"
            for key in self.checkpoints.trim([key for key in waiting if key in there])
        ]
