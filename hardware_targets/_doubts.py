"""What speaks against a figure, as sentences with the remedy. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator

from hardware_targets._blocks import WIDEST
from hardware_targets._measurement import Conditions, Latency
from hardware_targets._plan import MET
from hardware_targets._void import FOREIGN, STEAL

UNDISTURBED = 0.5  # share of blocks below which a reader should know


def doubts(latency: Latency, conditions: Conditions, reference_ms: float | None = None) -> Iterator[str]:
    """Sentences about an unsteady, imprecise or disturbed measurement; `reference_ms` as the reference was known."""
    half = latency.half_width
    if reference_ms is not None and latency.reference_median_ms > MET * reference_ms:
        slower = f"{latency.reference_median_ms / reference_ms - 1:.0%}"
        yield f"the machine never came back to its own speed: the reference was {slower} slower; measure again later"
    if not latency.steady:
        yield "the warm-up ended while times still drifted; measure again when the machine has settled"
    if half > WIDEST:
        yield f"inconclusive: the ratio is known to +-{half:.1%} only; measure again on a quieter machine"
    if latency.voided_rounds:
        void = f"{latency.voided_rounds} of {latency.rounds} rounds were void ({', '.join(latency.void_reasons)})"
        if latency.unreliable:
            yield f"unreliable: {void}; leave the machine alone and measure again"
        else:
            yield f"{void} and do not count; the figures are of the others"
    if latency.undisturbed_share is not None and latency.undisturbed_share < UNDISTURBED:
        slowed = f"{1 - latency.undisturbed_share:.0%} of the blocks"
        yield f"{slowed} were slowed by something else on this machine or its host; the figures are of the others"
    if latency.interrupted_blocks > latency.blocks / 10:
        count = f"{latency.interrupted_blocks} of {latency.blocks} blocks"
        yield f"{count} were interrupted and count with their CPU time; measure again on a quieter machine"
    if conditions.steal_share is not None and conditions.steal_share > STEAL:
        share = f"{conditions.steal_share:.1%}"
        yield f"the hypervisor withheld {share} of the processor time; measure again when its host is quieter"
    if conditions.foreign_share is not None and conditions.foreign_share > FOREIGN:
        share = f"{conditions.foreign_share:.0%}"
        yield f"other processes used {share} of the machine while it was timed; stop them and measure again"


def resolution_words(latency: Latency) -> list[str]:
    """What a final could tell apart, whether this is a tie, and how far sessions differ; nothing for other tiers."""
    if latency.resolution is None:
        return []
    words = f"differences below {math.expm1(latency.resolution):.1%} are ties here"
    if latency.resolution > latency.half_width + 1e-9:
        words += ": that far apart were two copies of the model itself (A/A), more than the interval says"
    if latency.between_sessions is None:
        alone = "this interval is of one session; how far sessions on this device differ is not known yet"
    else:
        alone = (
            f"this interval is of one session; between {latency.sessions} sessions here the reference's own time "
            f"varied by {latency.between_sessions:.1%} (standard deviation), and the ratio may vary as much"
        )
    return [f"a tie: {words}" if latency.tied else words, alone]


def disturbance(conditions: Conditions, *, throttled: int, supply_changed: bool) -> str | None:
    """What makes an energy window void, if anything; `conditions` are of that window."""
    if conditions.steal_share is not None and conditions.steal_share > STEAL:
        share = f"{conditions.steal_share:.1%}"
        return f"the hypervisor withheld {share} of the processor time; measure again when its host is quieter"
    if conditions.foreign_share is not None and conditions.foreign_share > FOREIGN:
        return f"other processes used {conditions.foreign_share:.0%} of the machine; stop them and measure again"
    if throttled > 0:
        return "the processor held its clocks down (heat or power); cool it and measure again"
    if supply_changed:
        return "the machine changed between mains and battery; leave it on one and measure again"
    return None
