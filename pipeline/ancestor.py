"""The nearest trained student of the search, whose weights a new one may begin with in the place of the teacher's.

What a larger student has learned of the teacher's answers, a smaller one need not learn again: progressive shrinking
(Cai et al. 2019, arXiv 1908.09791), one step at a time. Only strictly larger students are taken, or a shape that is
tried again with other lessons would be trained for ever.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.harvest import lends
from pipeline.record import TrialRecord, trial_folder
from pipeline.student_files import stored
from search_spaces.candidate import Candidate

BEGINNING = "init"  # the axis that says how it begins: no part of what a student is
FRESH = "random"


@dataclass(frozen=True)
class Ancestor:
    """A stored student that another one begins with."""

    number: int  # of the trial that trained it
    folder: Path


def nearest(
    candidate: Candidate, records: Sequence[TrialRecord], search: Path, nested: Sequence[str]
) -> Ancestor | None:
    """Among the trained students that hold `candidate`, the one with least to lose; the latest of equal ones.

    `search` is the search's folder, `nested` the axes of its family. None: nobody holds it, or it is to begin afresh.
    """
    ours = candidate.section(candidate.student)
    if ours.get(BEGINNING) == FRESH:
        return None
    best: tuple[float, Ancestor] | None = None
    for record in records:
        if not lends(record) or record.candidate.student != candidate.student:
            continue
        theirs = record.candidate.section(candidate.student)
        folder = trial_folder(search, record.number)
        # what was pruned has other sizes than its architecture says
        if record.candidate.section("prune").get("ratio", 0) or not contains(theirs, ours, nested, (BEGINNING,)):
            continue
        lost = distance(theirs, ours, nested)
        if lost > 0 and stored(folder) and (best is None or lost <= best[0]):
            best = lost, Ancestor(record.number, folder)
    return None if best is None else best[1]


def again(record: TrialRecord, search: Path, say: Callable[[str], None]) -> Ancestor | None:
    """The student that `record` began with; where its files are gone, `say` is told so."""
    number = record.inherited_from
    if number is None:
        return None
    folder = trial_folder(search, number)
    if not stored(folder):
        say(f"the student of trial {number}, with which trial {record.number} began, is gone; the teacher replaces it")
        return None
    return Ancestor(number, folder)


def contains(
    theirs: Mapping[str, Any], ours: Mapping[str, Any], nested: Sequence[str], beside: Sequence[str] = ()
) -> bool:
    """Whether an architecture is at least as large in every `nested` axis and equal in all others but `beside`."""
    if any(ours.get(axis) != theirs.get(axis) for axis in {*ours, *theirs} - {*nested, *beside}):
        return False
    return all(float(theirs.get(axis, 0)) >= float(ours.get(axis, 0)) for axis in nested)


def distance(theirs: Mapping[str, Any], ours: Mapping[str, Any], nested: Sequence[str]) -> float:
    """How much smaller, in doublings summed over the axes."""
    return sum(math.log2(float(theirs[axis]) / float(ours[axis])) for axis in nested if ours.get(axis))
