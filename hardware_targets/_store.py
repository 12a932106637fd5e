"""Files on a remote device, kept by the hash of their contents, so that none is pushed twice.

blobs/<sha256>          a file; <sha256>.part while it arrives, which is where a dropped link goes on
bundles/<hash>/<name>   hard links to blobs under the names that the caller knows
packages/<sha256>       this package
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from pathlib import Path

from hardware_targets._bundles import Listing
from hardware_targets._errors import DeviceFailure, TargetError

KEEP_S = 14 * 86400.0  # what nobody asked for in this time is removed


class Store:
    """The agent's folder."""

    def __init__(self, root: Path) -> None:
        self._root, self._blobs, self._bundles = root, root / "blobs", root / "bundles"
        for folder in (self._blobs, self._bundles):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def present(self, digest: str) -> int | None:
        """Bytes of a file that have arrived; None when all have."""
        if self._blob(digest).is_file():
            return None
        part = self._blob(digest).with_suffix(".part")
        return part.stat().st_size if part.is_file() else 0

    def put(self, digest: str, size: int, offset: int, content: bytes) -> int | None:
        """Append a piece; bytes that have arrived, None when all have.

        A piece that does not begin where the file ends is left out: the answer tells where to go on, and two callers
        who push one file help each other. Errors: DeviceFailure where the whole is not what was announced.
        """
        blob = self._blob(digest)
        if blob.is_file():
            return None
        part = blob.with_suffix(".part")
        with part.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if blob.is_file():
                part.unlink(missing_ok=True)  # the other caller finished while this one waited
                return None
            if file.seek(0, os.SEEK_END) == offset:
                file.write(content)
                file.flush()
            if (arrived := file.tell()) < size:
                return arrived
            os.fsync(file.fileno())
            _verify(part, digest)
            part.rename(blob)
        return None

    def place(self, files: Listing) -> Path:
        """The folder with these files under their names. Errors: TargetError for a name that is a path."""
        for name, _, _ in files:
            if name != Path(name).name or name in ("", ".", ".."):
                raise TargetError(f"{name!r} is no plain file name; rename the file")
        folder = self._bundles / hashlib.sha256(json.dumps(files).encode()).hexdigest()[:32]
        if not folder.is_dir():
            beside = Path(tempfile.mkdtemp(dir=self._bundles, prefix="new-"))
            for name, digest, _ in files:
                _link(self._blob(digest), beside / name)
            try:
                beside.rename(folder)
            except OSError:  # another caller was faster
                shutil.rmtree(beside)
        os.utime(folder)
        return folder

    def prune(self, now: float | None = None) -> None:
        """Remove what has not been used for two weeks."""
        before = (time.time() if now is None else now) - KEEP_S
        for folder in [*self._bundles.iterdir(), *self._root.glob("packages/*")]:
            if _older(folder, before):
                shutil.rmtree(folder, ignore_errors=True)
        for blob in self._blobs.iterdir():
            if _older(blob, before) and blob.stat().st_nlink == 1:
                blob.unlink(missing_ok=True)

    def _blob(self, digest: str) -> Path:
        if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
            raise TargetError(f"{digest!r} is no sha256")
        return self._blobs / digest


def _older(path: Path, before: float) -> bool:
    try:
        return path.stat().st_mtime < before
    except FileNotFoundError:  # another agent prunes too
        return False


def _verify(part: Path, digest: str) -> None:
    with part.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() == digest:
            return
    part.unlink()
    raise DeviceFailure("a file arrived damaged, or was changed while it was pushed; try again")


def _link(blob: Path, name: Path) -> None:
    try:
        os.link(blob, name)
    except OSError:  # a file system without hard links
        shutil.copyfile(blob, name)
