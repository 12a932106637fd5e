from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.arrays import fresh, save_tensors, stored_array
from pipeline.errors import Unavailable


def test_an_array_is_filled_once_and_mapped(tmp_path: Path) -> None:
    calls = []

    def fill(array: np.ndarray) -> None:
        calls.append(1)
        array[:] = 7

    for _ in range(2):
        array = stored_array(tmp_path / "a" / "x.npy", (3, 2), np.uint8, fill)
        assert array.tolist() == [[7, 7]] * 3
    assert len(calls) == 1
    array[0, 0] = 1  # copy-on-write
    assert stored_array(tmp_path / "a" / "x.npy", (3, 2), np.uint8, fill)[0, 0] == 7
    assert stored_array(tmp_path / "a" / "x.npy", (4, 2), np.uint8, fill).shape == (4, 2)


def test_a_filling_that_fails_leaves_the_old_or_nothing(tmp_path: Path) -> None:
    def fail(array: np.ndarray) -> None:
        array[0] = 1
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        stored_array(tmp_path / "x.npy", (3,), np.uint8, fail)
    assert not list(tmp_path.iterdir())


WRITE_TOO_MUCH = """
import resource, signal, sys
import torch
from pathlib import Path
from pipeline.arrays import save_tensors
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    save_tensors({"a": torch.zeros(10_000)}, Path(sys.argv[1]))
except OSError as error:
    print(error.errno, error.filename)
"""


@pytest.mark.skipif(os.name != "posix", reason="the system has no limit on the size of a file that can be lowered")
def test_what_safetensors_cannot_write_is_an_error_of_the_system(tmp_path: Path) -> None:
    """It raises a class of its own, which nobody who asks whether the disk is full would catch."""
    path = tmp_path / "x.safetensors"
    told = subprocess.run([sys.executable, "-c", WRITE_TOO_MUCH, path], capture_output=True, text=True, check=True)
    assert told.stdout.split() == [str(errno.EFBIG), str(path)]


def test_other_troubles_of_safetensors_stay_what_they_are(tmp_path: Path) -> None:
    import torch
    from safetensors import SafetensorError

    with pytest.raises((SafetensorError, RuntimeError, ValueError)):
        save_tensors({"a": torch.zeros(2).to_sparse()}, tmp_path / "x.safetensors")


def test_a_folder_appears_whole_and_replaces_the_old_one(tmp_path: Path) -> None:
    for text in ("one", "two"):
        with fresh(tmp_path / "folder") as beside:
            beside.mkdir()
            (beside / "file").write_text(text)
    assert (tmp_path / "folder" / "file").read_text() == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_full_disk_is_a_sentence_before_the_first_page_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(Unavailable, match=r"disk is full: .*x\.npy cannot be written"):
        stored_array(tmp_path / "x.npy", (3,), np.uint8, lambda array: pytest.fail(str(array)))
    assert not list(tmp_path.iterdir())
