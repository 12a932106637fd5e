"""Arrays that are computed once and then memory-mapped; a kill never leaves half a file behind."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import Unavailable


@contextmanager
def fresh(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` (file or folder) that becomes `path` when the block ends well, else vanishes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    _remove(beside)
    try:
        yield beside
        if beside.is_dir() and path.is_dir():
            _remove(path)  # a folder cannot be renamed over a full one
        beside.replace(path)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise Unavailable(f"the disk is full: {path} cannot be written; free some space (niwaki clean)") from error
        raise
    finally:
        _remove(beside)


def stored_array(
    path: Path, shape: tuple[int, ...], dtype: np.dtype | type, fill: Callable[[np.ndarray], None]
) -> np.ndarray:
    """The array stored at `path`, made by `fill(array)` when it is not there or has another shape."""
    if path.exists():
        known = mapped(path)
        if known.shape == shape and known.dtype == np.dtype(dtype):
            return known
    with fresh(path) as beside:
        array = roomy(beside, shape, dtype)
        fill(array)
        array.flush()
        del array
    return mapped(path)


def roomy(path: Path, shape: tuple[int, ...], dtype: np.dtype | type) -> np.memmap:
    """A new array at `path` to write into, with its room on the disk taken. Errors: OSError where there is none."""
    array: np.memmap = np.lib.format.open_memmap(path, mode="w+", dtype=np.dtype(dtype), shape=shape)
    # A map over a hole in the file would kill the process, without a word, where the disk has no room to fill it.
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def mapped(path: Path) -> np.ndarray:
    """The array of a .npy file, mapped copy-on-write: torch wants memory it may write to; the file stays as it is."""
    array: np.ndarray = np.load(path, mmap_mode="c", allow_pickle=False)
    return array


def save_tensors(tensors: Mapping[str, Any], path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write torch tensors as safetensors. Errors: OSError, whose number safetensors gives in its text only."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(dict(tensors), path, metadata=dict(metadata) if metadata else None)
    except SafetensorError as error:
        if found := re.search(r"\(os error (\d+)\)", str(error)):
            number = int(found[1])
            raise OSError(number, os.strerror(number), str(path)) from error
        raise


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
