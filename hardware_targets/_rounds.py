"""The row of rounds that a session is: when it is looked at, when it ends, and which rounds are void. Pure.

A neighbour may stay for longer than a session: where the reference's undisturbed time is known from before, a session
that has not met it goes on, up to five times its budget. Rounds in a stretch of time that broke a rule (`_void`) do
not count, and the session goes on for them up to twice its budget; where too few are left, all count, and the figure
is unreliable.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hardware_targets._blocks import Times, log_ratio
from hardware_targets._plan import MET, SEGMENTS, Plan
from hardware_targets._void import Reading, Watch, broken

FAR = 1.5  # times what was asked, more than neighbours move a ratio
Run = Callable[[int], object]
Clock = Callable[[], int]  # nanoseconds
Block = tuple[float, float, bool]  # nanoseconds per call that count, CPU nanoseconds per call, interrupted
_Round = list[list[list[Block]]]  # [sides][sets][blocks]


@dataclass(frozen=True)
class Side:
    """How one model is called: passes over a set per block, and whether all inputs are the same work for it."""

    run: Run
    passes: int
    settle_ns: float
    alike: bool


class Rounds:
    """Rounds until a look finds the ratio precise enough, or the time is spent; those that count, and the void ones."""

    def __init__(
        self,
        sides: Sequence[Side],
        sets: int,
        timer: Callable[[Side, int], list[Block]],
        seed: int,
        clock: Clock,
        plan: Plan,
        watch: Watch | None,
    ) -> None:
        self._sides, self._sets, self._timer, self._plan = sides, sets, timer, plan
        self._random, self._clock, self._watch = random.Random(seed), clock, watch
        self.found: list[_Round] = []
        self.void: list[_Round] = []
        self.reasons: Counter[str] = Counter()
        self.surely_over = False  # it ended because the ratio is above what was asked
        self._readings: list[Reading] = []  # of the stretch that runs
        self._read_at = clock()

    def run(self) -> None:
        plan, looks = self._plan, list(self._plan.looks)
        start, first = self._clock(), self._watch() if self._watch else None
        void_s = unmet_s = 0.0  # disturbed, or slower than the machine is known to be: time that counts for nothing
        while True:
            before = self._clock()
            void_s += 0.0 if self._stretch(first) else (self._clock() - before) / 1e9
            spent = (self._clock() - start) / 1e9
            self.surely_over = self._over()
            if self.surely_over or self._given_up(spent, void_s):
                return
            worked = spent - void_s
            if len(self.found) < plan.least_rounds or worked < looks[0] * plan.budget_s:
                continue
            looks.pop(0)
            times = self.times()
            met = plan.reference_ms is None or times[1].typical() <= MET * plan.reference_ms * 1e6
            unmet_s = unmet_s if met else worked
            enough = worked - unmet_s >= plan.budget_s or self._precise(times)
            if (met and enough) or worked >= plan.patience * plan.budget_s:
                return
            looks = looks or [worked / plan.budget_s + plan.looks[0]]

    def times(self) -> tuple[Times, ...]:
        """Of the rounds that count: all, where too few are not void."""
        rounds = self.found if len(self.found) >= self._plan.least_rounds else self.found + self.void
        return tuple(self._times(rounds, place) for place in range(len(self._sides)))

    def _stretch(self, first: Reading | None) -> bool:
        """Rounds that are judged together; whether they count."""
        if self._watch is None or first is None:
            self.found.append(self._round())
            return True
        self._readings, taken, start = [self._watch()], list[_Round](), self._clock()
        while not taken or self._clock() - start < self._plan.stretch_s * 1e9:
            taken.append(self._round())
        reasons = broken([*self._readings, self._watch()], first)
        (self.void if reasons else self.found).extend(taken)
        self.reasons.update(dict.fromkeys(reasons, len(taken)))
        return not reasons

    def _precise(self, times: tuple[Times, ...]) -> bool:
        return len(self.found) >= SEGMENTS and log_ratio(times[0], times[1])[1] <= self._plan.half_width

    def _over(self) -> bool:
        """Whether the ratio is surely far above what was asked: from half as many rounds, whose interval is the wider.

        Far, for a neighbour that slows one model more than the other may stay for so short a session; and not while so
        many rounds are void that nobody would rely on it.
        """
        few = len(self.found) < SEGMENTS // 2 or len(self.void) > len(self.found) / 3  # `Latency.unreliable`
        if self._plan.over is None or few:
            return False
        middle, half = log_ratio(self._times(self.found, 0), self._times(self.found, 1))
        return middle - half > math.log(FAR * self._plan.over)

    def _given_up(self, spent: float, void_s: float) -> bool:
        """Whether void rounds have cost what they may; there are rounds enough to show, if not to rely on."""
        enough = len(self.found) + len(self.void) >= self._plan.least_rounds
        allowed = (self._plan.void_patience - 1) * self._plan.budget_s
        return bool(self.void) and enough and void_s >= allowed and spent >= self._plan.budget_s

    def _round(self) -> _Round:
        taken: _Round = [[[] for _ in range(self._sets)] for _ in self._sides]
        for part in self._random.sample(range(self._sets), self._sets):
            for place in self._random.sample(range(len(self._sides)), len(self._sides)):
                taken[place][part] = self._timer(self._sides[place], part)
            self._look_up()
        return taken

    def _look_up(self) -> None:
        """Read the system in between, now and then: a state that came and went within a stretch is seen."""
        if self._watch is not None and self._clock() - self._read_at >= self._plan.glance_s * 1e9:
            self._readings.append(self._watch())
            self._read_at = self._clock()

    def _times(self, rounds: Sequence[_Round], place: int) -> Times:
        array = np.asarray([taken[place] for taken in rounds], dtype=float)
        return Times(array[..., 0], array[..., 1], array[..., 2].astype(bool), self._sides[place].alike)
