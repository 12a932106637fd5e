"""Candidates that take the process down with them, counted for trials that the sampler is not asked for.

Of the others the study knows that they were begun. Here a try counts as a death from its beginning on, until it has
ended, well or not.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.record import TrialRecord, read_json, write_json
from search_spaces.candidate import Candidate

# A candidate that takes the process down with it is tried this often, then counted as failed. Ctrl-C does not count.
MOST_DEATHS = 4
_FILE, _OFTEN = "begun.json", "the process ended {} times during this candidate; it is not tried again"


def deaths(search: Path, what: str) -> int:
    """How often the process ended during this."""
    return _read(search).get(what, 0)


def note(search: Path, what: str, count: int) -> None:
    """From now on it is `count` times."""
    others = {name: known for name, known in _read(search).items() if name != what}
    write_json(search / _FILE, {**others, what: count} if count else others)


def trial_of(candidate: Candidate) -> str:
    """What is counted: this candidate, with its seed, from its training or another's to its record."""
    return f"{candidate.key} {candidate.seed}"


def look_at(candidate: Candidate) -> str:
    """Measuring it untrained, to choose."""
    return f"{candidate.key} untrained"


def given_up(number: int, candidate: Candidate, times: int) -> TrialRecord:
    """The record of a candidate that is not tried again."""
    return TrialRecord(number, candidate, "failed", _OFTEN.format(times))


def is_given_up(record: TrialRecord) -> bool:
    before, after = _OFTEN.split("{}")
    reason = str(record.reason)
    return record.end == "failed" and reason.startswith(before) and reason.endswith(after)


def _read(search: Path) -> dict[str, int]:
    path = search / _FILE
    found: dict[str, int] = read_json(path) if path.exists() else {}
    return found
