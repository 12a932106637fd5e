"""Everything known of a trial, to and from JSON. The file is the truth; the study and MLflow are views of it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from search_spaces.candidate import Candidate

# `pending`: trained and kept, but the device was away; `measure-pending` makes it complete or failed later.
# `stopped`: left at a rung (`pipeline.rungs`); it may go on later, under another number.
End = Literal["complete", "refused", "stopped", "failed", "duplicate", "interrupted", "pending"]

GENERIC = "modelled-generic"
UNPRUNED = "unpruned"  # in the folder of a pruned trial, the student as it was before, until it has been harvested
UNRELIABLE = "it was timed on a disturbed machine, so its times are unreliable"


@dataclass(frozen=True)
class TrialRecord:
    """One trial.

    `metrics` are named in `pipeline.metrics`, on validation; a metric that was not obtained is absent, never 0.
    `violations` say by how much a budget is exceeded, relative to the limit; <= 0 means it fits.
    `curve` holds one mapping per epoch; its `rung_accuracy` comes from the torch model and is never `accuracy`.
    `screened` are the device figures of the untrained twin, where it was measured.
    """

    number: int
    candidate: Candidate
    end: End
    reason: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # 95 %
    violations: Mapping[str, float] = field(default_factory=dict)
    measurement: Mapping[str, Any] | None = None  # hardware_targets Measurement as JSON
    artifact: Mapping[str, Any] | None = None  # OnnxArtifact as JSON; `path` is relative to the trial's folder
    teacher: str = ""  # sha256 of the reference file
    curve: tuple[Mapping[str, float], ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)  # per phase
    cpu_seconds: Mapping[str, float] = field(default_factory=dict)  # per phase, on the searching machine
    final_of: int | None = None  # number of the trial that this one distils in full
    trained_by: int | None = None  # number of the trial whose trained student this one began with
    inherited_from: int | None = None  # number of the trial whose student this one began its training with
    rung: int | None = None  # epochs after which it was stopped
    rung_accuracy: float | None = None  # of the torch model there
    resumed_from: int | None = None  # number of the stopped trial that this one goes on with
    continued_in: int | None = None  # number of the trial that went on with this stopped one, and counts in its place
    screened: Mapping[str, float] = field(default_factory=dict)
    lent_by: str | None = None  # `search#number` of the trial of another search whose file this is
    same_as: int | None = None  # number of the equal candidate, for a duplicate
    notes: tuple[str, ...] = ()
    started: str = ""  # ISO 8601, UTC
    ended: str = ""
    earlier_energy: tuple[Mapping[str, Any], ...] = ()  # replaced by `rescore`: {"energy", "energy_mj", "until"}
    earlier_timing: tuple[Mapping[str, Any], ...] = ()  # of a disturbed machine: {"measurement", "metrics", "until"}
    test_seen: bool = False  # the test split had been scored when this trial ran

    # Cached: before and after every trial they are asked of all.

    @cached_property
    def counts(self) -> bool:
        """A candidate's own ending: no repetition of an equal one, not cut off, and not gone on with."""
        return self.same_as is None and self.end != "interrupted" and self.continued_in is None

    @cached_property
    def feasible(self) -> bool:
        """Complete, and within every budget."""
        return self.end == "complete" and all(value <= 0 for value in self.violations.values())

    @cached_property
    def unreliable(self) -> bool:
        """More than a quarter of the session that timed it was void: kept, and off the front (`UNRELIABLE`)."""
        return bool(((self.measurement or {}).get("latency") or {}).get("unreliable", False))

    @cached_property
    def precision(self) -> str:
        """The quantization scheme of the shipped file; `none` is 32-bit floats."""
        return str(dict(self.candidate.values).get("quantize.scheme", "none"))

    @property
    def drift(self) -> dict[str, float]:
        """By what share each device figure of the shipped file differs from that of its untrained twin."""
        if self.end != "complete":
            return {}
        known = {name: value for name, value in self.screened.items() if name in self.metrics and value > 0}
        return {name: self.metrics[name] / value - 1 for name, value in known.items()}

    @cached_property
    def energy_kind(self) -> str | None:
        """The kind of the energy figure, None where there is none."""
        return self._energy.get("kind")

    @property
    def energy_boundary(self) -> str | None:
        """What the energy figure is of, None where there is none."""
        return self._energy.get("boundary")

    @cached_property
    def energy_coarse(self) -> bool:
        """Whether its energy is too coarse to rank precisions: a table's watts, or a model outside its domain."""
        return self.energy_kind == GENERIC or str(self._energy.get("source", "")).startswith("extrapolated")

    @cached_property
    def energy_class(self) -> tuple[str | None, str | None, str]:
        """Kind and boundary, then the precision where it is coarse: energies of equal triples may be ranked."""
        return self.energy_kind, self._energy.get("boundary"), self.precision if self.energy_coarse else ""

    @property
    def _energy(self) -> Mapping[str, Any]:
        return (self.measurement or {}).get("energy") or {}

    def to_json(self) -> dict[str, Any]:
        out = {item.name: getattr(self, item.name) for item in fields(self)}
        out["candidate"] = {"key": self.candidate.key, "seed": self.candidate.seed, **{"values": self.candidate.flat()}}
        out["intervals"] = {name: list(pair) for name, pair in self.intervals.items()}
        for name in ("metrics", "violations", "seconds", "cpu_seconds", "screened"):
            out[name] = dict(out[name])
        out["curve"] = [dict(row) for row in self.curve]
        out["notes"] = list(self.notes)
        for name in ("earlier_energy", "earlier_timing"):
            out[name] = [dict(item) for item in out[name]]
        return out

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TrialRecord:
        values = {name: value for name, value in data.items() if name in cls.__dataclass_fields__}
        values["candidate"] = Candidate.of(data["candidate"]["values"], data["candidate"]["seed"])
        values["intervals"] = {name: (pair[0], pair[1]) for name, pair in data.get("intervals", {}).items()}
        values["curve"] = tuple(data.get("curve", ()))
        values["notes"] = tuple(data.get("notes", ()))
        for name in ("earlier_energy", "earlier_timing"):
            values[name] = tuple(data.get(name, ()))
        return cls(**values)

    def with_(self, **changes: Any) -> TrialRecord:
        """A copy with some fields changed."""
        return replace(self, **changes)


def write_json(path: Path, data: Any) -> None:
    """Write, fsync, rename, fsync the folder: after a crash the file is the old one or the new one, never half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("w", encoding="utf-8") as file:
            json.dump(data, file, indent=1, allow_nan=False, sort_keys=False)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def trial_folder(search: Path, number: int) -> Path:
    """The folder of trial `number` inside a search's folder."""
    return search / "trials" / f"{number:05d}"


def write_record(search: Path, record: TrialRecord) -> None:
    """Store a finished trial; this is the moment from which it counts."""
    write_json(trial_folder(search, record.number) / "record.json", record.to_json())


def read_records(search: Path) -> list[TrialRecord]:
    """Every finished trial of a search, by number; an unreadable file is left out (its trial is run again)."""
    records, trials = [], search / "trials"
    names = os.listdir(trials) if trials.is_dir() else []  # noqa: PTH208 - text, not paths: there may be 10,000
    for name in sorted(names):
        try:
            with open(f"{trials}/{name}/record.json", "rb") as file:  # noqa: PTH123
                records.append(TrialRecord.from_json(json.loads(file.read())))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # none yet, or hand-edited: a half-written file cannot happen (see write_json)
    return records
