"""The benchmark of refusals: nothing is read that it should measure, and what is not refused ends it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from small_search import small_search

from pipeline import workbench
from pipeline.config import SearchConfig
from pipeline.record import TrialRecord
from search_spaces.candidate import Candidate

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import refusals


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Only the space is real; `run_trial` may be replaced."""
    root = tmp_path / "mlruns"
    for name in ("teachers/one", "cache/screened", "cache/answers"):
        (root / name).mkdir(parents=True)
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(small_search("small", 3)))
    found = SimpleNamespace(root=root, file=tmp_path / "small.yaml", config=None, tried=list[tuple[int, Candidate]]())

    def prepare(config: SearchConfig, workspace: Any, *_: Any) -> Any:
        found.config = config
        assert (workspace.root / "teachers" / "one").is_dir()
        assert [one.name for one in (workspace.root / "cache").iterdir()] == ["answers"]
        task = workbench.prepare_task(config, workspace)
        return SimpleNamespace(space=workbench.prepare_space(config, task)[0], teacher_latency_ms=2.0)

    def run_trial(number: int, candidate: Candidate, _: Any) -> TrialRecord:
        found.tried.append((number, candidate))
        return TrialRecord(number, candidate, "refused", "over budget before training", seconds={"build": 0.1})

    monkeypatch.setattr(workbench, "prepare", prepare)
    monkeypatch.setattr(refusals, "run_trial", run_trial)
    monkeypatch.setattr(refusals, "device_key", lambda candidate, _: str(candidate.flat().get("convnet.width")))
    return found


def run(bench: Any, *more: str) -> int:
    with pytest.raises(SystemExit) as ended:
        refusals.main([str(bench.file), "--root", str(bench.root), "--candidates", "3", *more])
    return int(ended.value.code or 0)


def test_each_shape_is_tried_twice_under_a_budget_that_nothing_keeps(bench: Any, tmp_path: Path) -> None:
    assert run(bench, "--out", str(tmp_path / "out.json")) == 0
    assert bench.config.budget == {"speedup": 1000.0}
    assert [number for number, _ in bench.tried] == list(range(6))
    keys = [candidate.key for _, candidate in bench.tried]
    assert keys[::2] == keys[1::2] and len(set(keys)) == 3  # widths 8 and 16, and transformers
    assert all(candidate.student != "identity" for _, candidate in bench.tried)
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["candidates"] == 3 and found["teacher_ms"] == 2.0
    assert found["first_s"].keys() == found["again_s"].keys() == {"median", "most"}


def test_what_was_timed_on_a_disturbed_machine_is_counted_apart(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = refusals.run_trial

    def disturbed(number: int, *given: Any) -> TrialRecord:
        record = honest(number, *given)
        return record.with_(end="failed", notes=(refusals.DISTURBED,)) if number == 2 else record

    monkeypatch.setattr(refusals, "run_trial", disturbed)
    assert run(bench, "--out", str(bench.root / "out.json")) == 0
    found = json.loads((bench.root / "out.json").read_text())
    assert (found["candidates"], found["unreliable"]) == (3, 1)
    assert [number for number, _ in bench.tried] == [0, 1, 2, 4, 5]
    assert bench.config.limits.trial_minutes == refusals.AT_ONCE


def test_a_slow_refusal_is_told_by_the_exit_code(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "AGAIN_S", -1.0)
    assert run(bench) == 1


@pytest.mark.parametrize("changes", [{"end": "complete"}, {"curve": ({"epoch": 1.0},)}, {"seconds": {"distill": 1.0}}])
def test_an_epoch_that_was_spent_ends_it(bench: Any, changes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = refusals.run_trial
    monkeypatch.setattr(refusals, "run_trial", lambda *given: honest(*given).with_(**changes))
    with pytest.raises(SystemExit, match="it should have been refused"):
        refusals.main([str(bench.file), "--root", str(bench.root)])
