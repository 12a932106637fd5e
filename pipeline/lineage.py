"""A student is trained once: candidates that differ only in what comes after the training begin with what is stored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.harvest import lends, training
from pipeline.record import UNPRUNED, TrialRecord, trial_folder
from pipeline.student_files import stored
from search_spaces.candidate import Candidate


@dataclass(frozen=True)
class Begun:
    """The stored student of an earlier trial that a candidate begins with."""

    number: int  # of the trial that trained it
    folder: Path
    pruned: bool  # whether this candidate's pruning and recovery are done, too


def begun(candidate: Candidate, parent: TrialRecord, search: Path) -> Begun | None:
    """What `candidate` can take over from `parent`; `search` is the search's folder. None: nothing.

    The same architecture and the same distillation. A student that has learned to round is not taken: the other ways to
    quantize would be judged by weights that were bent for this one.
    """
    folder = trial_folder(search, parent.number)
    if not stored(folder) or not lends(parent) or training(parent.candidate) != training(candidate):
        return None
    theirs, ours = (one.section("prune") for one in (parent.candidate, candidate))
    if theirs != ours and theirs.get("ratio", 0):
        folder = folder / UNPRUNED
    return Begun(parent.number, folder, pruned=theirs == ours) if stored(folder) else None


def serves(parent: TrialRecord, search: Path) -> bool:
    """Whether what `parent` trained is still stored, as it was before pruning, too."""
    folder = trial_folder(search, parent.number)
    return stored(folder) and (not parent.candidate.section("prune").get("ratio", 0) or stored(folder / UNPRUNED))
