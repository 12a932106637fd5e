"""Where half-trained students wait: one safetensors file per candidate, whole or not there, on a bounded disk.

A file holds weights, the optimizer's moments and the random states (`pipeline.training_state`), with the seed and the
curve so far beside them as its metadata. It is named by the candidate's key; nothing in it could run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.arrays import fresh, save_tensors
from search_spaces.candidate import Candidate

if TYPE_CHECKING:
    from pipeline.training_state import TrainingState

ENDING = ".safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """A candidate's training, left after `state.epoch` epochs. `seed` is the one it began with."""

    seed: int
    curve: tuple[Mapping[str, float], ...]
    state: TrainingState


@dataclass(frozen=True)
class Checkpoints:
    """The files of one search; together they stay below `most_bytes`, one apart."""

    folder: Path
    most_bytes: float

    def save(self, candidate: Candidate, state: TrainingState, curve: Sequence[Mapping[str, float]]) -> None:
        """Put this in the place of what was there: written, flushed, renamed, so that a crash leaves one of the two."""
        told = {"epoch": state.epoch, "seed": candidate.seed, "curve": [dict(row) for row in curve]}
        with fresh(self._path(candidate.key)) as beside:
            save_tensors(state.tensors, beside, {"training": json.dumps(told)})
            _flush(beside)
        _flush(self.folder)

    def load(self, key: str) -> Checkpoint | None:
        """What was saved; None where there is nothing, or nothing that can be read: the training then begins anew."""
        from pipeline.training_state import TrainingState

        with _opened(self._path(key)) as file:
            if file is None:
                return None
            told = json.loads(file.metadata()["training"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        return Checkpoint(int(told["seed"]), tuple(told["curve"]), TrainingState(int(told["epoch"]), tensors))

    def seed(self, key: str) -> int | None:
        """The seed that this candidate's training began with, None where none was left."""
        with _opened(self._path(key)) as file:
            return None if file is None else int(json.loads(file.metadata()["training"])["seed"])

    def keys(self) -> set[str]:
        """Of the candidates that have a file."""
        return {path.name.removesuffix(ENDING) for path in self.folder.glob(f"[!.]*{ENDING}")}

    def drop(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._path(key).unlink(missing_ok=True)

    def trim(self, order: Sequence[str]) -> list[str]:
        """Remove files until the rest stays below `most_bytes`; `order`: keys that may go, the first one first.

        Returns the keys that went.
        """
        gone = []
        spent = sum(self._path(key).stat().st_size for key in self.keys())
        for key in order:
            if spent <= self.most_bytes:
                break
            spent -= self._path(key).stat().st_size
            self.drop([key])
            gone.append(key)
        return gone

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}{ENDING}"


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The file, or None where it is missing, damaged, or of another kind."""
    from safetensors import SafetensorError, safe_open

    try:
        file = safe_open(path, framework="pt")
    except (OSError, SafetensorError):
        yield None
        return
    with file:
        yield file if "training" in (file.metadata() or {}) else None


def _flush(path: Path) -> None:
    if path.is_dir() and os.name != "posix":
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
