"""The stores that the benchmark of growth writes in bulk are those that the product would have left."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

import numpy as np
import pytest
import synthetic

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import growth_store
import memory
import window

from pipeline.progress import Quiet
from pipeline.record import read_records
from pipeline.search import loop
from pipeline.tracking import Tracker

MADE, MORE = growth_store.FIRST + 14, 2


def test_a_store_in_bulk_is_gone_on_with_and_nothing_is_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store_in
) -> None:
    monkeypatch.setattr(loop, "run_trial", growth_store.record)
    monkeypatch.setattr(loop, "write_front", lambda *_: [])
    store_in(tmp_path)
    workspace = growth_store.make(tmp_path, MADE)
    monkeypatch.setattr(Tracker, "_read_runs", lambda _: pytest.fail("the book was not trusted"))
    assert {record.end for record in read_records(workspace.folder)} >= {"complete", "refused", "failed"}

    class Heard(Quiet):
        def say(self, sentence: str) -> None:
            pytest.fail(sentence)

    settings = growth_store.settings(MADE + MORE)
    loop.run_search(settings, synthetic.workspace(tmp_path, settings), Heard(), prepare=synthetic.bench)
    count = len(read_records(workspace.folder))
    assert count >= MADE + MORE
    with sqlite3.connect(tmp_path / "study.db") as db:
        assert db.execute("select count(*), max(number) from trials").fetchone() == (count, count - 1)
    with sqlite3.connect(tmp_path / "mlflow.db") as db:
        assert db.execute("select count(*) from tags where key = 'niwaki.trial'").fetchone() == (count,)


def test_growth_of_memory_is_the_slope_after_the_first_trials() -> None:
    steady = [100.0 + 50 * (place < memory.FIRST) for place in range(60)]
    assert memory.growth(steady)["growth_mb"] == 0
    assert memory.growth(list(np.arange(60.0)))["growth_mb"] == pytest.approx(39)


def test_the_cost_of_the_window_is_paired_by_seed() -> None:
    found = {(seed, kind): 0.5 + 0.01 * seed - 0.005 * bool(kind) for seed in range(5) for kind in (0, 8)}
    lines = window.table({**found, (9, 0): 1.0}, [0, 8])
    assert lines[0] == "5 seeds" and "-0.96 %" in lines[-1]
    assert 0 < window.volume(8, 0, 15) < 1
