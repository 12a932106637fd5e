"""What a target reports: latency, energy, memory and the conditions they were taken under.

All values are frozen, carry their units in their names and survive JSON exactly. What was not obtained is `Unmeasured`
with a sentence, or None; a zero or a NaN in its place is refused here, so that no reader can invent a figure.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

T = TypeVar("T", bound="_Value")


class _Value:
    """JSON for a flat frozen dataclass; tuples become lists and back."""

    def to_json(self) -> dict[str, Any]:
        """A plain mapping that `json.dumps(..., allow_nan=False)` takes."""
        plain = asdict(self)  # type: ignore[call-overload]
        return {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}

    @classmethod
    def from_json(cls: type[T], data: Mapping[str, Any]) -> T:
        """The value that `to_json` wrote; keys of a newer version are left out."""
        known = {item.name for item in fields(cls)}  # type: ignore[arg-type]
        return cls(**{name: _frozen(value) for name, value in data.items() if name in known})


@dataclass(frozen=True)
class Unmeasured(_Value):
    """A figure that was not obtained, and the sentence that says why."""

    reason: str

    def __post_init__(self) -> None:
        if not self.reason.strip():
            raise ValueError("Unmeasured needs a reason")


@dataclass(frozen=True)
class Latency(_Value):
    """Time of one inference at `batch_size`, and its ratio to a reference that was timed in turn with it.

    `median_ms` and `reference_median_ms` are of the undisturbed blocks (`_protocol` says which these are), and
    `undisturbed_share` tells how many of the blocks they were, on the side with fewer. Percentiles are of single calls,
    the timed rows in turn, and None below the number of calls that they need. `ratio` is candidate / reference with its
    95 % interval; `ratio_samples` are the plain ratios of all blocks in each eighth of the session, disturbed ones
    included.
    `cpu_seconds` is per inference, over all threads, and None where a recorded figure does not tell it. `blocks`,
    `calls` and `interrupted_blocks` are the candidate's; a block is interrupted when others had the processor
    meanwhile.

    `resolution` is the smallest log ratio that this session tells from none: half the width of the interval, or what
    the candidate showed against itself where that is more; None where it was not compared so. `conclusive`: the
    interval is as narrow as a figure should have it. Of `rounds`, `voided_rounds` broke a rule (`_void`), and each rule
    counts its own.

    The interval is of this session alone. `reference_drift` is the log of the reference's time over what it took since
    the device was last qualified; `between_sessions` the standard deviation of that log over the last `sessions` here.
    """

    median_ms: float
    p90_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    reference_median_ms: float
    ratio: float
    ratio_low: float
    ratio_high: float
    ratio_samples: tuple[float, ...]
    blocks: int
    calls: int
    batch_size: int
    cpu_seconds: float | None
    warmup_calls: int
    steady: bool
    undisturbed_share: float | None = None  # None in records of an earlier protocol
    interrupted_blocks: int = 0
    resolution: float | None = None
    conclusive: bool | None = None  # None in records of an earlier protocol
    rounds: int = 0
    voided_rounds: int = 0
    void_reasons: tuple[str, ...] = ()
    reference_drift: float | None = None  # None where nothing was known
    between_sessions: float | None = None  # None while there are too few
    sessions: int = 0

    @property
    def unreliable(self) -> bool:
        """More than a quarter of the session was void."""
        return self.voided_rounds > self.rounds / 4

    @property
    def half_width(self) -> float:
        """Of the ratio's interval, on the log scale: 0.1 is some ten percent to either side."""
        return math.log(self.ratio_high / self.ratio_low) / 2

    @property
    def tied(self) -> bool:
        """The ratio differs from 1 by less than this session can tell."""
        return self.resolution is not None and abs(math.log(self.ratio)) < self.resolution

    def __post_init__(self) -> None:
        for name in ("median_ms", "reference_median_ms", "ratio", "ratio_low", "ratio_high"):
            _positive("Latency", name, getattr(self, name))
        for name in ("p90_ms", "p95_ms", "p99_ms", "cpu_seconds"):
            if getattr(self, name) is not None:
                _positive("Latency", name, getattr(self, name))
        if not self.ratio_low <= self.ratio <= self.ratio_high:
            raise ValueError(f"Latency.ratio {self.ratio} is outside {self.ratio_low} to {self.ratio_high}")


@dataclass(frozen=True)
class Energy(_Value):
    """Energy in millijoules, of one inference where nothing else is said, with its band, kind, and what it includes.

    `kind`: measured, measured-vendor-model, modelled-calibrated, modelled-generic or declared. `boundary` says where
    the meter sits (wall, package, ...). Two figures compare only when kind and boundary agree. `mj` is gross. Only a
    meter that was read while models ran tells the rest: `net_mj`, less idle power over the same time; `ratio`, to the
    reference that was run in turn, with its 95 % interval; and how many windows were `voided`.
    """

    mj: float
    mj_low: float
    mj_high: float
    kind: str
    boundary: str
    meter: str
    source: str
    net_mj: float | None = None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    voided: int = 0

    def __post_init__(self) -> None:
        for name in ("mj", "mj_low", "mj_high"):
            _positive("Energy", name, getattr(self, name))
        for name in ("net_mj", "ratio", "ratio_low", "ratio_high"):
            if getattr(self, name) is not None:
                _positive("Energy", name, getattr(self, name))
        if not self.mj_low <= self.mj <= self.mj_high:
            raise ValueError(f"Energy.mj {self.mj} is outside its band {self.mj_low} to {self.mj_high}")
        if not (self.kind and self.boundary):
            raise ValueError("an energy figure needs a kind and a boundary")


@dataclass(frozen=True)
class Conditions(_Value):
    """The machine while it was timed; None where this machine does not say.

    Loads are 1-minute averages; `steal_share` and `foreign_share` are shares of all cores' time, between start and end,
    that the hypervisor withheld and that other processes used.
    """

    cpu_model: str | None
    cpu_vendor: str | None
    cpu_family: int | None
    cpu_number: int | None
    cpu_stepping: int | None
    architecture: str
    logical_cores: int | None
    kernel: str
    python: str
    runtime: str
    runtime_version: str
    threads: int
    spinning: bool
    governor: str | None
    virtualised: bool | None
    container: str | None
    on_ac: bool | None
    load_start: float | None
    load_end: float | None
    steal_share: float | None
    foreign_share: float | None
    limits: str | None = None  # cores and memory that the measuring process was held to
    gpu: str | None = None  # that worked: name, driver, limits, whether MIG divides it
    qualified_at: str | None = None  # since when what is known of the device holds; a drift begins it anew

    @property
    def fingerprint(self) -> str:
        """16 hex digits over all that must agree for two figures to compare: not load, not steal."""
        passing = {"load_start", "load_end", "steal_share", "foreign_share", "qualified_at"}
        # Fingerprints of machines without these stay what they were before there were these.
        passing |= {name for name in ("limits", "gpu") if getattr(self, name) is None}
        lasting = {name: value for name, value in self.to_json().items() if name not in passing}
        return hashlib.sha256(json.dumps(lasting, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Measurement:
    """All that a device found out about a model file; `peak_memory_mb` is over a null model, in 10^6 bytes."""

    latency: Latency
    energy: Energy | Unmeasured
    peak_memory_mb: float | Unmeasured
    conditions: Conditions
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Nested plain mappings; an `Unmeasured` becomes {"unmeasured": sentence}."""
        memory = self.peak_memory_mb
        return {
            "latency": {**self.latency.to_json(), "unreliable": self.latency.unreliable},
            "energy": energy_json(self.energy),
            "peak_memory_mb": _absent(memory) if isinstance(memory, Unmeasured) else memory,
            "conditions": {**self.conditions.to_json(), "fingerprint": self.conditions.fingerprint},
            "warnings": list(self.warnings),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Measurement:
        """The measurement that `to_json` wrote."""
        memory = data["peak_memory_mb"]
        return cls(
            latency=Latency.from_json(data["latency"]),
            energy=energy_from(data["energy"]),
            peak_memory_mb=Unmeasured(memory["unmeasured"]) if isinstance(memory, Mapping) else float(memory),
            conditions=Conditions.from_json(data["conditions"]),
            warnings=tuple(data["warnings"]),
        )


def energy_json(energy: Energy | Unmeasured) -> dict[str, Any]:
    """An `Unmeasured` becomes {"unmeasured": sentence}."""
    return _absent(energy) if isinstance(energy, Unmeasured) else energy.to_json()


def energy_from(data: Mapping[str, Any]) -> Energy | Unmeasured:
    """What `energy_json` wrote."""
    return Unmeasured(data["unmeasured"]) if "unmeasured" in data else Energy.from_json(data)


def _absent(value: Unmeasured) -> dict[str, str]:
    return {"unmeasured": value.reason}


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _positive(kind: str, name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{kind}.{name} is {value}; a figure that was not obtained is Unmeasured, never a number")
