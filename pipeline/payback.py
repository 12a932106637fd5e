"""After how many inferences with a student, instead of its teacher, the search's energy is saved again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hardware_targets import Unmeasured
from pipeline.break_even import BreakEven, Z, break_even, spread
from pipeline.energy_ratio import EnergyRatio, energy_ratio
from pipeline.own_energy import MJ_PER_KWH, OwnEnergy
from pipeline.record import GENERIC, TrialRecord


def payback(own: OwnEnergy | Unmeasured, record: TrialRecord, teacher: Mapping[str, Any]) -> BreakEven | Unmeasured:
    """The search's energy over the saving of one inference; `teacher` is the frozen measurement of the reference.

    The teacher's training is left out: who serves the teacher has to train it as well. Cost and saving are both taken
    in inferences of the teacher. The cost has the band of its table, and that of the teacher's figure unless both stand
    on the same table, whose watts then cancel.
    """
    if isinstance(own, Unmeasured):
        return own
    ratio = energy_ratio(record, teacher)
    if isinstance(ratio, Unmeasured):
        return ratio
    served = teacher["energy"]
    cost = (own.kwh - own.teacher_kwh) * MJ_PER_KWH / served["mj"]
    deviation = spread(own.kwh_low, own.kwh_high)
    if served["kind"] != GENERIC and "mj_low" in served:
        deviation = math.hypot(deviation, spread(served["mj_low"], served["mj_high"]))
    return break_even(cost, cost * deviation, 1 - ratio.value, _deviation(ratio))


def _deviation(ratio: EnergyRatio) -> float:
    return (ratio.high - ratio.low) / (2 * Z)
