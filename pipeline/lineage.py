"""A student is trained once: candidates that differ only in what comes after the training begin with what is stored.

`siblings` names those worth trying: a ladder of pruning ratios, and the other ways to quantize (one training for many
devices, as in Cai et al. 2019, arXiv 1908.09791, in the small).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.record import UNPRUNED, TrialRecord, trial_folder
from pipeline.student_files import stored
from search_spaces import IDENTITY, SearchSpace
from search_spaces.candidate import Candidate, Scalar
from search_spaces.compression import TRAINED_SCHEMES, refines

RUNGS = 2  # of the ladder of pruning ratios


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
    if not stored(folder) or not lends(parent) or _training(parent.candidate) != _training(candidate):
        return None
    theirs, ours = (one.section("prune") for one in (parent.candidate, candidate))
    if theirs != ours and theirs.get("ratio", 0):
        folder = folder / UNPRUNED
    return Begun(parent.number, folder, pruned=theirs == ours) if stored(folder) else None


def lends(record: TrialRecord) -> bool:
    """Whether other candidates may begin with what this trial trained."""
    own = record.end == "complete" and record.counts and record.final_of is None and record.trained_by is None
    return own and record.candidate.student != IDENTITY and record.precision not in TRAINED_SCHEMES


def siblings(candidate: Candidate, space: SearchSpace) -> list[dict[str, Scalar]]:
    """Flat candidates that `candidate`'s training serves as well; the ladder first, then 8-bit schemes.

    On the ladder of a pruned student the unpruned one is the first rung.
    """
    flats = [*_ladder(candidate, space), *_schemes(candidate, space)]
    return [flat for flat in flats if not isinstance(space.params_of(flat), str)]


def _ladder(candidate: Candidate, space: SearchSpace) -> list[dict[str, Scalar]]:
    plain = candidate.flat()
    own = plain.get("prune.ratio")
    if own is None or not space.students[candidate.student].prunable:
        return []
    ratios = [float(value) for value in space.prune["ratio"].values() or () if float(value) > 0]
    places = (
        range(len(ratios))
        if len(ratios) <= RUNGS
        else [len(ratios) * (rung + 1) // (RUNGS + 1) for rung in range(RUNGS)]
    )
    chosen = [ratios[place] for place in places]
    if own == 0:
        rest = {f"prune.{axis}": dimension.start for axis, dimension in space.prune.items() if axis != "ratio"}
        return [{**plain, **rest, "prune.ratio": ratio} for ratio in chosen]
    whole = {name: value for name, value in plain.items() if not name.startswith("prune.")}
    others = [{**plain, "prune.ratio": ratio} for ratio in chosen if ratio != own]
    return [{**whole, "prune.ratio": 0.0}, *others][:RUNGS]


def _schemes(candidate: Candidate, space: SearchSpace) -> list[dict[str, Scalar]]:
    plain = {name: value for name, value in candidate.flat().items() if not name.startswith("quantize.")}
    others = [str(value) for value in space.students[candidate.student].scheme.values() or ()]
    others.sort(key=lambda scheme: "int8" not in scheme)  # stable: the order of the schemes otherwise
    found = []
    for scheme in others:
        if scheme == candidate.section("quantize").get("scheme") or scheme in TRAINED_SCHEMES:
            continue
        finer = {f"quantize.{axis}": of.start for axis, of in space.quantize.items() if refines(axis, scheme)}
        found.append({**plain, "quantize.scheme": scheme, **finer})
    return found


def _training(candidate: Candidate) -> Sequence[tuple[str, Scalar]]:
    """What decides the student up to pruning."""
    return [pair for pair in candidate.values if not pair[0].startswith(("prune.", "quantize."))]
