"""The configuration: defaults, flags, differences."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.config_file import differences, load_config, parse_config
from pipeline.errors import ConfigError
from pipeline.metrics import METRICS, QUALITY, text
from pipeline.preflight import recipes, same_search
from pipeline.workspace import Workspace

GOOD = {
    "name": "x",
    "task": {"data": {"source": "sklearn", "name": "digits"}, "metric": "macro_f1"},
    "teacher": {"path": "somewhere"},
}


def write(tmp_path: Path, **changes: object) -> Path:
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump({**GOOD, **changes}))
    return path


def test_objectives_follow_the_task(tmp_path: Path) -> None:
    config = load_config(write(tmp_path))
    assert config.objectives == ["macro_f1", "latency_p50_ms", "energy_mj"]


def test_resolved_is_a_fixed_point(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, target="local_cpu", sampler="random"))
    assert parse_config(config.resolved(), "again") == config


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, sampler="random", limits={"trials": 3})
    config = load_config(path, {"limits.trials": 7, "sampler.name": "gp", "seed": None})
    assert (config.limits.trials, config.sampler.name, config.seed) == (7, "gp", 0)


def test_limits_may_change_and_nothing_else() -> None:
    old = parse_config({**GOOD, "limits": {"trials": 3}}, "old").resolved()
    new = parse_config({**GOOD, "limits": {"trials": 9}, "keep": "all", "seed": 2}, "new").resolved()
    assert list(differences(old, new)) == ["seed: 0 -> 2"]


def test_every_fault_is_said_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        parse_config({**GOOD, "seed": -1, "sampler": "none", "extra": 1}, "x.yaml")
    assert all(word in str(error.value) for word in ("seed", "sampler", "extra"))


def test_the_metric_table_is_consistent() -> None:
    assert set(QUALITY) == {"accuracy", "balanced_accuracy", "macro_f1", "mcc"}
    assert all(METRICS[name].maximize for name in QUALITY)
    assert text("latency_p50_ms", None) == "-"
    assert text("latency_p50_ms", 0.12345) == "0.123 ms"
    assert text("speedup", 12.345) == "12.3x"
    assert text("accuracy", 0.91666) == "0.9167"
    assert text("size_mb", 12345.0) == "12345 MB"


TEXT: dict[str, Any] = {
    "name": "x",
    "task": {"kind": "text_classification", "data": {"source": "folder", "path": "d"}},
    "teacher": {"path": "t"},
}


def test_the_tokenizer_is_the_teacher_s_unless_it_is_named() -> None:
    assert parse_config(TEXT, "x").task.tokenizer == "t"
    tuned = {**TEXT, "teacher": {"train": {"from_checkpoint": "c"}}}
    assert parse_config(tuned, "x").task.tokenizer == "c"
    named = {**TEXT, "task": {**TEXT["task"], "tokenizer": "k"}}
    assert parse_config(named, "x").task.tokenizer == "k"
    assert parse_config(parse_config(tuned, "x").resolved(), "x").resolved() == parse_config(tuned, "x").resolved()
    with pytest.raises(ConfigError, match="give it `from_checkpoint:`"):
        parse_config({**TEXT, "teacher": {"train": {"model_type": "bert"}}}, "x")


def test_a_search_begun_before_a_key_came_goes_on(tmp_path: Path) -> None:
    config = parse_config(TEXT, "x")
    workspace = Workspace(tmp_path, "x")
    workspace.make()
    stored = config.resolved()
    del stored["task"]["text_pair"]
    workspace.save_state(config=stored, space={}, target={})
    same_search(config, workspace)
    stored["task"]["max_length"] = 64
    workspace.save_state(config=stored, space={}, target={})
    with pytest.raises(ConfigError, match=r"task.max_length: 64 -> 128"):
        same_search(config, workspace)


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        ({"limits": {"hours": math.inf}}, "limits.hours"),
        ({"budget": {"speedup": math.inf}}, "budget.speedup"),
        ({"seed": 2**32}, "seed"),
        ({"seed": -1}, "seed"),
    ],
)
def test_numbers_that_no_library_takes_are_refused(wrong: dict[str, Any], place: str) -> None:
    with pytest.raises(ConfigError, match=rf"(?m){place}: Input should be"):
        parse_config({**TEXT, **wrong}, "x")
    assert parse_config({**TEXT, "seed": 2**32 - 1}, "x").seed == 2**32 - 1


def test_recipes_are_those_of_the_kind_of_input() -> None:
    assert {flat["student"] for flat in recipes(parse_config(TEXT, "x")).values()} == {"bert"}
    with pytest.raises(ConfigError, match="no recipe named 'deit_tiny_shape'"):
        recipes(parse_config({**TEXT, "recipes": ["deit_tiny_shape"]}, "x"))
