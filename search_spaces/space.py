"""A search space: a conditional tree of axes that never yields an impossible candidate."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from search_spaces.candidate import Candidate, Scalar
from search_spaces.compression import ALIGNED, SCHEMES, applies, refines
from search_spaces.dimension import Choice, Dimension, Fixed, TrialLike
from search_spaces.inputs import TaskInput

IDENTITY = "identity"

# (flat name, the sampler's name for it, axis) -> value. The sampler's name differs where the values that remain
# depend on what was chosen before: one name must always mean one set of values.
_Choose = Callable[[str, str, Dimension], Scalar]


class _Outside(Exception):
    pass


@dataclass(frozen=True)
class Student:
    """The part of a space that belongs to one student; `architectures` are the combinations its family can build.

    Those in `unaligned` read other pieces than the teacher, and learn nothing that is compared piece by piece.
    """

    axes: Mapping[str, Dimension]
    architectures: tuple[tuple[Scalar, ...], ...]  # in the order of `axes`
    prunable: bool
    scheme: Dimension
    unaligned: frozenset[tuple[Scalar, ...]] = frozenset()
    # By the values chosen so far, what `left` gives: a search puts thousands of candidates together for each it tries.
    _left: dict[tuple[Scalar, ...], tuple[str, Dimension]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def left(self, chosen: tuple[Scalar, ...]) -> tuple[str, Dimension]:
        """The next axis with the values that remain after `chosen`, and what its parameter's name ends in."""
        if chosen not in self._left:
            place = len(chosen)
            whole = list(self.axes.values())[place]
            still = {row[place] for row in self.architectures if row[:place] == chosen}
            possible = tuple(value for value in whole.values() or () if value in still)
            self._left[chosen] = ("", whole)
            if possible != whole.values():
                fewer = Fixed(possible[0]) if len(possible) == 1 else Choice(possible, whole.start)
                self._left[chosen] = (f"@{','.join(str(value) for value in possible)}", fewer)
        return self._left[chosen]

    def terms(self, architecture: Mapping[str, Scalar], axes: Mapping[str, Dimension]) -> dict[str, Dimension]:
        """Those of the distillation's `axes` that this architecture can learn by; its axes without prefix."""
        row = tuple(architecture[axis] for axis in self.axes)
        return {name: axis for name, axis in axes.items() if name not in ALIGNED or row not in self.unaligned}


@dataclass(frozen=True)
class SearchSpace:
    """What can be tried for one task; plain data, built by `search_spaces.load`."""

    input: TaskInput
    students: Mapping[str, Student]
    distill: Mapping[str, Dimension]
    prune: Mapping[str, Dimension]
    quantize: Mapping[str, Dimension]  # but for the scheme, which is each student's own

    def sample(self, trial: TrialLike, seed: int) -> Candidate:
        """One candidate with values suggested by `trial`; an axis that does not apply is not asked for."""
        return Candidate.of(self._walk(lambda _name, parameter, axis: axis.suggest(trial, parameter)), seed)

    def params_of(self, flat: Mapping[str, Scalar]) -> dict[str, Scalar] | str:
        """Parameters to enqueue so that `sample` gives `flat`, or a sentence why this space does not hold it.

        Axes that `flat` leaves out take their default, or the value nearest to it.
        """
        parameters: dict[str, Scalar] = {}
        left = dict(flat)

        def choose(name: str, parameter: str, axis: Dimension) -> Scalar:
            wanted = left.pop(name, axis.start)
            value = axis.take(wanted)
            if value is None:
                raise _Outside(f"{name} {wanted!r} is outside this space, which has {axis}")
            if axis.values() != (value,):
                parameters[parameter] = axis.parameter(value)
            return value

        try:
            self._walk(choose)
        except _Outside as outside:
            return str(outside)
        if left:
            return f"{', '.join(sorted(left))} does not apply to a candidate with these other values"
        return parameters

    def identity_candidates(self) -> list[dict[str, Scalar]]:
        """Flat candidates of the untrained teacher, one per quantization scheme; empty if identity is not a student."""
        if IDENTITY not in self.students:
            return []
        flats: list[dict[str, Scalar]] = []
        for scheme in self.students[IDENTITY].scheme.values() or ():
            flat: dict[str, Scalar] = {"student": IDENTITY, "quantize.scheme": scheme}
            flat.update({f"quantize.{axis}": dimension.start for axis, dimension in self._refinements(scheme).items()})
            flats.append(flat)
        return flats

    def trained(self) -> SearchSpace:
        """This space without the untrained teacher: what a sampler is left with once the few identities are known.

        Where identity is the only student there is nothing else to sample, and the space stays as it is.
        """
        students = {name: student for name, student in self.students.items() if name != IDENTITY}
        return replace(self, students=students) if students else self

    def size(self) -> int | None:
        """Number of candidates, None where an axis is continuous."""
        total = 0
        for name, student in self.students.items():
            schemes = student.scheme.values() or ()
            refined = (self._refinements(scheme).values() for scheme in schemes)
            count = sum(math.prod(_count(dimension) or 0 for dimension in axes) for axes in refined)
            if name != IDENTITY:
                pruned = self._pruned_count() if student.prunable else 1
                taught = self._taught_count(student)
                if pruned is None or taught is None:
                    return None
                count *= pruned * taught
            total += count
        return total

    def describe(self) -> dict[str, Any]:
        """Plain data with every axis written out; `search_spaces.load` of it gives this space again."""
        plain: dict[str, Any] = {"students": list(self.students)}
        for name, student in self.students.items():
            if name != IDENTITY:
                plain[name] = {axis: dimension.describe() for axis, dimension in student.axes.items()}
        plain["distill"] = {axis: dimension.describe() for axis, dimension in self.distill.items()}
        plain["prune"] = {axis: dimension.describe() for axis, dimension in self.prune.items()}
        schemes = {value for student in self.students.values() for value in student.scheme.values() or ()}
        listed = [scheme for scheme in SCHEMES if scheme in schemes]
        quantize = {axis: dimension.describe() for axis, dimension in self.quantize.items()}
        plain["quantize"] = {"scheme": listed, **quantize}
        return plain

    @cached_property
    def _names(self) -> Choice:
        return Choice(tuple(self.students))

    def _walk(self, choose: _Choose) -> dict[str, Scalar]:
        """The one order in which a candidate is put together, for sampling and for its inverse."""
        name = str(choose("student", "student", self._names))
        student = self.students[name]
        flat: dict[str, Scalar] = {"student": name}
        if name != IDENTITY:
            flat.update(_architecture(name, student, choose))
            architecture = {axis: flat[f"{name}.{axis}"] for axis in student.axes}
            taught: dict[str, Scalar] = {}
            for axis, dimension in student.terms(architecture, self.distill).items():
                if applies(axis, taught):
                    taught[axis] = choose(f"distill.{axis}", f"distill.{axis}", dimension)
            flat.update({f"distill.{axis}": value for axis, value in taught.items()})
            if student.prunable:
                flat.update(self._pruning(choose))
        scheme = choose("quantize.scheme", f"quantize.scheme@{name}", student.scheme)
        flat["quantize.scheme"] = scheme
        for axis, dimension in self._refinements(scheme).items():
            flat[f"quantize.{axis}"] = choose(f"quantize.{axis}", f"quantize.{axis}", dimension)
        return flat

    def _refinements(self, scheme: Scalar) -> dict[str, Dimension]:
        return {axis: dimension for axis, dimension in self.quantize.items() if refines(axis, scheme)}

    def _pruning(self, choose: _Choose) -> dict[str, Scalar]:
        flat = {"prune.ratio": choose("prune.ratio", "prune.ratio", self.prune["ratio"])}
        if flat["prune.ratio"]:
            for axis in ("criterion", "round_to", "recovery_epochs"):
                flat[f"prune.{axis}"] = choose(f"prune.{axis}", f"prune.{axis}", self.prune[axis])
        return flat

    def _taught_count(self, student: Student) -> int | None:
        """Pairs of an architecture and the ways to distil it."""
        if any(_count(dimension) is None for dimension in self.distill.values()):
            return None
        every = _ways(self.distill)
        fewer = _ways({axis: dimension for axis, dimension in self.distill.items() if axis not in ALIGNED})
        return (len(student.architectures) - len(student.unaligned)) * every + len(student.unaligned) * fewer

    def _pruned_count(self) -> int | None:
        counts = {axis: _count(dimension) for axis, dimension in self.prune.items()}
        ratios = counts.pop("ratio")
        if ratios is None or None in counts.values():
            return None
        dense = 1 if self.prune["ratio"].contains(0.0) else 0
        return dense + (ratios - dense) * math.prod(number or 0 for number in counts.values())


def _architecture(name: str, student: Student, choose: _Choose) -> dict[str, Scalar]:
    flat: dict[str, Scalar] = {}
    for axis in student.axes:
        ending, dimension = student.left(tuple(flat.values()))
        flat[f"{name}.{axis}"] = choose(f"{name}.{axis}", f"{name}.{axis}{ending}", dimension)
    return flat


def _ways(axes: Mapping[str, Dimension]) -> int:
    """Combinations of finitely many values, an axis that means nothing beside the others left out."""
    deciding = ("hidden_weight", "attention_weight", "relation_weight", "hidden_of", "first_stage")
    free = math.prod(len(axis.values() or ()) for name, axis in axes.items() if name not in deciding)
    chosen: list[dict[str, Scalar]] = [{}]
    for name in (axis for axis in axes if axis in deciding):
        values = axes[name].values() or ()
        meant = [{**one, name: value} for one in chosen if applies(name, one) for value in values]
        chosen = meant + [one for one in chosen if not applies(name, one)]
    return free * len(chosen)


def _count(dimension: Dimension) -> int | None:
    values = dimension.values()
    return None if values is None else len(values)
