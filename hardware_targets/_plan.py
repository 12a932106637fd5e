"""The three tiers of one protocol, and which inputs a session works on. Pure.

`screen` is for candidates before any training, `trial` for every trial, `final` for finalists and single files. They
differ in time, in what ends them, and in that a final has a third side, the candidate a second time (A/A), and takes
its blocks from several fresh processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

Tier = Literal["screen", "trial", "final"]
TIERS: tuple[Tier, ...] = get_args(Tier)
Work = Sequence[tuple[int, int]]  # per row, how large the candidate's and the reference's input is

PROTOCOL = 2  # one more where the figures of one file would differ from those of before
SCREEN_S, TRIAL_S, FINAL_S = 1.8, 12.0, 40.0
PROCESSES = 8  # of a final: its interval comes from their scatter, and from fewer it would be far wider
FIRST_LOOK = 4  # processes after which a final may end, if it is precise by then
SEGMENTS = 8  # of a process, for its interval
SCREENED = 0.02  # half-width of a screen's log ratio at which it ends: what it decides leaves a margin of 5 %
MET = 1.06  # of the known undisturbed time: up to here a process has met it


@dataclass(frozen=True)
class Plan:
    """How long a session may take and when it is precise enough."""

    warmup_calls: int = 10
    warmup_s: float = 0.2  # at least, per side
    warmup_cap_s: float = 2.0  # at most, per side, and no more than the rounds get, unless the calls above take longer
    block_ms: float = 4.0  # at least
    settle_ms: float = 2.0  # and at least one call, unless a call is longer than this times ten
    burst_ms: float = 60.0  # blocks of one side in a row: up to three, not longer than this
    sets: int = 8
    set_size: int = 4
    long_call_ms: float = 10.0  # of the reference, from which a set is a single input
    budget_s: float = TRIAL_S  # for the rounds
    least_rounds: int = SEGMENTS
    looks: tuple[float, ...] = (0.25, 0.5, 1.0)  # of the budget: when the precision is looked at
    half_width: float = 0.0075  # of the log ratio
    over: float | None = None  # a ratio: once it is surely and by far exceeded no more is asked
    reference_ms: float | None = None  # its fastest known undisturbed time; None: nothing is known
    patience: float = 5.0  # budgets that a session may take to meet that time again
    void_patience: float = 2.0  # budgets that it may take where rounds are void
    stretch_s: float = 0.9  # of rounds that are judged together: the kernel counts in hundredths of a second
    glance_s: float = 0.1  # between readings within a stretch, for what comes and goes; never while a block is timed
    jitter_calls: int = 662  # for percentiles: as many as the 99th needs, in at most so many seconds
    jitter_s: float = 0.6


def plan_for(tier: Tier, seconds: float, reference_ms: float | None = None, over: float | None = None) -> Plan:
    """The plan of one measuring process; a final's time is shared out over its processes and ends after one of them."""
    plan = Plan(budget_s=seconds, reference_ms=reference_ms)
    if tier == "screen":
        brief = replace(plan, patience=1.0, void_patience=1.0, warmup_cap_s=1.0, jitter_s=0.3)
        stretch_s = plan.stretch_s if over is None else plan.stretch_s / 2  # after four rounds it may be known
        return replace(brief, half_width=SCREENED, over=over, stretch_s=stretch_s)
    if tier == "final":
        plan = replace(plan, budget_s=seconds / PROCESSES, least_rounds=1, looks=(1.0,))
    warmup_cap_s = min(plan.warmup_cap_s, plan.budget_s)
    return replace(plan, warmup_cap_s=warmup_cap_s, jitter_s=max(plan.jitter_s, plan.budget_s / 4))


@dataclass(frozen=True)
class Shape:
    """What the processes of one session have in common: the sets of rows, and how many blocks stand in a row."""

    sets: list[list[int]]
    blocks: int

    @property
    def inputs(self) -> int:
        return sum(map(len, self.sets))


def budget_s(tier: Tier, seconds: float) -> float:
    """What a tier may take of a target that gives a trial `seconds`."""
    return {"screen": min(SCREEN_S, seconds), "trial": seconds, "final": seconds * FINAL_S / TRIAL_S}[tier]


def burst(block_ns: float, plan: Plan) -> int:
    """Blocks of one side in a row."""
    return max(1, min(3, int(plan.burst_ms * 1e6 / block_ns + 0.5)))


def choose_sets(work: Work, reference_ns: float, slower_ns: float, sides: int, plan: Plan) -> list[list[int]]:
    """Rows in sets of equal size and, nearly, equal work: evenly over the rows as the reference's size orders them.

    How many rows there are follows from the reference's speed, so that all candidates of a study work on the same.
    Models too slow for all sets within the budget get half as many, or a quarter, or one.
    """
    size = plan.set_size if reference_ns <= plan.long_call_ms * 1e6 else 1
    size = max(1, min(size, len(work)))
    block_ns = max(plan.block_ms * 1e6, slower_ns * size)
    set_s = sides * (plan.settle_ms * 1e6 + burst(block_ns, plan) * block_ns) / 1e9
    sets = max(1, min(plan.sets, len(work) // size))
    while sets > 1 and sets * plan.least_rounds * set_s > plan.budget_s:
        sets //= 2
    return deal(work, sets, size)


def deal(work: Work, sets: int, size: int) -> list[list[int]]:
    """`sets` times `size` rows, evenly over their sizes, no set with the larger of each.

    Each stands for an equal share of all rows and lies in its middle, so that few rows and many have nearly the same
    mean; with the smallest and the largest among them, eight of 200 news items were 6 % longer than the 200.
    """
    order = sorted(range(len(work)), key=lambda row: (work[row][1], work[row][0]))
    places = ((np.arange(sets * size) + 0.5) * len(order) / (sets * size)).astype(int)
    chosen = [order[place] for place in places]
    turns = [list(range(sets)), list(range(sets))[::-1]]  # to and fro, so that no set gets the larger of each row
    dealt: list[list[int]] = [[] for _ in range(sets)]
    for place, row in enumerate(chosen):
        dealt[turns[place // sets % 2][place % sets]].append(row)
    return dealt
