"""The published grids of mobile networks as search problems whose true front is known.

A grid is one board under one runtime with its 35 to 84 networks: accuracy, p90 latency and joules of each. Volume is
counted as `pipeline.pareto.front_hypervolume` counts it: doublings of latency and of energy below the reference, and
accuracy above chance as a share of the reference's. The reference is the most accurate network of the grid.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import mlperf_rows
import mobile_macs
import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from pipeline.pareto import hypervolume
from search_spaces import ImageInput, SearchSpace
from search_spaces.candidate import Candidate, Scalar
from search_spaces.dimension import Choice, Fixed
from search_spaces.space import Student

CHANCE = 0.001  # accuracy of guessing among the 1000 classes of ImageNet
AXES = ("width", "size", "variant", "minimalistic", "precision")
# What an axis stands at in the box of all axes, where a family does not have it: V3 is for 224 pixels and large.
ELSEWHERE: Mapping[str, Scalar] = {"size": 224, "variant": "large", "minimalistic": False}

Flat = Mapping[str, Scalar]


@dataclass(frozen=True)
class Grid:
    """`flats` are candidates of `space`; `costs` [n, 2] log2 of latency and energy over the reference's, `sizes` [n, 1]
    of its multiply-accumulates, `quality` [n] the accuracy. Nothing below the quality `floor` adds volume."""

    name: str
    space: SearchSpace
    flats: tuple[Flat, ...]
    costs: np.ndarray
    sizes: np.ndarray
    quality: np.ndarray
    floor: float

    @cached_property
    def reference(self) -> int:
        return int(np.argmax(self.quality))

    @cached_property
    def useful(self) -> list[int]:
        """The points below the reference in both costs: no other can add volume, and that is known beforehand."""
        return [int(point) for point in np.flatnonzero((self.costs < 0).all(axis=1))]

    def volume(self, points: Iterable[int]) -> float:
        return hypervolume(np.column_stack([self.costs, -self.quality])[list(points)], [0.0, 0.0, -self.floor])

    @cached_property
    def params(self) -> list[dict[str, Scalar]]:
        """What to enqueue for each point in the conditional space."""
        found = [self.space.params_of(flat) for flat in self.flats]
        return [params for params in found if not isinstance(params, str)]

    def place(self, candidate: Candidate) -> int:
        return self._places[candidate.key]

    @cached_property
    def _places(self) -> dict[str, int]:
        return {Candidate.of(flat, 0).key: point for point, flat in enumerate(self.flats)}

    @cached_property
    def _options(self) -> dict[str, list[Scalar]]:
        found = {axis: sorted({_boxed(flat, axis) for flat in self.flats}) for axis in ("student", *AXES)}
        return {axis: options for axis, options in found.items() if len(options) > 1}

    @cached_property
    def box(self) -> dict[str, BaseDistribution]:
        """Every axis asked for always, numbers by their place in a list: what samplers without a tree can model."""
        return {
            axis: IntDistribution(0, len(options) - 1)
            if axis in ("width", "size")
            else CategoricalDistribution(options)
            for axis, options in self._options.items()
        }

    @cached_property
    def box_params(self) -> list[dict[str, Scalar]]:
        """Each point's parameters in the box."""
        return [
            {axis: options.index(_boxed(flat, axis)) if axis in ("width", "size") else _boxed(flat, axis)
             for axis, options in self._options.items()}
            for flat in self.flats
        ]  # fmt: skip

    def nearest(self, params: Mapping[str, Scalar], among: Sequence[int]) -> int:
        """Of these points the one that is nearest to parameters of the box, each axis counting alike."""
        asked = self._row(params)
        return min(among, key=lambda point: float(np.square(self._rows[point] - asked).sum()))

    @cached_property
    def _rows(self) -> np.ndarray:
        return np.array([self._row(params) for params in self.box_params])

    def _row(self, params: Mapping[str, Scalar]) -> np.ndarray:
        row: list[float] = []
        for axis, options in self._options.items():
            value = params[axis]
            row += [float(value) / (len(options) - 1)] if axis in ("width", "size") else [value == o for o in options]
        return np.array(row, dtype=float)


def grids(versions: tuple[str, ...], floor: float = CHANCE) -> list[Grid]:
    """The grids of those versions, in the order of the table."""
    found: dict[tuple[str, str], list[dict[str, str]]] = {}
    with mlperf_rows.TABLE.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            if line["version"] in versions and line["division"] == "open" and line["model"].startswith("mobilenet"):
                found.setdefault((line["version"], line["location"].split("/")[3]), []).append(line)
    return [_grid(f"{version}/{folder}", lines, floor) for (version, folder), lines in found.items()]


def _grid(name: str, lines: list[dict[str, str]], floor: float) -> Grid:
    figures = np.array([[float(line[key]) for key in ("latency_ms_p90", "energy_j", "accuracy")] for line in lines])
    return grid(name, [line["model"] for line in lines], figures[:, 0], figures[:, 1], figures[:, 2] / 100, floor)


def grid(
    name: str, models: Sequence[str], latency: np.ndarray, energy: np.ndarray, accuracy: np.ndarray, floor: float
) -> Grid:
    """A grid from columns: published model names, latencies and energies in any unit, accuracies from 0 to 1."""
    costs = np.log2(np.column_stack([latency, energy]))
    sizes = np.log2([[mobile_macs.macs_m(mlperf_rows.network(model)[0])] for model in models])
    flats, best = tuple(flat(model) for model in models), int(np.argmax(accuracy))
    return Grid(name, _space(flats), flats, costs - costs[best], sizes - sizes[best], accuracy, floor)


def flat(model: str) -> Flat:
    """A published model name as a candidate; precision is an axis here, for not every network has both."""
    name, precision = mlperf_rows.network(model)
    axes: dict[str, Scalar]
    if match := re.fullmatch(r"mobilenet-v([12])-([\d.]+)-(\d+)", name):
        student, axes = f"mobilenet_v{match[1]}", {"width": float(match[2]), "size": int(match[3])}
    else:
        student = "mobilenet_v3"
        variant, width = "large" if "large" in name else "small", 0.75 if "0.75" in name else 1.0
        axes = {"variant": variant, "minimalistic": "minimalistic" in name, "width": width}
    named = {f"{student}.{axis}": value for axis, value in {**axes, "precision": precision}.items()}
    return {"student": student, **named, "quantize.scheme": "none"}


def _space(flats: Sequence[Flat]) -> SearchSpace:
    """The conditional space whose candidates are exactly these."""
    students = {}
    for name in sorted({str(flat["student"]) for flat in flats}):
        own = [flat for flat in flats if flat["student"] == name]
        names = [key for key in own[0] if key.startswith(name)]
        axes = {key.split(".")[1]: Choice(tuple(flat[key] for flat in own)) for key in names}
        rows = tuple(tuple(flat[key] for key in names) for flat in own)
        students[name] = Student(axes, rows, prunable=False, scheme=Fixed("none"))
    return SearchSpace(ImageInput(3, 224, 1000), students, distill={}, prune={}, quantize={})


def _boxed(flat: Flat, axis: str) -> Scalar:
    if axis == "student":
        return flat["student"]
    value = flat.get(f"{flat['student']}.{axis}")
    return ELSEWHERE[axis] if value is None else value
