"""From a preset's name, a YAML file or a mapping to a SearchSpace, strictly: unknown keys and values are errors."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from search_spaces import compression
from search_spaces.candidate import Scalar
from search_spaces.dimension import Choice, Dimension, Fixed
from search_spaces.family import Family, families, load_family
from search_spaces.inputs import TaskInput
from search_spaces.space import IDENTITY, SearchSpace, Student
from search_spaces.values import SpaceError, near

_PRESETS = Path(__file__).parent / "presets"
_SHARED = ("distill", "prune", "quantize")
_DEFAULT = {"text": "text"}  # what `default` means for a kind of input; `default` itself is for images


def available() -> list[str]:
    """Names of the ready spaces."""
    return sorted(path.stem for path in _PRESETS.glob("*.yaml"))


def load(space: str | Path | Mapping[str, Any], *, input: TaskInput, augmentations: Sequence[str]) -> SearchSpace:
    """A space by preset name, YAML path or mapping, for one task.

    A mapping starts from its `preset` (`default` if it names none) and replaces single axes of it: a scalar fixes, a
    list is a choice, low/high(/step/log) a range, all within the bounds declared beside the code. Only families of the
    input's kind are offered. Errors: SpaceError.
    """
    plain = _merged(space if isinstance(space, Mapping) else _named(space), input.kind)
    names = _students(plain.pop("students", [*families(input.kind), IDENTITY]), input.kind)
    scheme_named = "scheme" in plain.get("quantize", {})
    shared = {
        "distill": _narrowed("distill", compression.distill(input.kind, augmentations), plain.pop("distill", {})),
        "prune": _narrowed("prune", compression.prune(), plain.pop("prune", {})),
        "quantize": _narrowed("quantize", compression.quantize(input.kind), plain.pop("quantize", {})),
    }
    _check_weights(shared["distill"])
    scheme = shared["quantize"]["scheme"]
    students = {name: _student(name, plain.get(name, {}), scheme, input) for name in names}
    if scheme_named:
        _check_schemes(scheme, students)
    refined = {axis: dimension for axis, dimension in shared["quantize"].items() if axis != "scheme"}
    return SearchSpace(input, students, shared["distill"], shared["prune"], refined)


def _named(space: str | Path) -> dict[str, Any]:
    if str(space) in available():
        return {"preset": str(space)}
    if not Path(space).is_file():
        raise SpaceError(f"no space and no YAML file named {str(space)!r}{near(str(space), available())}")
    return _read(Path(space))


def _read(path: Path) -> dict[str, Any]:
    try:
        plain = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SpaceError(f"{path} cannot be read as YAML: {error}; give a mapping such as `preset: default`") from None
    if not isinstance(plain, dict):
        raise SpaceError(f"{path} holds {plain!r}, not a mapping; start with `preset: default`")
    return plain


def _merged(space: Mapping[str, Any], kind: str) -> dict[str, Any]:
    preset = space.get("preset", "default")
    if preset not in available():
        raise SpaceError(f"preset: no space named {preset!r}{near(str(preset), available())}")
    known = ("preset", "students", *families(), *_SHARED)
    plain = _read(_PRESETS / f"{_DEFAULT.get(kind, preset) if preset == 'default' else preset}.yaml")
    for key, value in space.items():
        if key not in known:
            raise SpaceError(f"unknown key {key!r} in the space{near(str(key), known)}")
        if key in ("preset", "students"):
            plain[key] = value
        elif not isinstance(value, Mapping):
            raise SpaceError(f"{key}: {value!r} is not a mapping of axes; give e.g. `{key}: {{axis: value}}`")
        else:
            _check_kind(key, kind)
            plain[key] = {**plain.get(key, {}), **value}
    plain.pop("preset", None)
    return plain


def _students(raw: Any, kind: str) -> list[str]:
    names = raw if isinstance(raw, list | tuple) else [raw]
    known = [*families(), IDENTITY]
    if not names:
        raise SpaceError(f"students: [] leaves nothing to search; give one or more of {', '.join(known)}")
    for name in names:
        if name not in known:
            raise SpaceError(f"students: no student named {name!r}{near(str(name), known)}")
        _check_kind(name, kind)
    return list(dict.fromkeys(names))


def _check_kind(name: str, kind: str) -> None:
    if name not in families() or load_family(name).input_kind == kind:
        return
    others = ", ".join([*families(kind), IDENTITY])
    raise SpaceError(
        f"{name} reads {load_family(name).input_kind}s and the task gives {kind}s; take it out, "
        f"or name another preset or other students: {others}"
    )


def _narrowed(section: str, axes: Mapping[str, Dimension], raw: Mapping[str, Any]) -> dict[str, Dimension]:
    for key in raw:
        if key not in axes:
            raise SpaceError(f"unknown key {f'{section}.{key}'!r} in the space{near(str(key), axes)}")
    narrow = dict(axes)
    for axis, value in raw.items():
        try:
            narrow[axis] = axes[axis].narrowed(value)
        except SpaceError as error:
            raise SpaceError(f"{section}.{axis}: {error}") from None
    return narrow


def _student(name: str, raw: Mapping[str, Any], scheme: Dimension, input: TaskInput) -> Student:
    if name == IDENTITY:
        untrained = [value for value in compression.SCHEMES if value not in compression.TRAINED_SCHEMES]
        return Student({}, (), False, _scheme(name, scheme, untrained))
    family = load_family(name)
    axes = _narrowed(name, family.dimensions(input), raw)
    own = _scheme(name, scheme, family.schemes)
    architectures = _architectures(family, axes, input)
    return Student(axes, architectures, family.prunable, own, _unaligned(family, axes, architectures, input))


def _unaligned(
    family: Family, axes: Mapping[str, Dimension], rows: tuple[tuple[Scalar, ...], ...], input: TaskInput
) -> frozenset[tuple[Scalar, ...]]:
    if not compression.ALIGNED:
        return frozenset()
    return frozenset(row for row in rows if not family.aligned(dict(zip(axes, row, strict=True)), input))


def _architectures(family: Family, axes: Mapping[str, Dimension], input: TaskInput) -> tuple[tuple[Scalar, ...], ...]:
    listed = [dimension.values() for dimension in axes.values()]
    rows = itertools.product(*(values for values in listed if values is not None))
    reasons: dict[tuple[Scalar, ...], str | None] = {
        row: family.refuses(dict(zip(axes, row, strict=True)), input) for row in rows
    }
    good = tuple(row for row, reason in reasons.items() if reason is None)
    if not good:
        raise SpaceError(f"{family.name}: no combination of these values can be built: {next(iter(reasons.values()))}")
    return good


def _scheme(name: str, scheme: Dimension, own: Sequence[str]) -> Dimension:
    """Those of the space's schemes that a student can have."""
    schemes = tuple(value for value in scheme.values() or () if value in own)
    if not schemes:
        raise SpaceError(
            f"quantize.scheme: {scheme} leaves {name} none of its own, {', '.join(own)}; "
            f"add one of them or take {name} out of `students`"
        )
    return Fixed(schemes[0]) if len(schemes) == 1 else Choice(schemes, "none")


def _check_weights(distill: Mapping[str, Dimension]) -> None:
    if distill["soft_weight"].contains(0.0) and distill["hard_weight"].contains(0.0):
        raise SpaceError(
            "distill.soft_weight and distill.hard_weight can both be 0, then nothing would be learned; "
            "give one of them a `low` above 0"
        )


def _check_schemes(scheme: Dimension, students: Mapping[str, Student]) -> None:
    for value in scheme.values() or ():
        if not any(student.scheme.contains(value) for student in students.values()):
            raise SpaceError(
                f"quantize.scheme: {value!r} suits none of the students {', '.join(students)}; "
                "take it out, or add a student that it suits"
            )
