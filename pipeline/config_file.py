"""Reading a search's configuration from YAML, and saying in words what is wrong with it."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from pipeline.config import SearchConfig
from pipeline.errors import ConfigError

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
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" at line {where.line + 1}" if where else ""
        raise ConfigError(f"{path} is not YAML{line}: {getattr(error, 'problem', error)}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path} holds {type(data).__name__}, not a mapping; start with `name:` and `task:`")
    return data


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
        lines = [_sentence(item) for item in error.errors()]
        raise ConfigError(f"{where}: " + "\n  ".join(lines)) from None


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


def _sentence(item: Mapping[str, Any]) -> str:
    place = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        known = _known_keys(item["loc"][:-1])
        name = str(item["loc"][-1])
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"; did you mean {close[0]!r}?" if close else "."
        return f"unknown key {place!r}{hint} Known here: {', '.join(sorted(known))}"
    if item["type"] == "missing":
        return f"{place!r} is missing; add it"
    message = item["msg"].removeprefix("Value error, ")
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
