"""Remove what can be made again, and only that."""

from __future__ import annotations

import shutil
from pathlib import Path

from pipeline.errors import ConfigError
from pipeline.findings import config_of, drop_models, find
from pipeline.workspace import Workspace, existing


def clean(root: Path, name: str | None, *, cache: bool, dry_run: bool) -> list[tuple[Path, int]]:
    """Left-over parts, models off the front where `keep: front`, and caches if asked. Returns (path, bytes) removed.

    Errors: ConfigError for an unknown search; Unavailable while a search runs.
    """
    if cache and name is not None:
        raise ConfigError(f"caches are of all searches, not of {name!r}; leave out the name, or --cache")
    names = [name] if name else sorted(path.parent.name for path in (root / "searches").glob("*/search.json"))
    gone: list[tuple[Path, int]] = []
    for each in names:
        workspace = existing(root, each)
        with workspace.lock():
            gone += _search(workspace, dry_run)
    places = [root / "cache"] if cache else []
    for place in places:
        gone += [(place, _size(place))] if place.exists() else []
        if not dry_run:
            shutil.rmtree(place, ignore_errors=True)
    return gone


def _search(workspace: Workspace, dry_run: bool) -> list[tuple[Path, int]]:
    found = list(workspace.folder.rglob(".*.part"))
    found += [path for path in workspace.folder.glob("trials/*") if not (path / "record.json").exists()]
    if config_of(workspace).keep == "front":
        report = find(workspace)
        found += drop_models(report, workspace, dry_run=True)
    gone = [(path, _size(path)) for path in found]
    for path, _ in gone:
        if not dry_run:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    return gone


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(item.stat().st_size for item in path.rglob("*") if item.is_file())
