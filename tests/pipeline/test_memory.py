"""What was freed goes back to the system after each trial."""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import fakes
import numpy as np
import psutil
import pytest
import synthetic
from small_bench import tight

from pipeline import memory, trial, workbench
from pipeline.errors import Failed
from pipeline.tasks import InputSpec
from search_spaces.candidate import Candidate

GLIBC = platform.libc_ver()[0] == "glibc"


@pytest.fixture(autouse=True)
def looked_up_anew() -> Iterator[None]:
    memory._trim.cache_clear()
    yield
    memory._trim.cache_clear()


@pytest.mark.skipif(not GLIBC, reason="only glibc keeps freed memory that can be asked back")
def test_freed_memory_below_what_is_still_in_use_goes_back() -> None:
    memory.give_back()
    blocks = [np.ones(8_000) for _ in range(5_000)]  # 64 kB each, too small for a mapping of their own
    del blocks[:-1]  # the last one lies above them
    held = psutil.Process().memory_info().rss
    assert memory.give_back()
    assert held - psutil.Process().memory_info().rss > 150e6
    assert blocks[0].sum() == 8_000


@pytest.mark.parametrize("error", [AttributeError, OSError, TypeError])
def test_another_c_library_does_without(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def library(_: None) -> ctypes.CDLL:
        raise error("no such thing")

    monkeypatch.setattr(ctypes, "CDLL", library)
    assert not memory.give_back()


@pytest.mark.parametrize("dynamic", [{}, {1: "length"}])
def test_many_kernels_are_kept_where_rows_differ_in_shape(
    dynamic: dict[int, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_further(*_: object) -> None:
        raise InterruptedError

    monkeypatch.delenv("LRU_CACHE_CAPACITY", raising=False)
    monkeypatch.delenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", raising=False)
    monkeypatch.setattr(workbench, "prepare_task", lambda *_: SimpleNamespace(io=lambda: (InputSpec("x", dynamic),)))
    monkeypatch.setattr(workbench, "prepare_space", no_further)
    config = synthetic.config(3)
    with pytest.raises(InterruptedError):
        workbench.prepare(config, synthetic.workspace(tmp_path, config))
    assert int(os.environ["LRU_CACHE_CAPACITY"]) < 1024
    assert ("ONEDNN_PRIMITIVE_CACHE_CAPACITY" in os.environ) == (not dynamic)


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LRU_CACHE_CAPACITY", "9")
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "7")
    memory.keep_few_kernels([InputSpec("x")])
    assert os.environ["LRU_CACHE_CAPACITY"] == "9"
    assert os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "7"


def test_a_trial_gives_back_however_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[str] = []
    monkeypatch.setattr(trial, "give_back", lambda: given.append("back"))
    bench = tight(tmp_path, fakes.ScriptedTarget())

    def well(*_: object) -> None:
        assert not given

    def badly(*_: object) -> None:
        raise Failed("its loss is not finite")

    candidate = Candidate.of({"student": "identity"}, 0)
    assert trial.recorded(0, candidate, bench, well).end == "complete"
    assert given == ["back"]
    assert trial.recorded(1, candidate, bench, badly).end == "failed"
    assert given == ["back", "back"]
