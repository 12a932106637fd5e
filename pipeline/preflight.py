"""Everything that can be refused before the first epoch, in the order in which it costs least to find out."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import search_spaces
from pipeline.config import SearchConfig, TaskConfig
from pipeline.config_file import differences, parse_config
from pipeline.cpu_time import cpu_seconds
from pipeline.errors import ConfigError, Unavailable, near
from pipeline.record import read_json
from pipeline.workspace import Workspace, check_space

# In a search's folder while figures are being replaced that its study was told: energy, or unreliable latencies.
RESCORING, REMEASURING = "rescoring.json", "remeasuring.json"
# What a search leaves behind besides images: databases, caches of logits, pages and pictures.
BASE_BYTES = 300_000_000


def preflight(config: SearchConfig, workspace: Workspace, usage: Callable[[Path], Any] = shutil.disk_usage) -> None:
    """Recipes, folders, continuity, disk. Errors: ConfigError, Unavailable."""
    recipes(config)
    if config.limits.max_kwh is not None and cpu_seconds() is None:
        raise Unavailable(
            f"limits.max_kwh is {config.limits.max_kwh:g}, but this system does not tell a process its processor time, "
            "from which energy is computed; leave it out and give limits.hours"
        )
    workspace.make()
    whole(workspace)
    same_search(config, workspace)
    check_space(workspace.root, needed_bytes(config), usage)


def whole(workspace: Workspace, *, remeasures: bool = False) -> None:
    """Refuse a search whose figures were being replaced when the process died. Errors: ConfigError.

    `remeasures`: the caller goes on with what `niwaki measure-pending` left.
    """
    if (workspace.folder / REMEASURING).exists() and not remeasures:
        command = read_json(workspace.folder / REMEASURING)["command"]
        raise ConfigError(
            f"measuring trials of {workspace.name!r} again was cut off, and the study still has their old figures; "
            f"finish it first: {command}"
        )
    if (workspace.folder / RESCORING).exists():
        command = read_json(workspace.folder / RESCORING)["command"]
        raise ConfigError(
            f"a rescoring of {workspace.name!r} was cut off, so its energy figures are of two kinds; "
            f"finish it first: {command}"
        )


def recipes(config: SearchConfig) -> dict[str, Mapping[str, Any]]:
    """The known recipes for this kind of input that a configuration asks for, by name. Errors: ConfigError."""
    known = search_spaces.recipes(config.task.input_kind)
    if isinstance(config.recipes, str):
        return dict(known) if config.recipes == "all" else {}
    for name in config.recipes:
        if name not in known:
            raise ConfigError(f"no recipe named {name!r}{near(name, known)}")
    return {name: known[name] for name in config.recipes}


def same_search(config: SearchConfig, workspace: Workspace) -> None:
    """A search goes on under its own configuration only; limits and `keep` may change. Errors: ConfigError."""
    state = workspace.state()
    if state is None:
        return
    _unchanged(config.name, "configuration", list(differences(_as_now(state["config"]), config.resolved())))


def same_space(space: Mapping[str, Any], workspace: Workspace) -> None:
    """A search goes on in its own space, whatever its file says by now. Errors: ConfigError."""
    before = (workspace.state() or {}).get("space")
    _unchanged(workspace.name, "space", [] if before is None else list(differences(before, space)))


def _unchanged(name: str, what: str, changed: Sequence[str]) -> None:
    if changed:
        raise ConfigError(
            f"search {name!r} was begun with another {what}: {'; '.join(changed)}. "
            "Put these back to go on with it, or give a new `name:` to start another"
        )


def _as_now(stored: Mapping[str, Any]) -> Mapping[str, Any]:
    """A stored configuration with the keys that have come since, at their defaults."""
    try:
        return parse_config(stored, "").resolved()
    except ConfigError:
        return stored


def needed_bytes(config: SearchConfig, known_rows: int | None = None) -> int:
    """A generous guess of the disk that a search takes: a megabyte a trial (or ten with `keep: all`) and its caches.

    With rungs, what is set apart for students that wait. `known_rows` are all that the splits have, once they are read.
    """
    per_trial = 10_000_000 if config.keep == "all" else 1_000_000
    task = config.task
    row = 8 * task.max_length if task.input_kind == "text" else 2 * task.size**2 * task.channels
    rows = known_rows or sum(task.limit_rows.values()) or 100_000
    rows += (task.replace.copies * rows if task.replace else 0) + _transfer_rows(task)
    waiting = config.trials.checkpoints_gb * 1e9 if config.trials.rungs else 0
    return BASE_BYTES + per_trial * config.limits.trials + rows * row + int(waiting)


def _transfer_rows(task: TaskConfig) -> int:
    return 0 if task.transfer is None else task.transfer.limit_rows or 100_000
