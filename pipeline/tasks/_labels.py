"""From raw label values (names, strings, whole numbers) to class numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.errors import ConfigError, near


@dataclass(frozen=True)
class LabelMap:
    """Class names in order, and the class number of every raw value that is known."""

    classes: list[str]
    numbers: Mapping[Any, int]

    def codes(self, raw: Sequence[Any], split: str, column: str) -> np.ndarray:
        """int64 [N] class numbers. Errors: ConfigError for a missing or unknown label."""
        check_labels(raw, split, column)
        unknown = {value for value in raw if value not in self.numbers}
        if unknown:
            value = sorted(unknown, key=str)[0]
            where = next(row for row, other in enumerate(raw) if other == value)
            twin = next((other for other in self.numbers if str(other) == str(value)), None)
            if twin is not None:
                raise ConfigError(
                    f"label {value!r} (row {where} of {split}, column {column!r}) is a {_kind(value)} and the training "
                    f"rows write {twin!r}, a {_kind(twin)}; store the labels of both files as the same"
                )
            known = [str(name) for name in self.numbers]
            raise ConfigError(
                f"label {value!r} (row {where} of {split}, column {column!r}) is none of the task's labels"
                f"{near(str(value), known)}. Mend the row, or map the value in `task.labels`"
            )
        return np.array([self.numbers[value] for value in raw], dtype=np.int64)


def label_map(
    raw: Sequence[Any], names: Sequence[str] | None, wanted: Sequence[str] | Mapping[str, str] | None, column: str
) -> LabelMap:
    """Classes of a task from its raw training labels.

    `names` are those that the data set declares for 0, 1, 2, ...; `wanted` is `task.labels`: names in order, or raw
    value -> name. Errors: ConfigError.
    """
    check_labels(raw, "train", column)
    values = list(range(len(names))) if names else sorted(set(raw))
    spoken = {value: names[value] if names else str(value) for value in values}
    if isinstance(wanted, Mapping):
        return _mapped(spoken, wanted)
    _few_enough(raw, names, column)
    if wanted is None:
        return _two_or_more(LabelMap(list(spoken.values()), {value: place for place, value in enumerate(values)}), raw)
    order = list(wanted)
    if len(set(order)) != len(order):
        raise ConfigError(f"`task.labels` names a class twice: {', '.join(order)}; name each once")
    if not names and isinstance(values[0], str) and (lost := [value for value in values if value not in order]):
        raise ConfigError(
            f"column {column!r} of train holds {lost[0]!r}, which `task.labels` ({', '.join(order)}) does not name"
            f"{near(lost[0], order)}. Write the names as the data do, or a mapping from value to name"
        )
    if set(spoken.values()) <= set(order):
        # The data know these names, so they decide which value is meant; the list decides the order.
        return _two_or_more(LabelMap(order, {value: order.index(name) for value, name in spoken.items()}), raw)
    if max(values) >= len(order) or min(values) < 0 or (names and len(names) != len(order)):
        found = ", ".join(spoken.values())
        raise ConfigError(
            f"`task.labels` has {len(order)} names ({', '.join(order)}) but column {column!r} holds {found}; "
            "give one name for each, in order, or a mapping from value to name"
        )
    return _two_or_more(LabelMap(order, {value: value for value in range(len(order))}), raw)


def check_labels(raw: Sequence[Any], split: str, column: str) -> None:
    """Every label is there and is text or a whole number. Errors: ConfigError."""
    empty = [row for row, value in enumerate(raw) if value is None or value != value or value == ""]
    if empty:
        raise ConfigError(
            f"{len(empty)} of {len(raw)} rows of {split} have no label (first: row {empty[0]}, column {column!r}); "
            "drop these rows or label them"
        )
    odd = next((value for value in raw if not isinstance(value, (str, int))), None)
    if odd is not None:
        raise ConfigError(
            f"column {column!r} of {split} holds {type(odd).__name__} values such as {str(odd)[:40]!r}; labels are "
            "text or whole numbers. Name the right column in `task.label`"
        )


def _mapped(spoken: Mapping[Any, str], wanted: Mapping[str, str]) -> LabelMap:
    classes = list(dict.fromkeys(wanted.values()))
    numbers = {}
    for value, name in spoken.items():
        key = name if name in wanted else str(value)
        if key in wanted:
            numbers[value] = classes.index(wanted[key])
    for key, name in wanted.items():  # what train lacks, and another split may have
        if key not in spoken.values() and key not in map(str, spoken):
            numbers[_like(next(iter(spoken)), key)] = classes.index(name)
    if len(classes) < 2:
        raise ConfigError(f"`task.labels` maps everything to {classes[0]!r}; a classifier needs two classes or more")
    return LabelMap(classes, numbers)


def _like(value: Any, key: str) -> Any:
    """A key of YAML as the data would hold it: beside whole numbers a whole number."""
    return int(key) if isinstance(value, int) and key.lstrip("-").isdecimal() else key


def _few_enough(raw: Sequence[Any], names: Sequence[str] | None, column: str) -> None:
    different = len(set(raw))
    if not names and different > 20 and different > len(raw) / 2:
        raise ConfigError(
            f"column {column!r} of train holds {different} different values in {len(raw)} rows, so it is hardly that "
            "of the labels; name the right column in `task.label`"
        )


def _kind(value: Any) -> str:
    return "text" if isinstance(value, str) else "truth value" if isinstance(value, bool) else "whole number"


def _two_or_more(labels: LabelMap, raw: Sequence[Any]) -> LabelMap:
    if len(labels.classes) < 2 or len(set(raw)) < 2:
        only = labels.classes[0] if len(labels.classes) == 1 else str(raw[0])
        raise ConfigError(
            f"all {len(raw)} training rows have one label, {only!r}; a classifier needs two classes or more. "
            "Check `task.label` and `task.data`"
        )
    return labels
