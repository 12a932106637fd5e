"""`niwaki measure` takes what the device-side command line takes, by the same reading of it."""

from __future__ import annotations

import json
from pathlib import Path

import fakes
import pytest
import synthetic

import hardware_targets
from hardware_targets._null_model import write_null_model
from pipeline.cli import run
from pipeline.errors import ConfigError, Unavailable
from pipeline.measuring import check_target
from pipeline.workbench import prepare_target


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict]]:
    """What `load` was asked for; a scripted target answers."""
    asked: list[tuple[str, dict]] = []

    def load(name: str, **options: object) -> fakes.ScriptedTarget:
        asked.append((name, options))
        return fakes.ScriptedTarget(latency_ms=2.0)

    monkeypatch.setattr(hardware_targets, "load", load)
    return asked


def test_the_options_reach_the_target(loaded, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = write_null_model(tmp_path)[0]
    given = ["--set", "host=pi", "--set", "cores=[0, 1]", "--threads", "2", "--seconds", "3"]
    assert run(["measure", str(model), "--target", "ssh", *given, "--json"]) == 0
    assert loaded == [("ssh", {"threads": 2, "seconds": 3.0, "host": "pi", "cores": [0, 1]})]
    assert json.loads(capsys.readouterr().out)["latency"]["median_ms"] == 2.0


def test_feeds_that_are_not_there_are_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = write_null_model(tmp_path)[0]
    assert run(["measure", str(model), "--feeds", str(tmp_path / "none"), "--seconds", "1"]) == 2
    assert "holds no feeds" in capsys.readouterr().err


@pytest.mark.parametrize("pair", ["host", "=pi", "threads=2", "seconds=1", "cores=[0"])
def test_a_pair_that_sets_nothing_is_refused(pair: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["measure", "m.onnx", "--set", pair]) == 2
    assert f"--set {pair!r}" in capsys.readouterr().err


def test_an_option_that_the_target_does_not_take(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["measure", "m.onnx", "--set", "host=pi"]) == 2
    assert "takes no option 'host'" in capsys.readouterr().err


def test_a_file_on_a_real_target_with_an_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hardware_targets._sitting.PROCESSES", 2)  # eight of them are another test's
    model = write_null_model(tmp_path)[0]
    arguments = ["measure", str(model), "--target", "constrained_cpu", "--set", "memory_mb=1500", "--seconds", "1"]
    assert run([*arguments, "--json"]) == 0
    assert "1500 MB" in json.loads(capsys.readouterr().out)["conditions"]["limits"]


@pytest.mark.parametrize(("name", "said"), [("ssh", "give `host:`"), ("recorded", "give `table:`")])
def test_an_option_that_is_missing_is_the_users_input_not_the_devices_state(
    name: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = synthetic.config(1, target={"name": name}, energy="modelled")
    with pytest.raises(ConfigError, match=said):
        prepare_target(config)
    model = write_null_model(tmp_path)[0]
    assert run(["measure", str(model), "--target", name]) == 2
    assert said in capsys.readouterr().err


def test_a_device_that_is_not_there_is_no_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    target = fakes.ScriptedTarget()
    monkeypatch.setattr(target, "unavailable", lambda: "it is away")
    with pytest.raises(Unavailable, match="'scripted' cannot be used: it is away"):
        check_target(target, "scripted")
