"""Files on a device, by their hash."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from hardware_targets import DeviceFailure, TargetError
from hardware_targets._store import KEEP_S, Store

CONTENT = bytes(range(256)) * 4
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def test_a_file_arrives_in_pieces(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.present(DIGEST) == 0
    assert store.put(DIGEST, 1024, 0, CONTENT[:1000]) == 1000
    assert Store(tmp_path).present(DIGEST) == 1000, "another agent goes on there"
    assert store.put(DIGEST, 1024, 1000, CONTENT[1000:]) is None
    assert store.present(DIGEST) is None
    assert (store.place([("a.bin", DIGEST, 1024)]) / "a.bin").read_bytes() == CONTENT
    assert store.put(DIGEST, 1024, 0, CONTENT) is None


def test_two_callers_help_each_other(tmp_path: Path) -> None:
    first, second = Store(tmp_path), Store(tmp_path)
    assert first.put(DIGEST, 1024, 0, CONTENT[:400]) == 400
    assert second.put(DIGEST, 1024, 0, CONTENT[:400]) == 400, "it is told where to go on"
    assert second.put(DIGEST, 1024, 400, CONTENT[400:800]) == 800
    assert first.put(DIGEST, 1024, 400, CONTENT[400:800]) == 800
    assert first.put(DIGEST, 1024, 800, CONTENT[800:]) is None
    assert second.put(DIGEST, 1024, 800, CONTENT[800:]) is None
    assert [path.name for path in (tmp_path / "blobs").iterdir()] == [DIGEST]


def test_a_damaged_file_is_not_kept(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(DeviceFailure, match="arrived damaged"):
        store.put(DIGEST, 1024, 0, CONTENT[:-1] + b"?")
    assert store.present(DIGEST) == 0


@pytest.mark.parametrize("name", ["../a", "/etc/a", "", "..", "a/b"])
def test_names_are_no_paths(name: str, tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(DIGEST, 1024, 0, CONTENT)
    with pytest.raises(TargetError, match="no plain file name"):
        store.place([(name, DIGEST, 1024)])
    with pytest.raises(TargetError, match="no sha256"):
        store.present("../../etc/passwd")


def test_one_file_has_many_names_and_one_place(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(DIGEST, 1024, 0, CONTENT)
    one, two = store.place([("a", DIGEST, 1024)]), store.place([("b", DIGEST, 1024), ("c", DIGEST, 1024)])
    assert one != two and store.place([("a", DIGEST, 1024)]) == one
    assert (tmp_path / "blobs" / DIGEST).stat().st_nlink == 4


def test_what_is_used_stays_and_the_rest_goes(tmp_path: Path) -> None:
    store = Store(tmp_path)
    other = hashlib.sha256(b"x").hexdigest()
    store.put(DIGEST, 1024, 0, CONTENT)
    store.put(other, 1, 0, b"x")
    store.put("0" * 64, 9, 0, b"half")
    kept, gone = store.place([("a", DIGEST, 1024)]), store.place([("b", other, 1)])
    (tmp_path / "packages" / "old").mkdir(parents=True)
    now = kept.stat().st_mtime
    for path in (gone, tmp_path / "packages" / "old", *(tmp_path / "blobs").iterdir()):
        os.utime(path, (now - KEEP_S - 5, now - KEEP_S - 5))
    store.prune(now)
    assert (kept / "a").read_bytes() == CONTENT
    assert not gone.exists() and not (tmp_path / "packages" / "old").exists()
    assert [path.name for path in (tmp_path / "blobs").iterdir()] == [DIGEST]
