"""Limits on a model, and by how much a model misses them. Pure functions over mappings of figures.

Whether a limit is a floor or a ceiling is the metric's own affair: more accuracy is better, more latency is not.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from pipeline.metrics import METRICS, text
from pipeline.record import TrialRecord

# A figure that is not there fits no limit. Infinity would say so, but JSON and some samplers cannot hold it.
MISSING = 1e9
# MLflow keeps 255 characters of an alias.
LONGEST_ALIAS = 200


@dataclass(frozen=True)
class Miss:
    """A complete trial beside a budget; `worst` is its largest violation."""

    record: TrialRecord
    violations: Mapping[str, float]
    worst: float


def violations(budget: Mapping[str, float], metrics: Mapping[str, float]) -> dict[str, float]:
    """By how much each limit is exceeded, relative to it: 0.16 is 16 % over, <= 0 fits, MISSING has no figure."""
    return {name: _violation(name, limit, metrics.get(name)) for name, limit in budget.items()}


def unknown_quality(budget: Mapping[str, float], device: Mapping[str, float]) -> dict[str, float]:
    """`violations` of what was not trained: what has no figure yet is neither met nor missed, 0 teaches nothing."""
    found = violations(budget, device)
    return {name: 0.0 if METRICS[name].quality or name not in device else value for name, value in found.items()}


def fits(budget: Mapping[str, float], metrics: Mapping[str, float]) -> bool:
    """Whether every limit is kept."""
    return all(value <= 0 for value in violations(budget, metrics).values())


def nearest(records: Iterable[TrialRecord], budget: Mapping[str, float]) -> list[Miss]:
    """Complete trials that miss the budget, the nearest (smallest worst violation) first."""
    misses = []
    for record in records:
        missed = violations(budget, record.metrics)
        worst = max(missed.values(), default=0.0)
        if record.end == "complete" and worst > 0:
            misses.append(Miss(record, missed, worst))
    return sorted(misses, key=lambda miss: (miss.worst, sum(miss.violations.values()), miss.record.number))


def phrase(budget: Mapping[str, float]) -> str:
    """`latency_p95_ms <= 5 and energy_mj <= 20`."""
    sides = {name: ">=" if METRICS[name].maximize else "<=" for name in budget}
    return " and ".join(f"{name} {sides[name]} {limit:g}" for name, limit in budget.items())


def sentence(budget: Mapping[str, float], metrics: Mapping[str, float], over: Mapping[str, float] | None = None) -> str:
    """`latency_p95_ms 5.8 ms (16 % over 5)` for each limit in `over`; without `over`, for each that is missed."""
    named = over if over is not None else {n: v for n, v in violations(budget, metrics).items() if v > 0}
    return ", ".join(f"{name} {_figure(name, budget[name], metrics.get(name), over)}" for name, over in named.items())


def nearest_sentence(
    records: Collection[TrialRecord], budget: Mapping[str, float], quality: str | None = None, count: int = 3
) -> str:
    """Why nothing fits, the nearest misses with their figures, and the limits that would let the nearest in."""
    misses = nearest(records, budget)
    if not misses:
        yet = f"no trial is complete yet{instead(records)}"
        return f"no model fits {phrase(budget)}: {yet}. Give the search more trials"
    told = "; ".join(_told(miss, budget, quality) for miss in misses[:count])
    return f"no model fits {phrase(budget)}. Nearest: {told}. {_remedy(misses[0], budget)}"


def instead(records: Iterable[TrialRecord]) -> str:
    """How most of them ended instead, and the commonest reason."""
    ends = Counter(record.end for record in records if record.counts)
    if not ends:
        return ""
    reasons = Counter(record.reason for record in records if record.counts and record.reason)
    told = ", ".join(f"{count} {end}" for end, count in ends.most_common())
    return f" ({told}{f'; e.g. {reasons.most_common(1)[0][0]}' if reasons else ''})"


def budget_alias(budget: Mapping[str, float], knee: bool = False) -> str:
    """An MLflow alias for a model picked for this budget: `latency_p50_ms-5--energy_mj-20`.

    Letters, digits, `-` and `_` only; a decimal point becomes `p`. Equal budgets give equal aliases in any order.
    """
    order = [name for name in METRICS if name in budget]
    parts = [*(["knee"] if knee else []), *(f"{name}-{_plain(budget[name])}" for name in order)]
    alias = "--".join(parts) or "unlimited"
    if len(alias) <= LONGEST_ALIAS:
        return alias
    return f"{alias[: LONGEST_ALIAS - 10]}--{hashlib.sha256(alias.encode()).hexdigest()[:8]}"


def _violation(name: str, limit: float, value: float | None) -> float:
    if value is None or not math.isfinite(value):
        return MISSING
    over = limit - value if METRICS[name].maximize else value - limit
    excess = over / abs(limit) if limit else over  # a limit of 0 has no relative excess
    return min(excess, MISSING / 2)  # however much it is, there is a figure


def _figure(name: str, limit: float, value: float | None, excess: float) -> str:
    if excess >= MISSING:
        return "has no figure"
    return f"{text(name, value)} ({_percent(excess)} {_side(name)} {limit:g})"


def _told(miss: Miss, budget: Mapping[str, float], quality: str | None) -> str:
    parts, kind = [], miss.record.energy_kind
    for name, excess in miss.violations.items():
        figure = text(name, miss.record.metrics.get(name))
        if name == "energy_mj" and name in miss.record.metrics:
            figure += f" {kind or 'of no known kind'}"
        shown = f"{name} {figure}" if METRICS[name].quality else figure  # a quality has no unit to know it by
        judged = f"{shown} ({_percent(excess)} {_side(name)})" if excess > 0 else shown
        parts.append(f"no {name}" if excess >= MISSING else judged)
    if quality is not None and quality not in budget:
        parts.append(f"{quality} {text(quality, miss.record.metrics.get(quality))}")
    return f"trial {miss.record.number}, {', '.join(parts)}"


def _remedy(miss: Miss, budget: Mapping[str, float]) -> str:
    loosened = {n: miss.record.metrics[n] for n, excess in miss.violations.items() if 0 < excess < MISSING}
    lacking = [name for name, excess in miss.violations.items() if excess >= MISSING]
    said = [f"{name} {_rounded(name, value, budget[name]):g}" for name, value in loosened.items()]
    words = [f"loosen to {' and '.join(said)}"] if said else []
    words += [f"drop the limit on {' and '.join(lacking)}"] if lacking else []
    joined = " and ".join(words)
    return f"To take trial {miss.record.number}, {joined}; or give the search more trials"


def _rounded(name: str, value: float, limit: float) -> float:
    """Three digits, rounded to the side on which the value still fits."""
    digits = 3 - math.ceil(math.log10(max(abs(value), abs(limit) * 1e-6)))
    scaled = value * 10.0**digits
    return (math.floor(scaled) if METRICS[name].maximize else math.ceil(scaled)) / 10.0**digits


def _percent(excess: float) -> str:
    return f"{100 * excess:.0f} %" if excess >= 0.1 else f"{100 * excess:.2g} %"


def _side(name: str) -> str:
    return "under" if METRICS[name].maximize else "over"


def _plain(limit: float) -> str:
    number = format(Decimal(repr(float(limit))), "f")  # no exponent, which would need a sign
    return number.removesuffix(".0").replace(".", "p").replace("-", "minus")
