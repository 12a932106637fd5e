"""Reading a search's configuration from YAML, and saying in words what is wrong with it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from pipeline.config import COUNTRY, NAME, SearchConfig
from pipeline.errors import ConfigError

# What pydantic puts into the place of a fault, where several kinds of value are taken.
_KIND = re.compile(r"(str|int|float|bool|list\[.*|dict\[.*|literal\[.*|function-.*|[A-Z]\w+Config|[A-Z]\w+Training)$")
_PATTERNS = {
    NAME: "give letters, digits, `_`, `.` and `-`, 64 at most, the first a letter or a digit",
    COUNTRY: "give the three capital letters of ISO 3166-1, such as DEU",
}
# What may differ between two runs of one search: how long it runs, what it keeps on disk, and what is told of it.
MAY_CHANGE = ("limits", "keep", "finals", "carbon")


def read_yaml(path: Path) -> dict[str, Any]:
    """A mapping from a YAML file, or a ConfigError that says why not."""
    if path.is_dir():
        raise ConfigError(f"{path} is a folder; give a YAML file, e.g. examples/digits.yaml")
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"there is no file {path}; give a YAML file, e.g. examples/digits.yaml") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as text: {error}; give a YAML file") from None
    try:
        data = yaml.safe_load(text)
        twice = _twice(yaml.compose(text, Loader=yaml.SafeLoader))
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" at line {where.line + 1}" if where else ""
        raise ConfigError(f"{path} is not YAML{line}: {getattr(error, 'problem', error)}") from None
    if twice is not None:
        raise ConfigError(
            f"{path} gives {twice.value!r} twice, at line {twice.start_mark.line + 1} again; leave one out"
        )
    if not isinstance(data, dict):
        raise ConfigError(f"{path} holds {type(data).__name__}, not a mapping; start with `name:` and `task:`")
    return data


def _twice(root: yaml.Node | None) -> yaml.Node | None:
    """A key that stands twice in one mapping: of its two values one would count, unsaid."""
    left, done = [root], set[int]()
    while left:
        node = left.pop()
        if id(node) in done:  # an alias
            continue
        done.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            left += node.value
        if isinstance(node, yaml.MappingNode):
            seen = set[str]()
            for key, value in node.value:
                if key.value in seen and key.value != "<<":
                    return key  # type: ignore[no-any-return]
                seen.add(str(key.value))
                left.append(value)
    return None


def load_config(path: str | Path, changes: Mapping[str, Any] | None = None) -> SearchConfig:
    """Read a search; `changes` are command-line flags by dotted key (`limits.trials`). Errors: ConfigError."""
    data = read_yaml(Path(path))
    for dotted, value in (changes or {}).items():
        if value is not None:
            _put(data, dotted.split("."), value, dotted)
    return parse_config(data, str(path))


def parse_config(data: Mapping[str, Any], where: str) -> SearchConfig:
    """A SearchConfig from plain data. Errors: ConfigError, one line per fault."""
    try:
        return SearchConfig.model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"{where}: " + "\n  ".join(_sentences(error.errors()))) from None


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Dotted keys whose values differ between two resolved configurations, with both values."""
    for key in sorted({*old, *new}):
        if not prefix and key in MAY_CHANGE:
            continue
        a, b = old.get(key), new.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            yield from differences(a, b, f"{prefix}{key}.")
        elif a != b:
            yield f"{prefix}{key}: {a!r} -> {b!r}"


def _put(data: dict[str, Any], keys: list[str], value: Any, dotted: str) -> None:
    for key in keys[:-1]:
        inner = data.setdefault(key, {})
        if isinstance(inner, str):  # `sampler: tpe` and `target: local_cpu` are names
            inner = data[key] = {"name": inner}
        if not isinstance(inner, dict):
            raise ConfigError(f"{dotted} cannot be set: {key!r} is {inner!r}, not a mapping")
        data = inner
    data[keys[-1]] = value


def _sentences(items: Iterable[Mapping[str, Any]]) -> list[str]:
    """One for each fault. Where several kinds of value are taken, pydantic says of each why it is not one."""
    found: dict[str, list[str]] = {}
    for item in items:
        place = ".".join(str(part) for part in item["loc"] if not _KIND.match(str(part)))
        found.setdefault(place, []).append(_sentence(item, place))
    return [" or ".join(dict.fromkeys(sentences)) for sentences in found.values()]


def _sentence(item: Mapping[str, Any], place: str) -> str:
    if item["type"] == "extra_forbidden":
        known = _known_keys(item["loc"][:-1])
        name = str(item["loc"][-1])
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"; did you mean {close[0]!r}?" if close else "."
        return f"unknown key {place!r}{hint} Known here: {', '.join(sorted(known))}"
    if item["type"] == "missing":
        return f"{place!r} is missing; add it"
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "string_pattern_mismatch":
        message = _PATTERNS[item["ctx"]["pattern"]]
    given = "" if item["type"] == "value_error" else f", got {item['input']!r}"
    return f"{place}: {message}{given}" if place else message


def _known_keys(loc: tuple[Any, ...]) -> list[str]:
    model: Any = SearchConfig
    for part in loc:
        field = getattr(model, "model_fields", {}).get(part)
        if field is None:
            break
        options = [field.annotation, *getattr(field.annotation, "__args__", ())]
        model = next((kind for kind in options if isinstance(kind, type) and issubclass(kind, BaseModel)), model)
    return list(model.model_fields)
