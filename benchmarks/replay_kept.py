"""The rows of a replay as they are found: one takes hours, and the same command goes on where it was cut off."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipeline.record import read_json, write_json


class Rows:
    """Figures of strategies, kept in a file beside the one to come.

    Rows of an earlier run count where all that `told` says is the same; the code may be another, so that is said.
    """

    def __init__(self, out: Path | None, told: Mapping[str, Any]) -> None:
        self._path = None if out is None else out.with_name(f"{out.name}.part")
        self._held: dict[str, Any] = {"told": json.loads(json.dumps(told)), "rows": {}}
        if self._path and self._path.exists() and (before := read_json(self._path))["told"] == self._held["told"]:
            self._held = before
            print(f"going on from {len(before['rows'])} rows in {self._path}; remove it to begin anew", flush=True)

    def of(self, name: str, find: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The row of that name, found now if it is not there."""
        rows = self._held["rows"]
        if name not in rows:
            rows[name] = find()
            if self._path:
                write_json(self._path, self._held)
        row: dict[str, Any] = rows[name]
        return row

    def done(self) -> None:
        """All of them are in the file that was to come."""
        if self._path:
            self._path.unlink(missing_ok=True)
