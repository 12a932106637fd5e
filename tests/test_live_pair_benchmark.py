"""Two live searches beside each other, with made-up records."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import synthetic
import synthetic_bank

from pipeline.config_file import parse_config
from pipeline.record import read_json, write_json, write_record
from pipeline.workspace import Workspace
from search_spaces.candidate import Candidate

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import bank_figures
import live_pair
import live_search


def search(root: Path, name: str, seconds: list[float], teacher: str = "t", **changes: object) -> Workspace:
    """A search whose trials have the same outcomes whatever it is called, and took so many seconds each."""
    settings = synthetic.config(10, name=name, **changes)
    space = Workspace(root, name)
    space.make()
    bench = synthetic.bench(settings, space)
    figures = space.folder / "teacher" / "figures.json"
    write_json(figures, {**read_json(figures), "teacher": teacher})
    space.save_state(config=settings.resolved())
    for number, taken in enumerate(seconds):
        width = [8, 16, 24, 32][number % 4]
        candidate = Candidate.of({"student": "convnet", "convnet.width": width, "quantize.scheme": "none"}, 0)
        record = synthetic.record(number, candidate, bench, lambda _: None)
        write_record(
            space.folder, record.with_(seconds={"distill": taken, "measure": 3.0}, cpu_seconds={"distill": taken / 2})
        )
    return space


def test_the_second_is_timed_to_what_the_first_had(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    search(tmp_path, "plain", [10.0, 10.0, 10.0, 10.0])
    search(tmp_path, "quick", [2.0, 2.0, 2.0, 2.0, 100.0])
    live_pair.main(["plain", "quick", "--root", str(tmp_path), "--out", str(tmp_path / "out.json")])
    found = json.loads((tmp_path / "out.json").read_text())
    assert found == json.loads(capsys.readouterr().out)
    assert found["reached"] and found["volume"] > 0
    base, other = found["train_s"]
    assert other == pytest.approx(base / 5) and found["train_s_ratio"] == 0.2
    trials = base / 5
    assert found["wall_s"] == [pytest.approx(13 * trials), pytest.approx(5 * trials)]
    assert found["trained"] == [4, 5] and found["unreliable"] == [0, 0]


def test_one_that_never_gets_there_says_so(tmp_path: Path) -> None:
    first = search(tmp_path, "plain", [10.0] * 4)
    found = live_pair.pair(first, search(tmp_path, "short", [10.0]))
    assert not found["reached"] and found["volume_of_second"] < found["volume"]


def test_other_teachers_are_not_compared(tmp_path: Path) -> None:
    first = search(tmp_path, "plain", [10.0])
    with pytest.raises(SystemExit, match="not the same teacher"):
        live_pair.pair(first, search(tmp_path, "other", [10.0], teacher="another"))


def test_both_ways_search_what_the_bank_holds(tmp_path: Path) -> None:
    bank = synthetic_bank.write(tmp_path)
    bank_figures.table(bank, "screen")
    plain, niwaki = (
        parse_config(live_search.settings(bank, way, tmp_path / "teacher", 30), way) for way in ("plain", "niwaki")
    )
    for config in (plain, niwaki):
        assert config.space == bank.config.space and config.task == bank.config.task and config.limits.trials == 30
        assert config.teacher.path == str(tmp_path / "teacher") and config.teacher.train is None
    assert plain.sampler == bank.config.sampler.model_copy(update={"name": "tpe"}) and plain.trials.harvest == 0
    assert niwaki.sampler.name == "device_aware" and niwaki.trials.rungs and niwaki.trials.refuse_dominated
    assert {plain.name, niwaki.name} == {f"{bank.name}_plain", f"{bank.name}_niwaki"}
    assert live_search.settings(bank, "niwaki", None, 30, "second_try")["name"] == "second_try"
