"""What the maker of a picked folder says of its energy: one figure, what it is worth, and against what. Pure.

A statement of one's own: nobody else has checked it. A letter is a fixed band of the energy relative to the teacher's,
by halvings, and is given only where the whole interval lies in one band.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hardware_targets import Unmeasured
from pipeline.energy_ratio import EnergyRatio, energy_ratio
from pipeline.record import GENERIC, UNRELIABLE

if TYPE_CHECKING:
    from pipeline.package import Package

# Each letter is one halving of the teacher's energy: F up to the teacher's own, E up to half of it, A up to 1/32.
LETTERS = "ABCDEFG"
BASIS = "stated by whoever picked this model; nobody else has checked it"


def band(ratio: float) -> str:
    """The letter of energy over the teacher's: the upper edge of a band belongs to it."""
    halvings = -math.log2(ratio)
    if halvings < 0:
        return "G"
    return LETTERS[max(0, 5 - math.floor(halvings))]


def letter(ratio: EnergyRatio | Unmeasured, kind: str | None) -> tuple[str | None, str]:
    """The letter, or None, and why."""
    if kind == GENERIC:
        return None, "modelled-generic energy has none: nothing was metered"
    if kind == "declared":
        return None, "declared energy has none: nothing was measured"
    if isinstance(ratio, Unmeasured):
        return None, ratio.reason
    ends = [band(end) for end in (ratio.low, ratio.value, ratio.high)]
    if len(set(ends)) > 1:
        return None, f"the interval crosses from band {ends[0]} to {ends[-1]}"
    return ends[1], f"all of the interval lies in band {ends[1]}"


def bands() -> dict[str, str]:
    """What each letter stands for, in words."""
    found = {"A": "at most 1/32 of the teacher's energy"}
    for place, name in enumerate(LETTERS[1:6], 1):
        found[name] = f"over 1/{2 ** (6 - place)} and at most {'1' if place == 5 else f'1/{2 ** (5 - place)}'}"
    return {**found, "G": "more than the teacher's energy"}


def statement(package: Package) -> dict[str, Any]:
    """`statement.json`: metric, kind, boundary, device, interval, reference, date and the file's sha256."""
    record = package.record
    energy = (record.measurement or {}).get("energy") or {"unmeasured": "no measurement of this file is stored"}
    ratio = energy_ratio(record, package.reference.get("measurement") or {})
    mark, why = (None, UNRELIABLE) if record.unreliable else letter(ratio, energy.get("kind"))
    return {
        "niwaki_statement": 1,
        "basis": BASIS,
        "date": package.created,
        "model": {"name": f"{package.search['name']}-{record.number}", "sha256": package.sha256},
        "metric": "energy of one inference, batch 1, in millijoules",
        "energy": {name: energy[name] for name in _FIGURE if energy.get(name) is not None},
        "interval": _interval(energy),
        "unreliable": record.unreliable,
        "device": _device(package),
        "reference": {"what": "the teacher's own file", "sha256": package.reference.get("sha256")},
        "relative_to_reference": _ratio(ratio),
        "letter": mark,
        "letter_why": why,
        "letters": bands(),
        "footprint": dict(package.footprint),
    }


_FIGURE = ("mj", "mj_low", "mj_high", "kind", "boundary", "meter", "source", "unmeasured")


def _interval(energy: Mapping[str, Any]) -> str | None:
    """What `mj_low` and `mj_high` are."""
    if "mj" not in energy:
        return None
    return "95 % interval" if energy["kind"].startswith("measured") else "band of the model"


def _ratio(ratio: EnergyRatio | Unmeasured) -> dict[str, Any]:
    if isinstance(ratio, Unmeasured):
        return {"unmeasured": ratio.reason}
    return {"value": ratio.value, "low": ratio.low, "high": ratio.high}


def _device(package: Package) -> dict[str, Any]:
    conditions: Mapping[str, Any] = (package.record.measurement or {}).get("conditions") or {}
    names = ("cpu_model", "architecture", "runtime", "runtime_version", "threads")
    known = {name: conditions[name] for name in names if conditions.get(name) is not None}
    return {"target": package.search["target"], **known}
