"""The tables over students of texts, made small: a tiny teacher, few rows, one seed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import text_data
import torch
import yaml

from pipeline import training
from pipeline.shown_rows import ShownRows

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import students
import training_speed

pytestmark = pytest.mark.timeout(200)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("students")
    config = {
        "name": "small",
        "task": {
            "kind": "text_classification",
            "data": {"source": "folder", "path": str(text_data.write_texts(folder / "texts"))},
            "max_length": 16,
        },
        "teacher": {"path": str(text_data.write_tiny_bert(folder / "teacher", layers=3))},
    }
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def table(file: Path, kind: str, *more: str) -> dict[str, Any]:
    out = file.parent / f"{kind}.json"
    common = ["--rows", "0.5", "--epochs", "1", "--layers", "2", "--seeds", "2", "--root", str(file.parent / "mlruns")]
    students.main([str(file), kind, *common, "--out", str(out), *more])
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def test_every_way_to_inherit_has_a_line(file: Path) -> None:
    found = table(file, "inheritance")
    assert len(found["tables"]) == 3
    for lines in found["tables"].values():
        assert [line["name"] for line in lines] == list(students.INHERITANCE)
        assert all(line["interval"][0] <= line["accuracy"] <= line["interval"][1] for line in lines)
        assert all("behind_the_line_above" in line for line in lines[1:])
    assert "root" not in found and "out" not in found  # folders of one machine


def test_a_larger_student_is_a_beginning_of_its_own(file: Path) -> None:
    tables = table(file, "nearest")["tables"]
    assert len(tables) == 2
    for lines in tables.values():
        assert [line["rows"] for line in lines] == [0, 0, 0.5, 0.5]
        assert [line["name"].split(",")[0] for line in lines] == ["the teacher's weights", "the larger student's"] * 2


def test_recipes_are_given_about_the_same_time(file: Path) -> None:
    (lines,) = table(file, "recipes")["tables"].values()
    assert {line["name"] for line in lines} == set(students.RECIPES)
    accuracies = [line["accuracy"] for line in lines]
    assert accuracies == sorted(accuracies, reverse=True)
    assert max(line["rows"] for line in lines) <= 0.5


def test_a_costly_recipe_sees_so_many_rows_that_it_takes_as_long(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = students.prepared(str(file), file.parent / "mlruns")
    known = {name: (10.0 * place, 100.0 * (1 + place)) for place, name in enumerate(students.RECIPES)}
    names = iter([name for name in students.RECIPES for _ in range(3)] + list(students.RECIPES))

    def taken(_bench: Any, _flat: Any, _seed: int, rows: float, *_: Any) -> tuple[np.ndarray, float]:
        fixed, growing = known[next(names)]
        return np.ones(4, dtype=bool), fixed + growing * rows

    monkeypatch.setattr(students, "trained", taken)
    arguments: Any = SimpleNamespace(layers=2, epochs=1, learning_rate=None, rows=0.5, seeds=1)
    ((_, rows),) = students.by_recipe(bench, arguments)
    assert [row.cpu_seconds for row in rows] == pytest.approx([50.0] * len(rows))
    assert [row.rows for row in rows] == pytest.approx([0.5, 0.2, 0.1, 0.05])


def test_a_difference_is_paired() -> None:
    right = np.array([[True, False, True, True], [True, False, True, False]])
    plain = students.Row("b", right, 1.0, 0.5).plain(students.Row("a", right, 1.0, 0.5))
    assert plain["behind_the_line_above"] == [0.0, 0.0, 0.0]
    better = students.Row("a", np.ones_like(right), 1.0, 0.5)
    mean, low, high = students.Row("b", right, 1.0, 0.5).plain(better)["behind_the_line_above"]
    assert mean == 0.375 and low <= mean <= high


def test_what_a_measure_bought_is_told_against_the_whole(file: Path) -> None:
    out = file.parent / "speed.json"
    common = ["--rows", "1", "--layers", "1", "--rounds", "2", "--root", str(file.parent / "mlruns")]
    training_speed.main([str(file), *common, "--out", str(out)])
    lines = {line["variant"]: line for line in json.loads(out.read_text())["table"]}
    assert list(lines) == list(training_speed.VARIANTS)
    assert all(lines[line["against"]]["range"] == [1, 1] for line in lines.values())
    assert all(line["range"][0] <= line["times"] <= line["range"][1] for line in lines.values())


def test_each_variant_takes_one_thing_away(file: Path) -> None:
    bench = students.prepared(str(file), file.parent / "mlruns")
    asked = []
    bench.teacher.module.register_forward_pre_hook(lambda *_: asked.append(1))
    training_speed.cpu_seconds(bench, {}, training_speed.whole, 1.0, 1)
    assert not asked
    training_speed.cpu_seconds(bench, {}, training_speed.asked_every_step, 1.0, 1)
    assert asked
    assert _states_asked(bench, training_speed.whole) > 0  # the first time they are computed
    again, beside = (_states_asked(bench, variant) for variant in (training_speed.whole, training_speed.states_beside))
    assert again < beside  # what is left of the first is the scale of the term
    with training_speed.not_fused(bench):
        module = torch.nn.Linear(2, 2)
        assert not training._optimizer(module, 0.1, 0.0).defaults["fused"]
    assert training._optimizer(module, 0.1, 0.0).defaults["fused"]
    with training_speed.no_bfloat16(bench):
        assert not training.pays_in_bf16(torch.nn.Linear(512, 512))
    table = torch.nn.Embedding(30, 2)
    with training_speed.whole_table(bench):
        assert not isinstance(training.shown_rows(table, np.arange(9)), ShownRows)
    assert isinstance(training.shown_rows(table, np.arange(9)), ShownRows)
    view = bench.task.view(students.build(students.candidate(bench, {"bert.layers": 1}, 0), bench).shape)
    padding = {name: _padding(bench, view, variant) for name, (_, _, variant) in training_speed.VARIANTS.items()}
    assert padding["batches of any lengths"] > padding["all of it"]


def _states_asked(bench: Any, variant: Any) -> int:
    """How often the teacher's hidden states are computed in an epoch of a student that learns from them."""
    inner, asked = bench.inner_teacher(), []
    states = inner.states

    def counted(*inputs: Any) -> Any:
        asked.append(1)
        return states(*inputs)

    with patch.object(inner, "states", counted):
        training_speed.cpu_seconds(bench, training_speed.HIDDEN, variant, 1.0, 1)
    return len(asked)


def _padding(bench: Any, view: Any, variant: Any) -> float:
    """Share of a pass over the training rows that is padding."""
    with variant(bench):
        masks = [batch.inputs[1] for batch in bench.task.batches("train", view).epoch(torch.Generator().manual_seed(0))]
    return 1 - sum(float(mask.sum()) for mask in masks) / sum(mask.numel() for mask in masks)
