"""A real small search over texts, run as a user runs it; and what is picked, used by somebody who has none of this."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import text_data
from test_search_journey import outside

from hardware_targets import load
from pipeline import api
from pipeline.artifact import view_of
from pipeline.errors import ConfigError
from pipeline.findings import config_of
from pipeline.record import TrialRecord, read_records
from pipeline.workbench import prepare_task
from pipeline.workspace import Workspace


def configuration(folder: Path, pairs: bool) -> dict[str, Any]:
    place = text_data.write_tiny_bert(folder / "checkpoint", layers=3)
    data = text_data.write_texts(folder / "texts", rows=480, pairs=pairs)
    if not pairs:
        found, labels = text_data.texts(120, seed=1)
        text_data.write_columns(data / "validation.parquet", text=["", *found[1:]], label=labels)
    columns = {"text": "sentence1", "text_pair": "sentence2"} if pairs else {}
    masked = text_data.write_tiny_masked_bert(folder / "masked")
    more = {"data": {"source": "folder", "path": str(text_data.write_unlabelled(folder / "more"))}}
    further = (
        {"replace": {"copies": 1}}
        if pairs
        else {"transfer": more, "replace": {"by": "masked_model", "model": str(masked)}}
    )
    return {
        "task": {
            "kind": "text_classification",
            "data": {"source": "folder", "path": str(data)},
            "max_length": 48,
            **columns,
            **further,
        },
        "teacher": {
            "train": {"from_checkpoint": str(place), "epochs": 4, "batch_size": 16, "learning_rate": 0.002},
        },
        "space": {
            "students": ["bert"] if pairs else ["identity", "bert"],
            "bert": {"layers": [1, 2], "layer_map": "spread", "width": [24, 32], "init": ["importance", "truncation"]},
            "distill": {
                "epochs": 1,
                "learning_rate": 0.001,
                "hidden_weight": [0.0, 0.5],
                "augment": "replace" if pairs else ["transfer", "transfer_replace"],
                **({"relation_weight": 0.5} if pairs else {}),
            },
            "prune": {"ratio": [0, 0.5], "recovery_epochs": 1},
            "quantize": {"scheme": "qat_int8" if pairs else ["none", "dynamic_int8"]},
        },
        "limits": {"trials": 2 if pairs else 5},
        "target": {"name": "local_cpu", "seconds": 1},
        "budget": {"size_mb": 50} if pairs else {},  # with a budget, an untrained twin is measured first
        "trials": {"rows": 0.5, "harvest": 0 if pairs else 1},
        "recipes": "none" if pairs else ["tinybert"],
        "keep": "all",
    }


pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module", params=[False, True], ids=["texts", "pairs"])
def searched(home: Any, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, bool]:
    home = type(home)(tmp_path_factory.mktemp("texts"))
    home.write(**configuration(home.folder, request.param))
    done = home.niwaki("search", "small.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    (home.folder / "said.txt").write_text(done.stdout)
    return home, request.param


def records(home: Any) -> list[TrialRecord]:
    return read_records(home.search)


def test_every_trial_ends_well_and_inherits(searched) -> None:
    home, pairs = searched
    found = records(home)
    assert {record.end for record in found} <= {"complete", "refused", "duplicate"}, [r.reason for r in found]
    students = [record for record in found if record.candidate.student == "bert" and record.end == "complete"]
    assert students
    names = ["input_ids", "token_type_ids"] if pairs else ["input_ids"]
    assert all(record.artifact["inputs"] == names for record in students)
    assert all(record.metrics["latency_with_preprocessing_ms"] > record.metrics["latency_p50_ms"] for record in found
               if record.end == "complete")  # fmt: skip
    for record in students if pairs else ():  # these learned to round, after everything else
        settings = record.candidate.section("quantize")
        assert (settings["scheme"], record.artifact["precision"]) == ("qat_int8", "qat_int8")
        pruning = record.candidate.section("prune")
        assert {"screen", "distill", "aware"} <= set(record.seconds)
        assert len(record.curve) == 1 + pruning.get("recovery_epochs", 0) + settings["aware_epochs"]
        assert abs(record.metrics["accuracy"] - record.curve[-1]["rung_accuracy"]) < 0.05
    folders = [home.search / "trials" / f"{record.number:05d}" for record in students]
    assert {"float32.onnx"} & {path.name for folder in folders for path in folder.iterdir()} == set()


def test_a_trained_student_serves_a_second_trial(searched) -> None:
    home, pairs = searched
    if pairs:
        pytest.skip("how a student was trained does not depend on what it reads; asked of single texts")
    found = {record.number: record for record in records(home)}
    children = [record for record in found.values() if record.trained_by is not None and record.end == "complete"]
    assert children
    for child in children:
        parent = found[child.trained_by]
        assert "distill" in parent.seconds and "distill" not in child.seconds
        assert parent.artifact["sha256"] != child.artifact["sha256"]
        # the same student but for what came after its training
        assert abs(parent.metrics["accuracy"] - child.metrics["accuracy"]) < 0.2


def test_students_learned_from_texts_without_labels(searched) -> None:
    home, pairs = searched
    shown = {record.candidate.flat().get("distill.augment") for record in records(home)} - {None}
    assert shown and shown <= ({"replace"} if pairs else {"transfer", "transfer_replace"})
    (answers,) = (home.root / "cache" / "answers").iterdir()
    names = {path.name.partition("-")[0] for path in answers.iterdir()}
    assert names == {"train", "validation", "replaced", *(() if pairs else ("transfer",))}
    (copies,) = (home.root / "cache" / "replaced").iterdir()
    assert copies.suffix == ".parquet"


def test_what_is_odd_about_the_texts_is_told_and_kept(searched) -> None:
    home, pairs = searched
    notes = json.loads((home.search / "search.json").read_text())["notes"]
    said = (home.folder / "said.txt").read_text().splitlines()
    assert [line for line in said if line.startswith("note: ")] == [f"note: {note}" for note in notes]
    assert any("1 of 120 rows of validation hold an empty text" in note for note in notes) != pairs
    if not pairs:
        assert said.index(f"note: {notes[0]}") < said.index("loading the teacher")


def test_latency_is_shown_with_and_without_tokenization(searched) -> None:
    home, _ = searched
    number = next(record.number for record in records(home) if record.end == "complete")
    shown = api.show_lines(api.show("small", number, root=home.root), "small", number)
    figures = {line.split()[0] for line in shown if line.startswith("  ") and " ms" in line}
    assert figures >= {"latency_p50_ms", "latency_with_preprocessing_ms"}


def test_the_teacher_travels_with_its_tokenizer(searched) -> None:
    home, _ = searched
    (folder,) = (home.root / "teachers").iterdir()
    assert {path.name for path in folder.iterdir()} >= {"model.safetensors", "tokenizer.json", "niwaki_teacher.json"}
    report = json.loads((folder / "niwaki_teacher.json").read_text())
    best = max(report["curve"], key=lambda row: row["accuracy"])
    assert report["best_epoch"] == best["epoch"]
    assert report["metrics"]["accuracy"] == pytest.approx(best["accuracy"])


OUTSIDER = """
import json, sys
from pathlib import Path
import numpy as np
sys.path.insert(0, sys.argv[1])
import predict
rows = json.loads(Path(sys.argv[2]).read_text())
print(json.dumps([[predict.predict(*row)[0], predict.logits(*row).tolist()] for row in rows]))
"""


def test_an_outsider_predicts_what_the_target_predicts(searched, tmp_path: Path) -> None:
    home, pairs = searched
    students = [record for record in records(home) if record.end == "complete" and record.candidate.student == "bert"]
    best = max(students, key=lambda record: record.metrics["accuracy"])
    number = best.number
    picked = home.niwaki("pick", "small", "--trial", str(number), "--out", "picked", "--json")
    assert picked.returncode == 0, picked.stdout + picked.stderr
    folder = home.folder / "picked"
    assert (folder / "tokenizer.json").is_file()
    readme = (folder / "README.md").read_text()
    assert "text-classification" in readme
    assert "image" not in readme
    assert "| latency_with_preprocessing_ms |" in readme
    notes = json.loads((home.search / "search.json").read_text())["notes"]
    assert all(f"Of its data and teacher: {note}." in readme for note in notes)
    kept = json.loads((folder / "pick.json").read_text())
    assert kept["search"]["notes"] == notes
    assert kept["metrics"]["latency_with_preprocessing_ms"] > kept["metrics"]["latency_p50_ms"]
    assert ('predict("a text", "another")' if pairs else 'predict("a text")') in readme

    workspace = Workspace(home.root, "small")
    task = prepare_task(config_of(workspace), workspace)
    rows = task.raw("test", task.rows("test"))
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    outsider = outside(OUTSIDER, str(folder), str(tmp_path / "rows.json"), cwd=tmp_path)
    assert outsider.returncode == 0, outsider.stderr
    view = view_of(best.artifact)
    logits = load("local_cpu").predict(folder / "model.onnx", task.feeds("test", view))
    labels, scores = zip(*json.loads(outsider.stdout), strict=True)
    assert list(labels) == [task.classes[place] for place in logits.argmax(1)]
    np.testing.assert_allclose(scores, logits, atol=1e-6)
    assert np.ptp(logits, axis=0).max() > 1e-3


@pytest.mark.slow
def test_finals_learn_from_everything_and_are_trials_too(searched) -> None:
    home, pairs = searched
    if pairs:
        pytest.skip("what follows a search does not know what was searched; asked of single texts")
    student = next(r for r in records(home) if r.end == "complete" and r.candidate.student == "bert")
    before = len(records(home))
    done = home.niwaki("finals", "small", str(student.number), "--seeds", "2", "--epochs", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    for _ in range(2):  # the second time nothing is left to do
        api.finals("small", [student.number], root=home.root, seeds=2, epochs=2)
        finals = [record for record in records(home) if record.final_of == student.number]
        assert [record.end for record in finals] == ["complete"] * 2, [record.reason for record in finals]
        assert len(records(home)) == before + 2
    assert {record.candidate.section("distill")["epochs"] for record in finals} == {2}
    assert len({record.candidate.seed for record in finals} | {student.candidate.seed}) == 3
    assert any("in full" in line for line in api.front_footer(api.front("small", root=home.root), home.root))
    with pytest.raises(ConfigError, match="no complete trial 99"):
        api.finals("small", [99], root=home.root)


@pytest.mark.slow
def test_the_sealed_test_scores_the_finals(searched) -> None:
    home, pairs = searched
    if pairs:
        pytest.skip("what follows a search does not know what was searched; asked of single texts")
    done = home.niwaki("front", "small", "--test", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    sealed = json.loads((home.search / "test.json").read_text())
    assert sealed["teacher"]["metrics"]["accuracy"] > 0.6
    (finals,) = sealed["finals"].values()
    scored = [sealed["trials"][str(number)]["metrics"]["accuracy"] for number in finals["trials"]]
    assert finals["mean"] == pytest.approx(np.mean(scored)) and finals["of_teacher_low"] <= finals["of_teacher"]
