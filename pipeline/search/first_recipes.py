"""The known recipes that a search tries before it asks its sampler, and those that it leaves to a sampler that knows.

Such a sampler is told of the device beforehand. Of several recipes of one shape, which are equally fast, it is given
the first only, and none that the device shows to be no better than the teacher: it asks for these itself if it wants
them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.config import SearchConfig
from pipeline.preflight import recipes
from pipeline.record import TrialRecord
from pipeline.search import study as studies
from pipeline.search.knowledge import Known, gains_nothing
from pipeline.search.standing import Shape, felt
from search_spaces import IDENTITY, SearchSpace
from search_spaces.candidate import Candidate, Scalar


@dataclass
class FirstRecipes:
    """Of one search; `records` is its own list, which grows, and `say` is told of what is left out."""

    config: SearchConfig
    space: SearchSpace  # the sampler's
    study: Any  # Optuna's
    records: list[TrialRecord]
    known: Known
    say: Callable[[str], None]
    _left: list[tuple[str, Candidate, Mapping[str, Scalar]]] | None = field(default=None, init=False)
    _silent: bool = field(default=False, init=False)  # what was said once is not said by a resumed search

    def enqueue_next(self) -> None:
        """The next one, if there is one; each is looked at no sooner than its turn comes, for a look takes seconds."""
        if self._left is None:
            self._silent = any(record.candidate.student != IDENTITY for record in self.records)
            self._left = self._all()
        while self._left:
            name, candidate, params = self._left.pop(0)
            if not (self._by_the_sampler and gains_nothing(candidate, self.known, self.config)):
                studies.enqueue(self.study, params)
                return
            self._tell(f"recipe {name} is left to the sampler: on this device it is no better than the teacher")

    def _all(self) -> list[tuple[str, Candidate, Mapping[str, Scalar]]]:
        """By the user's space, without those that are done or queued."""
        found = []
        tried = {record.candidate.key for record in self.records if record.end != "interrupted"}
        queued, first = studies.waiting(self.study), dict[Shape, str]()
        for name, flat in recipes(self.config).items():
            params = self.space.params_of(flat)
            if isinstance(params, str):
                self._tell(f"recipe {name} is left out: {params}")
                continue
            candidate = studies.candidate_of(params, self.space, self.config.seed)
            if self._by_the_sampler and (other := first.setdefault(felt(candidate), name)) != name:
                self._tell(f"recipe {name} is left to the sampler: it has the shape of {other}")
            elif candidate.key not in tried and params not in queued:
                found.append((name, candidate, params))
        return found

    @property
    def _by_the_sampler(self) -> bool:
        return self.config.recipes == "all" and self.config.sampler.name == "device_aware"

    def _tell(self, sentence: str) -> None:
        if not self._silent:
            self.say(sentence)
