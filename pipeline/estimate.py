"""Time and energy of a whole search from its first trained trials: a range that can miss, and no promise.

The probes are trials of the study like any other: nothing is done twice, and they stay when the answer is no.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hardware_targets import Unmeasured
from pipeline.config import LimitsConfig
from pipeline.own_energy import OwnEnergy
from pipeline.record import TrialRecord

PROBES = 2  # trained trials; the teacher's own quantizations come before them and take less


@dataclass(frozen=True)
class Estimate:
    """What `left` more trials take at most and at least, were they like the probes; energy with its table's band."""

    done: int
    left: int
    probes: int
    spent_s: float
    low_s: float
    high_s: float
    spent_kwh: float | None
    low_kwh: float | None
    high_kwh: float | None
    worth: str  # kind and boundary of the energy, or why there is none

    def sentences(self) -> list[str]:
        """Two sentences on time and energy, and one on what the range is worth."""
        time = f"{_duration(self.low_s)} to {_duration(self.high_s)} for up to {self.left} more trials"
        lines = [f"estimate: {time}; {self.done} are done, in {_duration(self.spent_s)}"]
        if self.spent_kwh is None or self.low_kwh is None or self.high_kwh is None:
            lines.append(f"  energy: no figure ({self.worth})")
        else:
            more = f"{self.low_kwh:.2g} to {self.high_kwh:.2g} kWh more; {self.spent_kwh:.2g} are spent"
            lines.append(f"  energy: {more}, {self.worth}")
        worth = f"of {self.probes} trained trials; candidates differ, above all in epochs and size, so it can miss"
        return [*lines, f"  the range is that of the fastest and the slowest {worth}"]


def probes(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The trials that were trained, finals apart."""
    return [record for record in records if record.final_of is None and "distill" in record.seconds]


def estimate(records: Sequence[TrialRecord], limits: LimitsConfig, own: OwnEnergy | Unmeasured) -> Estimate:
    """From at least one trained trial; the limits on hours and energy cut the range off."""
    trained = probes(records)
    done = sum(record.counts for record in records if record.final_of is None)
    left, spent_s = max(0, limits.trials - done), sum(sum(r.seconds.values()) for r in records if r.final_of is None)
    times = [sum(record.seconds.values()) for record in trained]
    most_s = None if limits.hours is None else max(0.0, limits.hours * 3600 - spent_s)
    low_s, high_s = (_at_most(left * each, most_s) for each in (min(times), max(times)))
    time = (spent_s, low_s, high_s)
    if isinstance(own, Unmeasured):
        return Estimate(done, left, len(trained), *time, None, None, None, own.reason)
    known = [record for record in trained if record.number in own.trials]
    if not known:
        return Estimate(done, left, len(trained), *time, None, None, None, "trained trials kept no account of theirs")
    # Where the hours end it, fewer trials are run: at least so many as fit of the slowest.
    fewest, most = (left if most_s is None else min(left, most_s / each) for each in (max(times), min(times)))
    used = [own.trials[record.number] + own.rest_kwh / max(1, done) for record in known]
    rest = None if limits.max_kwh is None else max(0.0, limits.max_kwh - own.kwh)
    low = _at_most(fewest * min(used) * own.kwh_low / own.kwh, rest)
    high = _at_most(most * max(used) * own.kwh_high / own.kwh, rest)
    worth = f"{own.kind}, boundary: {own.boundary}"
    return Estimate(done, left, len(trained), *time, own.kwh, low, high, worth)


def _at_most(value: float, limit: float | None) -> float:
    return value if limit is None else min(value, limit)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
