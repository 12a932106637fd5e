"""Files that belong together, known by their contents: a model with its weights, or a folder of feeds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from hardware_targets._errors import TargetError


@dataclass(frozen=True)
class Blob:
    """One file of a bundle."""

    name: str
    path: Path
    sha256: str
    size: int


Bundle = tuple[Blob, ...]
Listing = list[tuple[str, str, int]]  # name, sha256, size: a bundle without its local paths


def of_model(model: Path) -> Bundle:
    """The model file, first, and the weights that formats keep beside it. Errors: TargetError."""
    if model.is_dir():
        raise TargetError(f"{model} is a folder; give a model file, e.g. {model / 'model.onnx'}")
    if not model.is_file():
        raise TargetError(f"there is no file {model}; give a model file that exists")
    beside = (model.with_name(f"{model.name}.data"), model.with_name(f"{model.name}_data"))  # ONNX external data
    weights = (*beside, *([model.with_suffix(".bin")] if model.suffix == ".xml" else []))
    return _bundle([model, *(path for path in weights if path.is_file())])


def of_feeds(folder: Path) -> Bundle:
    """All files of a folder that `save_feeds` wrote. Errors: TargetError."""
    if not (folder / "feeds.json").is_file():
        raise TargetError(f"{folder} holds no feeds: feeds.json is not there; write the folder with save_feeds")
    return _bundle(sorted(path for path in folder.iterdir() if path.suffix in (".json", ".npy")))


def listing(bundle: Bundle) -> Listing:
    """What a device must know of a bundle."""
    return [(blob.name, blob.sha256, blob.size) for blob in bundle]


def _bundle(paths: Iterable[Path]) -> Bundle:
    return tuple(_blob(path) for path in paths)


def _blob(path: Path) -> Blob:
    state = path.stat()
    return Blob(path.name, path, _digest(path.resolve(), state.st_ino, state.st_mtime_ns, state.st_size), state.st_size)


@lru_cache(maxsize=4096)
def _digest(path: Path, *state: int) -> str:  # noqa: ARG001 - a file that changed is another entry of the cache
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
