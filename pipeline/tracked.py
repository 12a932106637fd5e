"""Which trials are whole in MLflow, a line each in `tracked.jsonl`: to read 10,000 runs out of MLflow takes long.

A line is added after its run was closed. A trial without a line was cut off on its way into MLflow, or its line was: it
is written again. A file of another parent run (the store was deleted), or a damaged one, says nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.arrays import fresh

PARENT, TRIAL, RUN, SAYS = "parent", "trial", "run", "says"


@dataclass(frozen=True)
class Tracked:
    """A trial's run, and what its tags said that may change."""

    run: str
    says: Mapping[str, str]


class Book:
    """The file of one search; `path` need not exist."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, parent: str) -> dict[int, Tracked] | None:
        """By trial's number; None where every run has to be looked at."""
        try:
            text = self._path.read_text(encoding="utf-8")
            head, *lines = text.splitlines()
            if json.loads(head)[PARENT] != parent or not text.endswith("\n"):
                return None
            found: dict[int, Tracked] = {}
            for line in lines:
                row = json.loads(line)
                found.pop(row[TRIAL], None)
                if row[RUN]:
                    found[row[TRIAL]] = Tracked(row[RUN], row[SAYS])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return found

    def begin(self, parent: str, tracked: Mapping[int, Tracked]) -> None:
        """The file anew, whole or not at all."""
        lines = [json.dumps({PARENT: parent}), *(_line(number, each) for number, each in tracked.items())]
        with fresh(self._path) as beside:
            beside.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def add(self, number: int, tracked: Tracked | None) -> None:
        """One more line; None: the trial has no run any more."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(_line(number, tracked) + "\n")

    def drop(self) -> None:
        """Trust no line any more: the next start looks at every run."""
        self._path.unlink(missing_ok=True)


def _line(number: int, tracked: Tracked | None) -> str:
    run, says = (tracked.run, dict(tracked.says)) if tracked else (None, {})
    return json.dumps({TRIAL: number, RUN: run, SAYS: says})
