"""What is asked of all records again and again, found from those that are new: with 10,000 trials that matters."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.pareto import contenders, front
from pipeline.record import TrialRecord


class Standing:
    """Over the records of a search, a list that grows.

    A record may be replaced in it when another goes on with its candidate; neither of the two is on a front then.
    """

    def __init__(self, records: Sequence[TrialRecord]) -> None:
        self._records, self._seen = records, 0
        self._tried: set[str] = set()
        self._deciding: list[TrialRecord] = []
        self._by: tuple[str, ...] = ()

    def front(self, objectives: Sequence[str]) -> list[TrialRecord]:
        """Of the records that count and are no finals."""
        self._look(tuple(objectives))
        return front(self._deciding, objectives)

    def tried(self) -> set[str]:
        """Keys of the candidates that have a record that counts."""
        self._look(self._by)
        return self._tried

    def _look(self, objectives: tuple[str, ...]) -> None:
        if objectives != self._by or len(self._records) < self._seen:
            self._by, self._seen, self._tried, self._deciding = objectives, 0, set(), []
        new = [record for record in self._records[self._seen :] if record.counts and record.final_of is None]
        self._seen = len(self._records)
        self._tried |= {record.candidate.key for record in new}
        if new and objectives:
            self._deciding = contenders([*self._deciding, *new], objectives)
