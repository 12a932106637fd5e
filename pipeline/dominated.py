"""Certainly dominated before training: by a stated, optimistic bound of the quality that a student can reach.

The bound is the teacher's quality, or the best one of the trained students that hold this one (not fewer layers, heads
or neurons, not narrower, not trained for less, in no fewer bits, pruned no further), whichever is lower, plus a margin.
One such student is enough where it was taught in the same way; otherwise there must be `NEIGHBOURS`, since a large
student badly taught says nothing of a small one well taught. It is a bound by experience and no proof: the margin is
there for what a smaller student may be luckier in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.ancestor import contains
from pipeline.metrics import METRICS, text
from pipeline.pareto import dominates
from pipeline.record import TrialRecord
from search_spaces.candidate import Candidate

NEIGHBOURS = 3
DOMINATED = "dominated"  # the constraint that such a trial violates
ROUNDING = 1e-9  # a quality above the bound by less is a rounding error
_EXACT = ("size_mb", "macs_m", "parameters_m")  # counted, not measured
_MEMORY, _MEMORY_NOISE = "peak_memory_mb", 0.05  # measured, and the same however disturbed the timing was


@dataclass(frozen=True)
class Bound:
    """The best quality that a student can have, and the trial that says so; None: the teacher."""

    value: float
    of: int | None


@dataclass(frozen=True)
class Dominated:
    """Trial `by` is better than the student can be, by `excess` in quality at least."""

    by: TrialRecord
    bounds: Mapping[str, Bound]
    excess: float


def dominated(
    candidate: Candidate,
    device: Mapping[str, float],
    measurement: Mapping[str, Any] | None,
    peers: Sequence[TrialRecord],
    *,
    objectives: Sequence[str],
    teacher: Mapping[str, float],
    nested: Sequence[str],
    margin: float,
    noise: float,
) -> Dominated | None:
    """Whether a finished trial is as good in every device figure and better than the bound in every quality.

    `device` are the figures of the untrained twin; those that are measured count as better by the share `noise`, by
    which two short measurements may differ. `nested`: axes of its family in which a smaller student lies in a larger.
    """
    names = [name for name in objectives if METRICS[name].quality]
    if not names or not all(name in device for name in objectives if name not in names):
        return None
    bounds = {name: bound(candidate, peers, name, teacher[name], nested, margin) for name in names}
    best = {name: found.value for name, found in bounds.items()}
    hoped = {name: at_best(name, value, noise) for name, value in device.items()}
    view = TrialRecord(-1, candidate, "complete", metrics={**hoped, **best}, measurement=measurement)
    for peer in peers:
        if peer.feasible and peer.counts and not peer.unreliable and all(name in peer.metrics for name in names):
            excess = min(peer.metrics[name] - value for name, value in best.items())
            if excess > ROUNDING and dominates(peer, view, objectives):
                return Dominated(peer, bounds, excess)
    return None


def bound(
    candidate: Candidate,
    peers: Sequence[TrialRecord],
    quality: str,
    teacher: float,
    nested: Sequence[str],
    margin: float,
) -> Bound:
    """The lower of what the teacher and what the students that hold this one say, with the margin."""
    holding = [peer for peer in peers if _says(peer, quality) and holds(peer.candidate, candidate, nested)]
    alike = any(_lessons(peer.candidate) == _lessons(candidate) for peer in holding)
    if holding and (alike or len(holding) >= NEIGHBOURS):
        best = max(holding, key=lambda peer: peer.metrics[quality])
        if best.metrics[quality] < teacher:
            return Bound(best.metrics[quality] + margin, best.number)
    return Bound(teacher + margin, None)


def holds(larger: Candidate, smaller: Candidate, nested: Sequence[str]) -> bool:
    """Whether one student has all that the other has: in shape, in training, in bits. Each holds itself."""
    return (
        larger.student == smaller.student
        and contains(larger.section(larger.student), smaller.section(smaller.student), nested)
        and _number(larger.section("distill"), "epochs") >= _number(smaller.section("distill"), "epochs")
        and _pruned_no_further(larger.section("prune"), smaller.section("prune"))
        and (
            larger.section("quantize").get("scheme") == "none"
            or larger.section("quantize") == smaller.section("quantize")
        )
    )


def sentence(found: Dominated, objectives: Sequence[str], margin: float) -> str:
    """Why the student is not trained."""
    costs = ", ".join(name for name in objectives if not METRICS[name].quality)
    parts = []
    for name, limit in found.bounds.items():
        source = "the teacher" if limit.of is None else f"trial {limit.of}, which holds this student,"
        parts.append(
            f"its {name} of {text(name, found.by.metrics[name])} is above {text(name, limit.value)}, "
            f"that of {source} plus a margin of {margin:g}"
        )
    return f"certainly dominated: trial {found.by.number} is no worse in {costs}, and " + ", and ".join(parts)


def _says(peer: TrialRecord, quality: str) -> bool:
    own = peer.end == "complete" and peer.counts and peer.final_of is None and peer.trained_by is None
    return own and quality in peer.metrics


def _lessons(candidate: Candidate) -> dict[str, Any]:
    return {name: value for name, value in candidate.section("distill").items() if name != "epochs"}


def _pruned_no_further(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    if not ours.get("ratio", 0):
        return True
    same = {name: value for name, value in ours.items() if name != "ratio"} == {
        name: value for name, value in theirs.items() if name != "ratio"
    }
    return same and _number(ours, "ratio") <= _number(theirs, "ratio")


def _number(values: Mapping[str, Any], axis: str) -> float:
    return float(values.get(axis, 0))


def at_best(name: str, value: float, noise: float) -> float:
    """What a figure may be at best, timed with an error of this share; what is counted has none, memory a fixed one."""
    if name in _EXACT:
        return value
    noise = min(noise, _MEMORY_NOISE) if name == _MEMORY else noise
    return value * (1 + noise) if METRICS[name].maximize else value / (1 + noise)
