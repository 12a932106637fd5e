"""Where a search keeps what it leaves behind, and who may write there.

mlruns/
  mlflow.db  artifacts/        the MLflow store
  study.db                     the Optuna studies
  cache/  teachers/            made once, shared by searches
  searches/<name>/
    search.json                configuration, frozen teacher figures
    trials/<number>/           record.json (the truth), model.onnx, predictions.npy, ...
    spent.json                 processor time of every run, what the search's own energy is made of
    tracked.jsonl              which trials are whole in MLflow
    front.json|csv|png|html  test.json
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError, Unavailable
from pipeline.record import read_json, trial_folder, write_json

ROOT = Path("mlruns")


@dataclass(frozen=True)
class Workspace:
    """The folders of one search below `root` (usually `mlruns`)."""

    root: Path
    name: str

    @property
    def folder(self) -> Path:
        return self.root / "searches" / self.name

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def study_url(self) -> str:
        return f"sqlite:///{self.root.absolute()}/study.db"

    @property
    def tracking_url(self) -> str:
        return f"sqlite:///{self.root.absolute()}/mlflow.db"

    @property
    def artifacts(self) -> Path:
        return self.root.absolute() / "artifacts"

    @property
    def state_file(self) -> Path:
        return self.folder / "search.json"

    @property
    def test_file(self) -> Path:
        return self.folder / "test.json"

    def trial(self, number: int) -> Path:
        return trial_folder(self.folder, number)

    def state(self) -> dict[str, Any] | None:
        """What search.json holds, None before the first run. Errors: ConfigError when it is damaged."""
        if not self.state_file.exists():
            return None
        try:
            data = read_json(self.state_file)
        except ValueError as error:
            raise ConfigError(
                f"{self.state_file} is damaged ({error}); restore it, or start anew under another `name:`"
            ) from None
        return dict(data)

    def save_state(self, **changes: Any) -> None:
        write_json(self.state_file, {**(self.state() or {}), **changes})

    def make(self) -> None:
        """Create the folders. Errors: ConfigError when something is in the way or nothing can be written."""
        for folder in (self.root, self.cache, self.artifacts, self.folder / "trials"):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except (FileExistsError, NotADirectoryError):
                raise ConfigError(
                    f"{folder} cannot be made: a file is where a folder is due; move it away, or give another `--root`"
                ) from None
            except OSError as error:
                raise ConfigError(
                    f"{folder} cannot be made: {error.strerror}; give a folder you can write to with `--root`"
                ) from None
        try:  # a name of its own: another process may begin the same search now
            with tempfile.NamedTemporaryFile("w", dir=self.folder, prefix=".writable-") as probe:
                probe.write("x")
                probe.flush()
        except OSError as error:
            raise ConfigError(
                f"{self.folder} cannot be written to: {error.strerror}; give another folder with `--root`"
            ) from None

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the search for this process; the kernel frees it when the process dies, however it dies."""
        try:
            import fcntl
        except ImportError:  # Windows: no flock; two searches under one name are then the user's own care
            yield
            return
        path = self.folder / "lock"
        with path.open("a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                owner = file.read().strip() or "another process"
                raise Unavailable(
                    f"search {self.name!r} is being run by {owner}; wait for it, or stop it and type the same command"
                ) from None
            file.truncate(0)
            file.write(f"process {os.getpid()}")
            file.flush()
            yield


def root_flag(root: Path) -> str:
    """What a suggested command must add where searches are not kept in the usual place."""
    return "" if root == ROOT else f" --root {root}"


def existing(root: Path, name: str) -> Workspace:
    """The workspace of a search that has been run. Errors: ConfigError with the names there are."""
    from pipeline.errors import near

    space = Workspace(root, name)
    if not space.state_file.exists():
        known = sorted(path.parent.name for path in (root / "searches").glob("*/search.json"))
        if not known:
            raise ConfigError(f"no search has been run under {root}; start one: niwaki search examples/digits.yaml")
        raise ConfigError(f"no search named {name!r} under {root}{near(name, known)}")
    return space


def check_space(folder: Path, needed_bytes: int, usage: Callable[[Path], Any] = shutil.disk_usage) -> None:
    """Refuse to begin what would not fit on the disk. Errors: Unavailable."""
    free = usage(folder).free
    if free < needed_bytes:
        raise Unavailable(
            f"{folder} has {free / 1e6:.0f} MB free and this search may need {needed_bytes / 1e6:.0f} MB; "
            "free some space (niwaki clean), or give another disk with `--root`"
        )
