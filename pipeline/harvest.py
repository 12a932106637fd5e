"""One training, several trials: which candidates a trained student serves, and at what price.

Candidates that differ only in what comes after the training can begin with what it stored (one training for many
devices, as in Cai et al. 2019, arXiv 1908.09791, in the small). `siblings` names those worth trying: a ladder of
pruning ratios, and the other ways to quantize.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from pipeline.record import TrialRecord
from search_spaces import IDENTITY, SearchSpace
from search_spaces.candidate import Candidate, Scalar
from search_spaces.compression import TRAINED_SCHEMES, refines

Training = tuple[tuple[str, Scalar], ...]

RUNGS = 2  # of the ladder of pruning ratios
LATEST = 8  # trained students whose files stay for others to begin with, whether they are on the front or not
_OF_THE_TRAINING = ("screen", "inherit", "distill", "prune", "recover", "aware")  # phases of a trial


def lends(record: TrialRecord) -> bool:
    """Whether other candidates may begin with what this trial trained."""
    own = record.end == "complete" and record.counts and record.final_of is None and record.trained_by is None
    return own and record.candidate.student != IDENTITY and record.precision not in TRAINED_SCHEMES


def lenders(records: Sequence[TrialRecord], best: Iterable[TrialRecord], most: int) -> dict[Training, TrialRecord]:
    """By what they were taught, the trained students that a further candidate may begin with now.

    Those on the front, `best`, and the latest; whom `most` have begun with serves no more.
    """
    own = [record for record in records if record.counts and record.final_of is None]
    leading = {record.number for record in best}
    served = Counter(record.trained_by for record in own)
    trained = [record for record in own if lends(record)]
    latest = {record.number for record in trained[-LATEST:]}
    return {
        training(record.candidate): record
        for record in trained
        if (record.number in leading or record.number in latest) and served[record.number] < most
    }


def training(candidate: Candidate) -> Training:
    """What decides the student up to pruning."""
    return tuple(pair for pair in candidate.values if not pair[0].startswith(("prune.", "quantize.")))


def serving_s(candidate: Candidate, parent: TrialRecord) -> float:
    """Seconds that `candidate` is expected to take where it begins with the student of `parent`.

    As long as the parent's own after its training; and where it is to be pruned and was not, the epochs of recovery, or
    to learn to round, those: as long as the parent's. NaN where these are not known, for it was not trained here, or
    not from the beginning.
    """
    seconds = sum(spent for phase, spent in parent.seconds.items() if phase not in _OF_THE_TRAINING)
    further = epochs_more(candidate, parent.candidate)
    if not further:
        return seconds
    if "distill" not in parent.seconds or parent.resumed_from is not None:
        return math.nan
    epochs = float(parent.candidate.section("distill").get("epochs", 1))
    return seconds + parent.seconds["distill"] * further / max(epochs, 1.0)


def epochs_more(candidate: Candidate, parent: Candidate) -> float:
    """Epochs that `candidate` still trains where it begins with the student of `parent`."""
    ours, theirs = (one.section("prune") for one in (candidate, parent))
    quantize = candidate.section("quantize")
    pruned = ours != theirs and bool(ours.get("ratio", 0))
    further = float(ours["recovery_epochs"]) if pruned else 0.0
    return further + (float(quantize.get("aware_epochs", 0)) if quantize.get("scheme") in TRAINED_SCHEMES else 0.0)


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
