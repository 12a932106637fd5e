"""Other tools' points against niwaki's: which of them is beaten, by which of ours, and by how much. Pure.

A point of theirs is *dominated* by one of ours that is at least as accurate and faster beyond the interval; *tied*
where a paired test (McNemar's, exact, at 5 %) cannot tell the accuracies apart and ours is not slower beyond the
interval; else it *stands*. The verdict is the best of ours, so with more of ours there are more chances of a tie;
`against_each` gives it for each of ours alone.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.confusion import qualities
from pipeline.statistics import mcnemar_exact, paired_bootstrap, wilson

APART = 0.05  # of the paired test's p
ORDER = ("dominated", "tied", "stands")
HEAD = ("point", "accuracy", "speed-up [95 %]", "MB", "verdict", "by", "accuracy lead of ours", "ours is faster by")

Interval = tuple[float, float, float]  # the figure, and the ends of its 95 % interval


@dataclass(frozen=True)
class Point:
    """One file: answers int [N] to the validation rows, and its latency over the teacher's where it has been timed."""

    name: str
    answers: np.ndarray
    size_mb: float
    ratio: Interval | None = None


@dataclass(frozen=True)
class Duel:
    """One of ours against one of theirs: accuracy ours - theirs, and how many times ours is as fast."""

    ours: str
    lead: Interval
    faster: Interval
    apart: bool  # whether the accuracies can be told apart

    @property
    def verdict(self) -> str:
        if self.lead[0] >= 0 and self.faster[1] > 1:
            return "dominated"
        if not self.apart and self.faster[2] >= 1:
            return "tied"
        return "stands"

    def rank(self) -> tuple[int, float, float]:
        """The strongest first: by verdict, then speed where dominated and accuracy where not."""
        place = ORDER.index(self.verdict)
        return (place, -self.faster[0], -self.lead[0]) if place == 0 else (place, -self.lead[0], -self.faster[0])


def rows(theirs: Sequence[Point], ours: Sequence[Point], labels: np.ndarray) -> list[dict[str, Any]]:
    """A row per point of theirs, the fastest first, those that were not timed last."""
    timed = [point for point in ours if point.ratio is not None]
    found = [plain(point, labels) | _beaten(point, timed, labels) for point in theirs]
    return sorted(found, key=lambda row: -row["speedup"][0] if row["speedup"] else math.inf)


def against_each(theirs: Sequence[Point], ours: Sequence[Point], labels: np.ndarray) -> dict[str, dict[str, int]]:
    """By one of ours: how many of theirs it dominates, ties, and leaves standing, alone."""
    timed = [point for point in theirs if point.ratio is not None]
    found = {}
    for our in (point for point in ours if point.ratio is not None):
        counts = Counter(duel(our, their, labels).verdict for their in timed)
        found[our.name] = {verdict: counts[verdict] for verdict in ORDER}
    return found


def counted(found: Sequence[Mapping[str, Any]], names: Collection[str]) -> dict[str, int]:
    """How many of the rows that are named have each verdict."""
    counts = Counter(row["verdict"] for row in found if row["name"] in names)
    return {verdict: counts[verdict] for verdict in ORDER}


def plain(point: Point, labels: np.ndarray) -> dict[str, Any]:
    """What is known of a point alone."""
    right = int((point.answers == labels).sum())
    return {
        "name": point.name,
        "accuracy": _rounded((right / len(labels), *wilson(right, len(labels)))),
        "speedup": None if point.ratio is None else _rounded(_inverse(point.ratio)),
        "size_mb": round(point.size_mb, 2),
    }


def duel(our: Point, their: Point, labels: np.ndarray) -> Duel:
    """Both must have been timed against the same reference; their intervals are taken as independent."""
    assert our.ratio is not None and their.ratio is not None
    right = float((our.answers == labels).mean() - (their.answers == labels).mean())
    low, high = paired_bootstrap(lambda counts: qualities(counts)["accuracy"], labels, our.answers, their.answers)
    apart = mcnemar_exact(our.answers == labels, their.answers == labels) < APART
    middle = math.log(their.ratio[0] / our.ratio[0])
    half = math.hypot(_half(our.ratio), _half(their.ratio))
    faster = math.exp(middle), math.exp(middle - half), math.exp(middle + half)
    return Duel(our.name, (right, low, high), faster, apart)


def _beaten(point: Point, ours: Sequence[Point], labels: np.ndarray) -> dict[str, Any]:
    if point.ratio is None or not ours:
        return {"verdict": None}
    best = min((duel(our, point, labels) for our in ours), key=Duel.rank)
    told = {"lead": _rounded(best.lead), "faster": _rounded(best.faster)}
    return {"verdict": best.verdict, "by": best.ours, **told}


def lines(found: Sequence[dict[str, Any]]) -> list[str]:
    """The rows as a Markdown table."""
    names = HEAD if any("verdict" in row for row in found) else HEAD[:4]
    head = [f"| {' | '.join(names)} |", f"|{' --- |' * len(names)}"]
    return head + [f"| {' | '.join(_cells(row)[: len(names)])} |" for row in found]


def _cells(row: dict[str, Any]) -> list[str]:
    speed = "not timed" if row["speedup"] is None else _words(row["speedup"], ".3g")
    cells = [row["name"], _words(row["accuracy"], ".4f"), speed, f"{row['size_mb']:.1f}"]
    if row.get("verdict") is None:
        return [*cells, "", "", "", ""]
    return [*cells, row["verdict"], row["by"], _words(row["lead"], "+.4f"), f"{_words(row['faster'], '.3g')}x"]


def _words(value: Sequence[float], form: str) -> str:
    middle, low, high = (format(item, form) for item in value)
    return f"{middle} [{low}, {high}]"


def _inverse(ratio: Interval) -> Interval:
    return 1 / ratio[0], 1 / ratio[2], 1 / ratio[1]


def _half(ratio: Interval) -> float:
    """Half the width of the interval of the log ratio."""
    return math.log(ratio[2] / ratio[1]) / 2


def _rounded(value: Sequence[float]) -> list[float]:
    return [float(f"{item:.5g}") for item in value]
