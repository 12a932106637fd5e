"""Which students of a finite space a bank holds, and which files each of them becomes.

Every shape the space can build is there, several times, each time with another draw of what decides its weights (the
teacher's layers taken, how it begins, how it is distilled): scrambled Sobol points (Sobol 1967; Owen 1995), so every
axis is seen evenly. The known recipes come on top. A shape that a sampler proposes is therefore met exactly, and so are
pruning ratio and scheme, which every student has all of; only the distillation is that of the nearest student.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import qmc

import search_spaces
from search_spaces import IDENTITY, SearchSpace
from search_spaces.candidate import Candidate, Scalar
from search_spaces.compression import applies, refines

STUDENTS = 144  # about so many, recipes apart
NEVER = ("taken",)  # of a shape: which of the teacher's layers are taken decides weights, not times

Flat = dict[str, Scalar]


@dataclass(frozen=True)
class Member:
    """One student to train: its values without pruning and quantization, and the recipe it comes from, if any."""

    number: int
    flat: Flat
    seed: int
    recipe: str | None = None

    @property
    def candidate(self) -> Candidate:
        return Candidate.of(self.flat, self.seed)


def members(space: SearchSpace, seed: int, students: int = STUDENTS) -> list[Member]:
    """The designed set, recipes first, then in an order whose every beginning is spread over the space."""
    shapes = {name: _shapes(name, space) for name in space.students if name != IDENTITY}
    copies = max(1, round(students / sum(len(found) for found in shapes.values())))
    drawn = [flat for name, found in shapes.items() for flat in _drawn(name, found, copies, space, seed)]
    order = np.random.default_rng(seed).permutation(len(drawn))
    named = list(_recipes(space))
    flats = [*named, *((None, drawn[place]) for place in order)]
    once = {Candidate.of(flat, 0).key: (name, flat) for name, flat in reversed(flats)}
    kept = [once[key] for key in dict.fromkeys(Candidate.of(flat, 0).key for _, flat in flats)]
    return [Member(number, flat, seed + number, name) for number, (name, flat) in enumerate(kept)]


def variants(member: Flat, space: SearchSpace) -> list[Flat]:
    """The whole candidates that one training serves: every pruning ratio with every scheme, the dense ones first."""
    student = space.students[str(member["student"])]
    ratios = [float(value) for value in space.prune["ratio"].values() or ()] if student.prunable else []
    found = []
    for ratio in ratios or [None]:
        for scheme in student.scheme.values() or ():
            found.append({**member, **_pruned(ratio, space), "quantize.scheme": scheme, **_finer(scheme, space)})
    return found


def student_of(flat: Mapping[str, Scalar]) -> Flat:
    """A candidate without its pruning and quantization."""
    return {name: value for name, value in flat.items() if not name.startswith(("prune.", "quantize."))}


def shape_of(name: str, architecture: Mapping[str, Scalar], space: SearchSpace) -> str:
    """All of an architecture that times depend on, as text."""
    shape = search_spaces.load_family(name).shape(architecture, space.input)
    return json.dumps({key: value for key, value in shape.items() if key not in NEVER}, sort_keys=True)


def _shapes(name: str, space: SearchSpace) -> list[list[dict[str, Scalar]]]:
    """The architectures of a student, put together where they have one shape."""
    student = space.students[name]
    found: dict[str, list[dict[str, Scalar]]] = {}
    for row in student.architectures:
        architecture = dict(zip(student.axes, row, strict=True))
        found.setdefault(shape_of(name, architecture, space), []).append(architecture)
    return list(found.values())


def _drawn(
    name: str, shapes: list[list[dict[str, Scalar]]], copies: int, space: SearchSpace, seed: int
) -> Iterator[Flat]:
    count = len(shapes) * copies
    sobol = qmc.Sobol(1 + len(space.distill), rng=np.random.default_rng(seed))
    points = sobol.random_base2(max(1, math.ceil(math.log2(count))))[:count]
    places = np.random.default_rng(seed + 1).permutation(np.repeat(np.arange(len(shapes)), copies))
    for point, place in zip(points, places, strict=True):
        alike = shapes[place]
        architecture = alike[int(point[0] * len(alike))]
        taught: dict[str, Any] = {}
        terms = space.students[name].terms(architecture, space.distill)
        for share, (axis, dimension) in zip(point[1:], space.distill.items(), strict=True):
            values = dimension.values()
            if values is None:
                raise SystemExit(f"distill.{axis} is continuous; a bank needs a list of values")
            if axis in terms and applies(axis, taught):
                taught[axis] = values[int(share * len(values))]
        yield {
            "student": name,
            **{f"{name}.{axis}": value for axis, value in architecture.items()},
            **{f"distill.{axis}": value for axis, value in taught.items()},
        }


def _recipes(space: SearchSpace) -> Iterator[tuple[str | None, Flat]]:
    for name, flat in recipe_candidates(space).items():
        yield name, student_of(flat)


def recipe_candidates(space: SearchSpace) -> dict[str, Flat]:
    """The known recipes that the space holds, whole, in their order."""
    found = {}
    for name, flat in search_spaces.recipes(space.input.kind).items():
        parameters = space.params_of(flat)
        if not isinstance(parameters, str):
            found[name] = space.sample(Given(parameters), 0).flat()
    return found


class Given:
    """A trial whose parameters are given."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        self.params = params

    def suggest_float(self, name: str, *_: Any, **__: Any) -> Any:
        return self.params[name]

    suggest_int = suggest_categorical = suggest_float


def _pruned(ratio: float | None, space: SearchSpace) -> Flat:
    if ratio is None:
        return {}
    rest = ("criterion", "round_to", "recovery_epochs") if ratio else ()
    return {"prune.ratio": ratio, **{f"prune.{axis}": space.prune[axis].start for axis in rest}}


def _finer(scheme: Scalar, space: SearchSpace) -> Flat:
    return {f"quantize.{axis}": of.start for axis, of in space.quantize.items() if refines(axis, scheme)}
