"""What is asked of all records again and again, found from those that are new: with 10,000 trials that matters."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.pareto import contenders, front
from pipeline.record import TrialRecord
from search_spaces.candidate import Candidate, Scalar

Shape = tuple[tuple[str, Scalar], ...]

# What the device does not feel, so nothing of it is learned for figures of the device.
WEIGHTS_ONLY = ("distill.", "prune.criterion", "prune.recovery_epochs", "quantize.aware_epochs")


def felt(candidate: Candidate) -> Shape:
    """What the device feels of a candidate."""
    return tuple(pair for pair in candidate.values if not pair[0].startswith(WEIGHTS_ONLY))


class Standing:
    """Over the records of a search, a list that grows.

    A record may be replaced in it when another goes on with its candidate; neither of the two is on a front then.
    """

    def __init__(self, records: Sequence[TrialRecord], objectives: Sequence[str]) -> None:
        self.records = records
        self._objectives, self._seen = objectives, 0
        self._tried: set[str] = set()
        self._measured: set[Shape] = set()
        self._deciding: list[TrialRecord] = []

    def front(self) -> list[TrialRecord]:
        """Of the records that count and are no finals."""
        self._look()
        return front(self._deciding, self._objectives)

    def tried(self) -> set[str]:
        """Keys of the candidates that have a record that counts, be it a final."""
        self._look()
        return self._tried

    def measured(self) -> set[Shape]:
        """What the device felt of those that have figures and are no finals."""
        self._look()
        return self._measured

    def _look(self) -> None:
        counting = [record for record in self.records[self._seen :] if record.counts]
        self._seen = len(self.records)
        self._tried |= {record.candidate.key for record in counting}
        if new := [record for record in counting if record.final_of is None]:
            self._measured |= {felt(record.candidate) for record in new if record.metrics}
            self._deciding = contenders([*self._deciding, *new], self._objectives)
