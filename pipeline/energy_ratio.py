"""A model's energy over its teacher's, where the two figures may be compared at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hardware_targets import Unmeasured
from pipeline.record import GENERIC, TrialRecord


@dataclass(frozen=True)
class EnergyRatio:
    """Energy of one inference over the teacher's, with its 95 % interval (a band where the figure is a model's)."""

    value: float
    low: float
    high: float


def energy_ratio(record: TrialRecord, teacher: Mapping[str, Any]) -> EnergyRatio | Unmeasured:
    """`teacher`: the frozen measurement of the reference, a Measurement as JSON. Kinds and boundaries must agree.

    A meter that ran both in turn tells the ratio itself. Of `modelled-generic` figures the watts cancel: what is left
    is the interleaved ratio of latencies times how busy both kept the processor, and only within one precision.
    """
    measured = record.measurement or {}
    own, other = measured.get("energy") or {}, teacher.get("energy") or {}
    for figure, whose in ((own, "this model"), (other, "the teacher")):
        if "mj" not in figure:
            return Unmeasured(f"there is no energy figure of {whose}: {figure.get('unmeasured', 'none was taken')}")
    if any(own[key] != other[key] for key in ("kind", "boundary")):
        return Unmeasured(
            f"this model's energy is {own['kind']} ({own['boundary']}) and the teacher's {other['kind']} "
            f"({other['boundary']}); two kinds or boundaries are not compared"
        )
    coarse = own["kind"] == GENERIC or str(own.get("source", "")).startswith("extrapolated")
    if coarse and record.precision != "none":
        return Unmeasured(
            f"this file is {record.precision} and the teacher's is of 32-bit floats; between precisions "
            f"{own['kind']} energy compares nothing"
        )
    if own.get("ratio") is not None:
        return EnergyRatio(own["ratio"], own["ratio_low"], own["ratio_high"])
    return _generic(measured, teacher) if own["kind"] == GENERIC else _of_bands(own, other)


def _generic(measured: Mapping[str, Any], teacher: Mapping[str, Any]) -> EnergyRatio | Unmeasured:
    latency, reference = measured.get("latency") or {}, teacher.get("latency") or {}
    if not (latency.get("cpu_seconds") and reference.get("cpu_seconds")):
        return Unmeasured("the processor time of one inference is not known of both")
    busy = (latency["cpu_seconds"] / latency["median_ms"]) / (reference["cpu_seconds"] / reference["median_ms"])
    return EnergyRatio(*(latency[name] * busy for name in ("ratio", "ratio_low", "ratio_high")))


def _of_bands(own: Mapping[str, Any], other: Mapping[str, Any]) -> EnergyRatio:
    return EnergyRatio(
        own["mj"] / other["mj"],
        own["mj_low"] / other.get("mj_high", other["mj"]),
        own["mj_high"] / other.get("mj_low", other["mj"]),
    )
