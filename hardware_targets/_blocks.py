"""From a session's blocks to its figures: undisturbed times, the ratio and its interval. Pure.

A neighbour on the same host only ever makes a block slower, in stretches of 10 ms to minutes, and it slows two models
by different factors; no mean over a session recovers the undisturbed ratio. So each side is given the time of its
undisturbed blocks: the median of those near its fastest hundredth (`_statistics.nearness` says how near). Where nothing
disturbs, these are nearly all blocks, and their median is the median of all. Which blocks count is decided for each
side by its own times, never by the ratio. The 95 % interval of a process comes from leaving out each eighth of its
undisturbed rounds in turn.

Where a process puts a model in memory changes its speed by up to a percent for as long as it lives, which no stretch of
that process shows. So a session of several processes takes the mean of their log ratios, and its interval from their
scatter; a process that never met the speed of the fastest is left out, as long as half of them remain.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain

import numpy as np

from hardware_targets._measurement import Latency
from hardware_targets._plan import FIRST_LOOK, MET, SEGMENTS
from hardware_targets._statistics import (
    Z_THREE_LOOKS,
    jackknife,
    median_error,
    nearness,
    percentile,
    replicates,
    undisturbed,
    undisturbed_median,
)

WIDEST = 0.015  # half-width of the log ratio up to which a figure is conclusive
CANDIDATE, REFERENCE, TWIN = range(3)  # places of the sides; the twin is the candidate, loaded a second time


@dataclass(frozen=True)
class Times:
    """One side's blocks, per call in nanoseconds, [rounds, sets, blocks]; `alike`: all inputs are the same work."""

    counted: np.ndarray
    cpu: np.ndarray
    interrupted: np.ndarray
    alike: bool

    def only(self, rounds: np.ndarray) -> Times:
        """Of these rounds."""
        return Times(self.counted[rounds], self.cpu[rounds], self.interrupted[rounds], self.alike)

    def pools(self, values: np.ndarray) -> list[np.ndarray]:
        """Blocks that did the same work, and so may be compared with each other."""
        return [values.ravel()] if self.alike else [values[:, part].ravel() for part in range(values.shape[1])]

    @cached_property
    def near(self) -> list[float]:
        """For each pool, how much slower than the fastest an undisturbed block may be."""
        blocks = self.counted.shape[-1]
        return [nearness(pool.reshape(-1, blocks)) for pool in self.pools(self.counted)]

    def typical(self, rounds: np.ndarray | slice = slice(None), near: Sequence[float] | None = None) -> float:
        """Undisturbed nanoseconds of a call, averaged over the sets."""
        pools = zip(self.pools(self.counted[rounds]), near or self.near, strict=True)
        return float(np.mean([undisturbed_median(pool, factor) for pool, factor in pools]))

    def cpu_ns(self) -> float:
        """CPU time of a call in undisturbed blocks."""
        pools = zip(self.pools(self.counted), self.pools(self.cpu), self.near, strict=True)
        return float(np.mean([np.median(cpu[undisturbed(pool, factor)]) for pool, cpu, factor in pools]))

    def masks(self) -> list[np.ndarray]:
        """Which blocks of each pool are undisturbed."""
        pairs = zip(self.pools(self.counted), self.near, strict=True)
        return [undisturbed(pool, factor) for pool, factor in pairs]


@dataclass(frozen=True)
class Record:
    """All that one or several measuring processes timed; `sides` are candidate, reference and, in a final, the twin.

    `processes` tells how many rounds each process gave, in their order; empty for a single one.
    """

    sides: tuple[Times, ...]
    jitter_ms: tuple[float, ...]
    calls: int
    warmup_calls: int
    steady: bool
    rounds: int = 0  # void ones included
    voided: int = 0
    reasons: dict[str, int] = field(default_factory=dict)  # rounds that each rule made void
    processes: tuple[int, ...] = ()

    def parts(self) -> list[tuple[Times, ...]]:
        """The sides in each process that counts."""
        if len(self.processes) < 2:
            return [self.sides]
        ends = np.cumsum(self.processes)[:-1]
        split = [
            [times.only(rounds) for rounds in np.split(np.arange(sum(self.processes)), ends)] for times in self.sides
        ]
        parts = list(zip(*split, strict=True))
        speeds = [part[REFERENCE].typical() for part in parts]
        met = [part for part, speed in zip(parts, speeds, strict=True) if speed <= MET * min(speeds)]
        return met if len(met) >= FIRST_LOOK else parts

    def typical_ms(self, place: int) -> float:
        """Undisturbed milliseconds of a side's call: the geometric mean over the processes, as the ratio is."""
        return math.exp(float(np.mean([math.log(part[place].typical()) for part in self.parts()]))) / 1e6

    def log_ratio(self, top: int = CANDIDATE, bottom: int = REFERENCE) -> tuple[float, float]:
        """The log ratio of two sides, and the half-width of its 95 % interval."""
        parts = self.parts()
        if len(parts) == 1:
            return log_ratio(parts[0][top], parts[0][bottom])
        return replicates([math.log(part[top].typical() / part[bottom].typical()) for part in parts])


def log_ratio(top: Times, bottom: Times) -> tuple[float, float]:
    """The log ratio of two sides of one process, and the half-width of its 95 % interval."""
    calm, nears = _calm(bottom), (top.near, bottom.near)

    def statistic(keep: np.ndarray) -> float:
        return math.log(top.typical(calm[keep], nears[0]) / bottom.typical(calm[keep], nears[1]))

    centre, half = jackknife(statistic, len(calm), min(SEGMENTS, len(calm)))
    errors = []
    for side, near in zip((top, bottom), nears, strict=True):
        pools = zip(side.pools(side.counted), near, strict=True)
        errors.append(median_error([pool[undisturbed(pool, factor)] for pool, factor in pools]))
    # Eight stretches alone may agree by chance; blocks that scatter as they do never give a median better than this.
    return centre, max(half, Z_THREE_LOOKS * math.hypot(*errors))


def resolution(record: Record) -> float | None:
    """The smallest log ratio that this session can tell from none; None where no twin took part.

    It is the half-width of the ratio's interval; or what the candidate showed against itself, where that is more than
    its own interval allows.
    """
    if len(record.sides) <= TWIN:
        return None
    centre, half = record.log_ratio(TWIN, CANDIDATE)
    return max(record.log_ratio()[1], abs(centre) + half if abs(centre) > half else 0.0)


def pooled(records: Sequence[Record]) -> Record:
    """Processes one after the other as one session; those that were void throughout count only where all were."""
    able = [record for record in records if record.voided < record.rounds] or list(records)
    reasons: Counter[str] = Counter()
    for record in records:
        reasons.update(record.reasons)
    return Record(
        tuple(_joined([record.sides[place] for record in able]) for place in range(len(able[0].sides))),
        jitter_ms=tuple(chain.from_iterable(record.jitter_ms for record in able)),
        calls=sum(record.calls for record in able),
        warmup_calls=able[0].warmup_calls,
        steady=all(record.steady for record in records),
        rounds=sum(record.rounds for record in records),
        voided=sum(record.voided for record in records),
        reasons=dict(reasons),
        processes=tuple(len(record.sides[CANDIDATE].counted) for record in able),
    )


def _joined(parts: Sequence[Times]) -> Times:
    counted, cpu, interrupted = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("counted", "cpu", "interrupted")
    )
    return Times(counted, cpu, interrupted, parts[0].alike)


def latency(record: Record) -> Latency:
    """The figures of a session."""
    candidate, reference = record.sides[:2]
    centre, half = record.log_ratio()
    parts = record.parts()
    segments = np.array_split(np.arange(len(candidate.counted)), min(SEGMENTS, len(candidate.counted)))
    return Latency(
        median_ms=record.typical_ms(CANDIDATE),
        p90_ms=percentile(record.jitter_ms, 90),
        p95_ms=percentile(record.jitter_ms, 95),
        p99_ms=percentile(record.jitter_ms, 99),
        reference_median_ms=record.typical_ms(REFERENCE),
        ratio=math.exp(centre),
        ratio_low=math.exp(centre - half),
        ratio_high=math.exp(centre + half),
        ratio_samples=tuple(float(candidate.counted[i].sum() / reference.counted[i].sum()) for i in segments),
        blocks=candidate.counted.size,
        calls=record.calls,
        batch_size=1,
        cpu_seconds=float(np.mean([part[CANDIDATE].cpu_ns() for part in parts])) / 1e9,
        warmup_calls=record.warmup_calls,
        steady=record.steady,
        undisturbed_share=min(_undisturbed_share([part[place] for part in parts]) for place in (CANDIDATE, REFERENCE)),
        interrupted_blocks=int(candidate.interrupted.sum()),
        resolution=resolution(record),
        conclusive=half <= WIDEST,
        rounds=record.rounds,
        voided_rounds=record.voided,
        void_reasons=tuple(f"{name}: {count}" for name, count in sorted(record.reasons.items())),
    )


def _undisturbed_share(parts: Sequence[Times]) -> float:
    return float(np.mean(np.concatenate([mask for part in parts for mask in part.masks()])))


def _calm(times: Times) -> np.ndarray:
    """Rounds in which some block of this side was undisturbed; all of them where these are too few to cut up."""
    counted = times.counted
    shape = counted.shape if times.alike else (counted.shape[0], counted.shape[2])
    some = np.any([mask.reshape(shape[0], -1).any(axis=1) for mask in times.masks()], axis=0)
    calm = np.flatnonzero(some)
    return calm if len(calm) >= SEGMENTS else np.arange(len(counted))
