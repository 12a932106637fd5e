"""What stored students serve: the candidates that begin with what another trial has trained."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

from pipeline.config import SearchConfig
from pipeline.harvest import Training, epochs_more, lenders, lends, siblings, training
from pipeline.lineage import Begun, begun, serves
from pipeline.record import UNPRUNED, TrialRecord
from pipeline.search.knowledge import enough
from pipeline.search.standing import Standing
from pipeline.workspace import Workspace
from search_spaces import SearchSpace
from search_spaces.candidate import Candidate


@dataclass(frozen=True)
class Serving:
    """Of one search; `records` is its own list, which grows."""

    config: SearchConfig
    workspace: Workspace
    space: SearchSpace
    records: list[TrialRecord]

    def lenders(self) -> dict[Training, TrialRecord]:
        """By what they were taught, the students that further candidates may begin with."""
        if not (most := self.config.trials.harvest):
            return {}
        able = lenders(self.records, self.standing.front(), most)
        return {taught: parent for taught, parent in able.items() if serves(parent, self.workspace.folder)}

    @cached_property
    def standing(self) -> Standing:
        return Standing(self.records, self.config.objectives)

    def start_of(self, candidate: Candidate) -> Begun | None:
        """What is stored of the training that `candidate` asks for, where a trial has had it."""
        served = self._served(candidate)
        return None if served is None else served[1]

    def as_trained(self, candidate: Candidate) -> Candidate:
        """With the seed of the training that it begins with, where it does."""
        served = self._served(candidate)
        return candidate if served is None else Candidate(candidate.values, served[0].candidate.seed)

    def at_once(self, parent: TrialRecord) -> list[tuple[Candidate, Begun]]:
        """What is tried now with the student that `parent` trained, and what is stored for it.

        A sampler that knows what they promise asks for them itself. With those students that it did not choose what
        takes no epoch is tried, the last of them too: that is what it begins with, and two schemes of one student tell
        more than one.
        """
        before = (record for record in self.records if record.number < parent.number)
        if not lends(parent) or (self._by_the_sampler and enough(before, self.config)):
            return []
        served = sum(record.trained_by == parent.number for record in self.records)
        tried = {record.candidate.key for record in self.records if record.counts}
        candidates = [Candidate.of(flat, parent.candidate.seed) for flat in siblings(parent.candidate, self.space)]
        if self._by_the_sampler:
            candidates = [one for one in candidates if not epochs_more(one, parent.candidate)]
        starts = [(one, begun(one, parent, self.workspace.folder)) for one in candidates if one.key not in tried]
        able = [(candidate, start) for candidate, start in starts if start is not None]
        return able[: max(self.config.trials.harvest - served, 0)]

    def has_served(self, parent: TrialRecord) -> None:
        """Its student before pruning, as large as the student, goes once all that was to begin with it has."""
        if not self._by_the_sampler:
            self._drop(parent)

    def keep_only(self, lending: Collection[int]) -> None:
        """The students before pruning of other trials go."""
        for record in self.records if self.config.trials.harvest else ():
            if record.number not in lending:
                self._drop(record)

    def _served(self, candidate: Candidate) -> tuple[TrialRecord, Begun] | None:
        parent = self.lenders().get(training(candidate))
        start = None if parent is None else begun(candidate, parent, self.workspace.folder)
        return None if parent is None or start is None else (parent, start)

    @property
    def _by_the_sampler(self) -> bool:
        return self.config.sampler.name == "device_aware"

    def _drop(self, record: TrialRecord) -> None:
        shutil.rmtree(self.workspace.trial(record.number) / UNPRUNED, ignore_errors=True)
