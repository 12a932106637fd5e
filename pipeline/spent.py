"""What a search used of this machine: one row of processor time per run of it, in `spent.json`, however a run ends.

A row is written when the run begins, after every trial, and at its end; after a kill -9 what came after the last trial
is missing, and `pipeline.own_energy` says so.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import hardware_targets
from pipeline.cpu_time import cpu_seconds
from pipeline.record import read_json, write_json
from pipeline.workspace import Workspace


class Ledger:
    """The row of the run that is going on; every figure is processor time over all threads and children."""

    def __init__(self, workspace: Workspace, verb: str, cpu: Callable[[], float | None] = cpu_seconds) -> None:
        self._path, self._cpu = _path(workspace), cpu
        self._begin = cpu()
        self._place = len(read_spent(workspace)["runs"])
        self._row: dict[str, Any] = {
            "verb": verb,
            "process": os.getpid(),
            "started": _now(),
            "ended": None,
            "host": hardware_targets.host_conditions().to_json(),
            "cpu_seconds": None,
        }
        self.note()

    def prepared(self, teacher: Mapping[str, Any]) -> None:
        """What came until now was preparation. `teacher`: {trained, here, cpu_seconds, host}, of its training."""
        self._row["preparation_cpu_seconds"] = self._used()
        self._row["teacher_cpu_seconds"] = teacher.get("cpu_seconds") if teacher.get("here") else 0.0
        # Once trained by a run of this search, it stands in that run's row; later runs only find it there.
        before = _read(self._path).get("teacher") or {}
        self._write(teacher=before if before.get("here") and not teacher.get("here") else dict(teacher))

    def note(self) -> None:
        """Bring the row up to now."""
        self._write()

    def close(self) -> None:
        """The run has ended, and nothing of it is missing."""
        self._row["ended"] = _now()
        self._write()

    def _used(self) -> float | None:
        now = self._cpu()
        return None if now is None or self._begin is None else round(now - self._begin, 3)

    def _write(self, **changes: Any) -> None:
        self._row["cpu_seconds"] = self._used()
        spent = _read(self._path)
        runs = [*spent["runs"][: self._place], dict(self._row)]
        write_json(self._path, {**spent, **changes, "runs": runs})


@contextmanager
def kept(workspace: Workspace, verb: str) -> Iterator[Ledger]:
    """Keep account of a run of `verb` on this search. Call it with the search's lock held: rows are not shared."""
    ledger = Ledger(workspace, verb)
    try:
        yield ledger
    finally:
        ledger.close()


def read_spent(workspace: Workspace) -> dict[str, Any]:
    """{"runs": [row, ...], "teacher": {...}}; no runs for a search of a version that did not keep account."""
    return _read(_path(workspace))


def _path(workspace: Workspace) -> Path:
    return workspace.folder / "spent.json"


def _read(path: Path) -> dict[str, Any]:
    return dict(read_json(path)) if path.exists() else {"runs": []}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
