"""What a replayed search draws from: every candidate of a bank with its true figures and what each would have cost.

A sampler's proposal is met by the nearest candidate that has not been tried: first by what decides the file (shape,
pruning ratio, scheme), then by the way it was taught. The study is told of the candidate that was met, under its own
values, so a sampler learns from pairs that are true; no accuracy is ever interpolated.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from bank_design import Flat, shape_of, student_of
from bank_store import TEACHER, Bank

import hardware_targets
import search_spaces
from pipeline.config import SearchConfig
from pipeline.record import read_json
from pipeline.search.standing import felt
from search_spaces import IDENTITY, SearchSpace, TaskInput
from search_spaces.candidate import Candidate, Scalar

# Of one measurement where a bank's own were not timed: the tier's time and the start of two processes.
SESSION_S = {"screen": 5.0, "trial": 14.0}


@dataclass(frozen=True)
class Point:
    """One candidate: what training it tells and takes. Seconds are processor time of one thread."""

    candidate: Candidate
    file: str  # shape and scheme: equal ones have equal device figures
    curve: tuple[Mapping[str, float], ...]  # of the distillation, with `cpu_seconds` since its start
    recover_s: float
    twin_s: float  # export and quantization, of it as of its untrained twin
    score_s: float
    metrics: Mapping[str, float]
    measurement: Mapping[str, Any]

    @property
    def distill_s(self) -> float:
        return self.spent_s(len(self.curve))

    def spent_s(self, epochs: int) -> float:
        """Of the distillation's first epochs."""
        return self.curve[epochs - 1]["cpu_seconds"] if epochs else 0.0

    @property
    def make_s(self) -> float:
        return self.twin_s + self.score_s

    @property
    def train_s(self) -> float:
        return self.distill_s + self.recover_s


@dataclass(frozen=True)
class Stored:
    """A bank as a search sees it."""

    config: SearchConfig
    space: SearchSpace
    points: Mapping[str, Point]  # by the candidate's key
    teacher_metrics: Mapping[str, float]
    chance: Mapping[str, float]
    screen_s: float
    measure_s: float

    def identities(self) -> list[Point]:
        return self._known(Candidate.of(flat, 0) for flat in self.space.identity_candidates())

    def students(self) -> list[Point]:
        return [point for point in self.points.values() if point.candidate.student != IDENTITY]

    def of_shape(self, candidate: Candidate) -> Point | None:
        """One with the file's shape and scheme, however it was taught: the device feels no difference."""
        return None if candidate.student == IDENTITY else self._by_file.get(self._shape_key(candidate))

    def known(self, flats: Iterable[Flat]) -> list[Point]:
        """Those of the candidates that the bank has."""
        return self._known(Candidate.of(flat, 0) for flat in flats)

    def nearest(self, candidate: Candidate, tried: set[str]) -> Point | None:
        """The untried candidate nearest to a proposal; None where all have been tried."""
        keys = [key for key in self._keys if key not in tried]
        if candidate.key in self.points and candidate.key not in tried:
            return self.points[candidate.key]
        if not keys:
            return None
        places = [self._places[key] for key in keys]
        wanted = self._row(candidate.flat())
        known, how = self._matrix[places], self._files[places]
        far = np.abs(known - wanted).sum(1) + 1000.0 * (how != self._file(candidate.flat())).sum(1)
        return self.points[keys[int(np.argmin(far))]]

    def _known(self, candidates: Iterable[Candidate]) -> list[Point]:
        return [self.points[candidate.key] for candidate in candidates if candidate.key in self.points]

    @cached_property
    def _by_file(self) -> dict[Any, Point]:
        return {self._shape_key(point.candidate): point for point in self.students()}

    def _shape_key(self, candidate: Candidate) -> Any:
        """Remembered by what the device might feel: thousands of candidates differ in their training only."""
        shape = felt(candidate)
        if shape not in self._shape_keys:
            self._shape_keys[shape] = tuple(self._file(candidate.flat()))
        return self._shape_keys[shape]

    @cached_property
    def _shape_keys(self) -> dict[Any, Any]:
        return {}

    @cached_property
    def _keys(self) -> list[str]:
        return [point.candidate.key for point in self.students()]

    @cached_property
    def _places(self) -> dict[str, int]:
        return {key: place for place, key in enumerate(self._keys)}

    @cached_property
    def _axes(self) -> dict[str, list[Scalar]]:
        """Every axis with its values in order; numbers by rank, text by name."""
        found: dict[str, set[Scalar]] = {}
        for point in self.students():
            for name, value in point.candidate.values:
                found.setdefault(name, set()).add(value)
        return {name: sorted(values, key=lambda value: (str(type(value)), value)) for name, values in found.items()}

    @cached_property
    def _matrix(self) -> np.ndarray:
        return np.stack([self._row(self.points[key].candidate.flat()) for key in self._keys])

    @cached_property
    def _files(self) -> np.ndarray:
        return np.stack([self._file(self.points[key].candidate.flat()) for key in self._keys])

    def _row(self, flat: Mapping[str, Scalar]) -> np.ndarray:
        """Columns in which one step of a number counts 1 / steps, another text 1, an axis that is absent 1."""
        row: list[float] = []
        for name, values in self._axes.items():
            if isinstance(values[0], str | bool):
                row += [0.5 * (flat.get(name) == value) for value in values] + [0.5 * (name not in flat)]
            else:
                steps = max(1, len(values) - 1)
                row += [_rank(values, flat[name]) / steps if name in flat else -1.0]
        return np.array(row)

    def _file(self, flat: Mapping[str, Scalar]) -> np.ndarray:
        student = str(flat["student"])
        inside = {n.removeprefix(f"{student}."): v for n, v in flat.items() if n.startswith(f"{student}.")}
        parts = (shape_of(student, inside, self.space), flat.get("prune.ratio", 0.0), flat["quantize.scheme"])
        return np.array([str(part) for part in parts], dtype=object)


def _rank(values: Sequence[Any], value: Any) -> float:
    return float(np.interp(float(value), [float(known) for known in values], range(len(values))))


def stored(bank: Bank, config: SearchConfig, given: TaskInput, table: Path | None = None) -> Stored:
    """A bank with the figures of its table. Candidates that failed or have no row there are left out."""
    about, threads = read_json(bank.about), config.target.threads
    target: Any = hardware_targets.load(
        "recorded", threads=threads, table=str(table or bank.folder / "table.yaml")
    )  # fmt: skip
    space = search_spaces.load(config.space, input=given, augmentations=config.task.augment_choices)
    found: dict[str, Point] = {}
    for member in bank.read_members():
        for variant in member["variants"]:
            if point := _point(member, variant, target):
                found[point.candidate.key] = point
    own = target.look_up(TEACHER, TEACHER)
    return Stored(
        config=config,
        space=space,
        points=found,
        teacher_metrics={**about["quality"], **device_metrics(own)},
        chance=about["chance"],
        screen_s=session_s(bank, "screen"),
        measure_s=session_s(bank, "trial"),
    )


def session_s(bank: Bank, tier: str) -> float:
    """Median seconds of this bank's measurements in a tier."""
    taken = [read_json(path).get("took_s") for path in bank.folder.glob(f"device/{tier}/*.json")]
    known = [seconds for seconds in taken if seconds]
    return statistics.median(known) if known else SESSION_S[tier]


def device_metrics(measurement: hardware_targets.Measurement) -> dict[str, float]:
    """Figures of one row under the names of `pipeline.metrics`."""
    latency, energy = measurement.latency, measurement.energy
    found = {"latency_p50_ms": latency.median_ms, "latency_ratio": latency.ratio, "speedup": 1 / latency.ratio}
    return found if isinstance(energy, hardware_targets.Unmeasured) else {**found, "energy_mj": energy.mj}


def _point(member: Mapping[str, Any], variant: Mapping[str, Any], target: Any) -> Point | None:
    if variant["end"] != "complete":
        return None
    try:
        measurement = target.look_up(variant["key"], TEACHER)
    except hardware_targets.TargetError:
        return None  # not measured yet; `replay.py` says how many candidates it has
    spent = variant["cpu_seconds"]
    device = device_metrics(measurement) | {"size_mb": variant["size_bytes"] / 1e6}
    return Point(
        candidate=Candidate.of({**student_of(member["values"]), **variant["values"]}, member["seed"]),
        file=variant["shape"],
        curve=tuple(member["curve"]),
        recover_s=spent.get("recover", 0.0),
        twin_s=sum(spent.get(phase, 0.0) for phase in ("export", "prune", "quantize")),
        score_s=spent.get("score", 0.0),
        metrics={**variant["quality"], **device},
        measurement=measurement.to_json(),
    )
