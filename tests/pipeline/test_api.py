"""What the verbs check of what they are told, before anything is read or trained."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from records_helper import make_record, make_report

from pipeline import again, api
from pipeline.cli import run as command_line
from pipeline.config import FinalsConfig
from pipeline.errors import ConfigError
from pipeline.record import TrialRecord
from pipeline.workspace import Workspace


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("budget:", "no mapping; give lines"),
        ("budget: 5", "no mapping; give lines"),
        ("budget: [1]", "no mapping; give lines"),
        ("1: 2", "no metric named 1"),
        ("budget: {1: 2}", "no metric named 1"),
        ("latency: 5", "no metric named 'latency'"),
        ("size_mb: -1", "size_mb: -1 is no limit; give a number above 0"),
        ("size_mb: .inf", "size_mb: inf is no limit"),
        ("size_mb: .nan", "size_mb: nan is no limit"),
        ("size_mb: true", "size_mb: True is no limit"),
        ("size_mb: big", "size_mb: 'big' is no limit"),
    ],
)
def test_limits_of_a_file_that_are_none(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "budget.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=said.replace("(", r"\(")):
        api._budget({}, file)


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "budget.yaml"
    file.write_text("budget: {size_mb: 3, speedup: 2}")
    assert api._budget({"speedup": 4}, file) == {"size_mb": 3.0, "speedup": 4.0}
    with pytest.raises(ConfigError, match="size_mb: -1"):
        api._budget({"size_mb": -1}, None)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"epochs": 0}, "--epochs 0: .* greater than or equal to 1"),
        ({"seeds": 0}, "--seeds 0"),
        ({"seeds": 99}, "--seeds 99: .* less than or equal to 20"),
        ({"hours": -1.0}, "--hours -1"),
    ],
)
def test_finals_flags_are_checked_like_the_keys_of_a_file(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        api._finals_as_told(FinalsConfig(), changes)


def test_finals_flags_win_over_the_file() -> None:
    assert api._finals_as_told(FinalsConfig(seeds=5, epochs=3), {"epochs": 9}) == FinalsConfig(seeds=5, epochs=9)


@pytest.mark.parametrize(("final_of", "in_full"), [(None, False), (3, True)])
def test_a_final_is_made_again_as_one(
    final_of: int | None, in_full: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From every row and for as long as it takes: it was trained so, and its file may be what was lost."""

    @dataclass(frozen=True)
    class Bench:
        workspace: Workspace
        in_full: bool = False

    def run(number: int, candidate: Any, bench: Any, *_: Any, **__: Any) -> TrialRecord:
        told.append(bench.in_full)
        bench.workspace.trial(number).mkdir(parents=True)
        return make_record(number).with_(candidate=candidate)

    told: list[bool] = []
    monkeypatch.setattr(again, "run_trial", run)
    workspace = Workspace(tmp_path, "letters")
    workspace.trial(5).mkdir(parents=True)
    again.rerun(make_record(5).with_(final_of=final_of), Bench(workspace), None, print)  # type: ignore[arg-type]
    assert told == [in_full]


def test_a_search_as_json_is_plain_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report = make_report([make_record(1)])
    result = {"name": "letters", "root": str(tmp_path), "report": report, "sentences": ["done", "next"]}
    monkeypatch.setattr(api, "search", lambda *_, **__: result)
    assert command_line(["search", "letters.yaml", "--json", "--root", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out)["report"]["front"][0]["number"] == 1
