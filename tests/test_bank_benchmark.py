"""The bank of students: its design, and its three verbs on a tiny teacher of texts."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import fakes
import pytest
import synthetic_bank
import text_data
import yaml

import hardware_targets
from pipeline import workbench
from search_spaces import IDENTITY
from search_spaces.candidate import Candidate

import bank  # isort: skip - synthetic_bank has put benchmarks/ on the path
import bank_design  # isort: skip
import bank_store  # isort: skip
import bank_training  # isort: skip

pytestmark = pytest.mark.timeout(200)
NAME = "tiny_bank"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a search file and a bank of two students trained from it."""
    folder = tmp_path_factory.mktemp("bank")
    texts, teacher = text_data.write_texts(folder / "texts"), text_data.write_tiny_bert(folder / "teacher", layers=2)
    space = {
        "preset": "text",
        "bert": {"layers": [1, 2], "layer_map": "first", "width": 32, "heads": [2, 4], "ff": 64, "max_length": 16,
                 "vocabulary": "full", "init": "truncation"},
        "distill": {"temperature": [1.0, 2.0], "soft_weight": 0.9, "hard_weight": 0.1, "hidden_weight": 0.0,
                    "attention_weight": 0.0, "relation_weight": 0.0, "learning_rate": 0.001, "epochs": [2, 3]},
        "prune": {"ratio": [0.0, 0.5], "criterion": "magnitude", "recovery_epochs": 1},
        "quantize": {"scheme": ["none", "dynamic_int8"], "per_channel": True},
    }  # fmt: skip
    task = {"kind": "text_classification", "data": {"source": "folder", "path": str(texts)}, "max_length": 16}
    path = folder / "file.yaml"
    path.write_text(
        yaml.safe_dump(
            {"name": NAME, "task": task, "teacher": {"path": str(teacher)}, "space": space, "energy": "modelled"}
        )
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workbench, "prepare_target", lambda _: fakes.ScriptedTarget())
        bank.main(["--root", str(folder / "mlruns"), "train", str(path), "--most", "2"])
    return folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it that a test may change."""
    monkeypatch.setattr(workbench, "prepare_target", lambda _: fakes.ScriptedTarget())
    shutil.copytree(trained / "mlruns", tmp_path / "mlruns")
    shutil.copy(trained / "file.yaml", tmp_path / "file.yaml")
    return tmp_path


def members(folder: Path) -> dict[int, dict[str, Any]]:
    found = bank_store.Bank(folder / "mlruns", NAME).read_members()
    return {member["number"]: member for member in found}


def train(folder: Path, *more: str) -> None:
    bank.main(["--root", str(folder / "mlruns"), "train", str(folder / "file.yaml"), *more])


def test_a_student_is_kept_with_all_that_its_training_serves(trained: Path) -> None:
    found = members(trained)
    assert set(found) == {-1, 0, 1}
    for member in (found[0], found[1]):
        assert member["end"] == "complete"
        assert [row["epoch"] for row in member["curve"]] == list(range(1, member["values"]["distill.epochs"] + 1))
        spent = [row["cpu_seconds"] for row in member["curve"]]
        assert spent == sorted(spent) and spent[0] > 0 and member["cpu_seconds"]["distill"] >= spent[-1]
        kinds = [(v["values"]["prune.ratio"], v["values"]["quantize.scheme"]) for v in member["variants"]]
        assert kinds == [(0.0, "none"), (0.0, "dynamic_int8"), (0.5, "none"), (0.5, "dynamic_int8")]
        assert all(0 <= v["quality"]["accuracy"] <= 1 for v in member["variants"])
        assert ["recover" in v["cpu_seconds"] for v in member["variants"]] == [False, False, True, True]
        flats = [{**member["values"], **v["values"]} for v in member["variants"]]
        assert [Candidate.of(flat, 0).key for flat in flats] == [v["key"] for v in member["variants"]]


def test_float_files_say_what_the_torch_student_said(trained: Path) -> None:
    for number in (0, 1):
        member = members(trained)[number]
        dense = member["variants"][0]["quality"]["accuracy"]
        assert dense == pytest.approx(member["curve"][-1]["rung_accuracy"], abs=0.021)  # 50 rows, bf16 while it learned


def test_one_file_is_kept_for_each_shape_and_scheme(trained: Path) -> None:
    kept = {path.stem for path in (trained / "mlruns/bank" / NAME / "files").glob("*.onnx")}
    assert kept == {v["shape"] for member in members(trained).values() for v in member["variants"]}
    assert len(kept) >= 2 + 4  # the teacher's two, and those of a student


def test_what_is_there_is_not_trained_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    once: list[int] = []
    real = bank_training.trained
    monkeypatch.setattr(bank_training, "trained", lambda b, m, w: once.append(m.number) or real(b, m, w))
    train(folder, "--most", "2")
    assert once == []
    shutil.rmtree(bank_store.Bank(folder / "mlruns", NAME).member(1))
    train(folder, "--most", "2")
    assert once == [1]


@pytest.mark.slow  # two processes that import torch
def test_two_workers_share_the_students(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # they score on the real target
    for number in (0, 1):
        shutil.rmtree(bank_store.Bank(folder / "mlruns", NAME).member(number))
    before = members(folder)[-1]
    train(folder, "--most", "3", "--workers", "2")
    found = members(folder)
    assert set(found) == {-1, 0, 1, 2} and all(member["end"] == "complete" for member in found.values())
    assert found[-1] == before


def test_a_worker_whose_process_is_gone_begins_no_student(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(bank_store.Bank(folder / "mlruns", NAME).member(1))
    monkeypatch.setattr(bank_training, "trained", lambda *_: pytest.fail("began one"))
    config = bank.configuration(folder / "file.yaml", {})
    bank.work(folder / "mlruns", [config], 2, bank_training.Part(parent=-1), print)


def test_a_bank_is_of_one_space(folder: Path) -> None:
    data = yaml.safe_load((folder / "file.yaml").read_text())
    data["space"]["distill"]["soft_weight"] = 0.8
    (folder / "file.yaml").write_text(yaml.safe_dump(data))
    with pytest.raises(SystemExit, match="begun with another space"):
        train(folder, "--most", "2")


def test_figures_are_taken_once_and_become_a_table(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = fakes.ScriptedTarget(latency_ms=2.0)
    monkeypatch.setattr(workbench, "prepare_target", lambda _: device)
    monkeypatch.setattr(workbench, "better_than_chance", lambda *_: None)  # the tiny teacher has learned nothing
    for _ in range(2):
        bank.main(["--root", str(folder / "mlruns"), "device", NAME])
    files = list((folder / "mlruns/bank" / NAME / "files").glob("*.onnx"))
    assert sum(verb == "measure" for verb, _ in device.calls) == 1 + len(files)  # the teacher, then each file once
    table: Any = hardware_targets.load("recorded", table=str(folder / "mlruns/bank" / NAME / "table.yaml"))
    key = members(folder)[0]["variants"][0]["key"]
    assert table.look_up(key, bank_store.TEACHER).latency.ratio == pytest.approx(0.2)
    assert table.look_up(bank_store.TEACHER, bank_store.TEACHER).latency.ratio == 1.0


def test_a_doubtful_figure_is_not_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = fakes.latency(2.0, 10.0, undisturbed_share=1.0)
    assert not found.unreliable  # the double's own
    monkeypatch.setattr(workbench, "better_than_chance", lambda *_: None)
    monkeypatch.setattr(type(found), "unreliable", True, raising=False)
    bank.main(["--root", str(folder / "mlruns"), "device", NAME])
    assert not list((folder / "mlruns/bank" / NAME / "device").glob("screen/*.json"))


def test_every_shape_is_in_the_design_and_recipes_come_first() -> None:
    space = synthetic_bank.space()
    found = bank_design.members(space, seed=0, students=36)
    keys = [member.candidate.key for member in found]
    assert len(set(keys)) == len(keys) and [member.number for member in found] == list(range(len(found)))
    shapes = {tuple(pair for pair in m.candidate.values if pair[0].startswith("convnet.")) for m in found}
    assert len(shapes) == 2 * 3 * 2
    named = [member.recipe for member in found if member.recipe]
    assert named and [member.recipe for member in found[: len(named)]] == named
    for axis, values in (("distill.learning_rate", 3), ("distill.epochs", 2)):
        counts = {value: sum(m.flat[axis] == value for m in found) for value in {m.flat[axis] for m in found}}
        assert len(counts) == values and max(counts.values()) <= 2 * min(counts.values())


def test_the_space_holds_every_candidate_of_the_bank() -> None:
    space = synthetic_bank.space()
    for member in bank_design.members(space, seed=0, students=36):
        flats = bank_design.variants(member.flat, space)
        assert len(flats) == 6
        for flat in flats:
            parameters = space.params_of(flat)
            assert not isinstance(parameters, str), parameters
            assert space.sample(bank_design.Given(parameters), 0).flat() == flat
        assert all(bank_design.student_of(flat) == member.flat for flat in flats)


def test_another_seed_is_another_design() -> None:
    space = synthetic_bank.space()
    one, two = (bank_design.members(space, seed, 36) for seed in (0, 1))
    assert {member.candidate.key for member in one} != {member.candidate.key for member in two}
    assert one == bank_design.members(space, 0, 36)


def test_weights_do_not_decide_the_key_of_a_shape() -> None:
    shape, settings = {"layers": 2, "taken": [0, 5]}, {"scheme": "none"}
    assert bank_store.shape_key(shape, settings) == bank_store.shape_key({**shape, "taken": [0, 1]}, settings)
    assert bank_store.shape_key(shape, settings) != bank_store.shape_key({**shape, "layers": 3}, settings)
    assert bank_store.shape_key(shape, settings) != bank_store.shape_key(shape, {"scheme": "fp16"})


def test_the_teachers_own_files_are_there(trained: Path) -> None:
    own = members(trained)[-1]
    assert own["values"] == {"student": IDENTITY} and own["curve"] == []
    assert [v["values"]["quantize.scheme"] for v in own["variants"]] == ["none", "dynamic_int8"]
