"""Teachers of texts: fine-tuned with their tokenizer, loaded, exported without a mask, and what they answer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import text_data
import torch

from hardware_targets import load_feeds
from pipeline import tasks
from pipeline.config import TaskConfig, TeacherTraining
from pipeline.errors import ConfigError
from pipeline.importance import stored_importance
from pipeline.stages.export import Inputs, export
from pipeline.stages.inherit import inherit
from pipeline.teacher import load_teacher, teacher_folder
from pipeline.teacher_cache import teacher_targets
from pipeline.teacher_training import train_teacher
from pipeline.training import logits_of
from search_spaces import load_family

torch.set_num_threads(1)
VIEW = {"max_length": 32, "vocabulary": "full"}


def make_task(folder: Path, checkpoint: Path, pairs: bool = False, **changes: Any) -> tasks.Task:
    data = text_data.write_texts(folder / f"texts-{pairs}", rows=240, pairs=pairs)
    columns = {"text": "sentence1", "text_pair": "sentence2"} if pairs else {}
    fields = {
        "kind": "text_classification",
        "data": {"source": "folder", "path": str(data)},
        "tokenizer": str(checkpoint),
        "max_length": 32,
        **columns,
    }
    return tasks.load(TaskConfig(**{**fields, **changes}), folder / "cache")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("text")


@pytest.fixture(scope="module")
def checkpoint(place: Path) -> Path:
    return text_data.write_tiny_bert(place / "checkpoint")


@pytest.fixture(scope="module", params=[False, True], ids=["texts", "pairs"])
def task(request: pytest.FixtureRequest, place: Path, checkpoint: Path) -> tasks.Task:
    return make_task(place, checkpoint, request.param)


@pytest.fixture(scope="module")
def single(place: Path, checkpoint: Path) -> tasks.Task:
    return make_task(place, checkpoint)


def test_fine_tuning_keeps_the_best_epoch_and_the_tokenizer(
    single: tasks.Task, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the second epoch is made to look worst, and the first is as good as the third: it is the one that is kept
    scores = iter([0.9, 0.1, 0.9])
    real = single.score
    monkeypatch.setattr(single, "score", lambda *given: {**real(*given), "accuracy": next(scores)})
    training = TeacherTraining(from_checkpoint=str(checkpoint), epochs=3, batch_size=16, learning_rate=1e-3)
    report = train_teacher(training, single, tmp_path / "t", view=VIEW)
    monkeypatch.undo()
    assert report.best_epoch == 1
    names = {path.name for path in (tmp_path / "t").iterdir()}
    assert names == {"config.json", "model.safetensors", "tokenizer.json", "niwaki_teacher.json"}
    teacher = load_teacher(str(tmp_path / "t"), single)
    found = logits_of(teacher.module, single.batches("validation", VIEW))
    assert real(single.labels("validation"), found) == pytest.approx(report.metrics)
    one = TeacherTraining(from_checkpoint=str(checkpoint), epochs=3, batch_size=16, learning_rate=1e-3, seed=1)
    folders = {teacher_folder(tmp_path, "x", recipe, "abc", VIEW) for recipe in (training, one)}
    assert len(folders) == 2


def test_a_padded_batch_answers_as_single_texts_do(task: tasks.Task, checkpoint: Path) -> None:
    teacher = load_teacher(str(checkpoint), task)
    assert teacher.view == VIEW
    feeds = load_feeds(task.feeds("validation", VIEW))
    batched = logits_of(teacher.module, task.batches("validation", VIEW), 16)
    for row in (0, 5, 11):
        inputs = {name: torch.from_numpy(np.array(value)) for name, value in feeds[row].items()}
        with torch.no_grad():
            alone = teacher.module(**inputs).numpy()[0]
        np.testing.assert_allclose(alone, batched[row], atol=1e-5)


def test_the_exported_teacher_answers_the_same_at_every_length(
    task: tasks.Task, checkpoint: Path, tmp_path: Path
) -> None:
    teacher = load_teacher(str(checkpoint), task)
    made = export(teacher.module, Inputs.of(task, VIEW), tmp_path / "t.onnx")
    assert made.exporter == "tracing"
    assert made.inputs == tuple(spec.name for spec in task.io())
    assert "attention_mask" not in made.inputs
    session = onnxruntime.InferenceSession(str(made.path), providers=["CPUExecutionProvider"])
    feeds = load_feeds(task.feeds("validation", VIEW))
    found = np.concatenate([session.run(None, dict(feed))[0] for feed in feeds])
    wanted = logits_of(teacher.module, task.batches("validation", VIEW))
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert len({feed["input_ids"].shape for feed in feeds}) > 3


def test_answers_stand_by_row_and_features_are_what_the_classifier_reads(
    single: tasks.Task, checkpoint: Path, tmp_path: Path
) -> None:
    teacher = load_teacher(str(checkpoint), single)
    targets = teacher_targets(teacher, single, tmp_path)
    assert not targets.mirrored
    wanted = logits_of(teacher.module, single.batches("train", VIEW), 7)
    np.testing.assert_allclose(targets.logits("train"), wanted, atol=1e-5)
    features = targets.features("train")
    assert features is not None
    head = teacher.module.model.classifier
    with torch.no_grad():
        again = head(torch.from_numpy(features.astype(np.float32))).numpy()
    np.testing.assert_allclose(again, wanted, atol=5e-3)


def test_importance_is_measured_once(single: tasks.Task, checkpoint: Path, tmp_path: Path) -> None:
    teacher = load_teacher(str(checkpoint), single)
    first = stored_importance(teacher, single, tmp_path)
    (path,) = (tmp_path / "importance").iterdir()
    moment = path.stat().st_mtime_ns
    again = stored_importance(teacher, single, tmp_path)
    assert path.stat().st_mtime_ns == moment
    assert first.heads.shape == (2, 4)
    np.testing.assert_array_equal(first.hidden, again.hidden)


def test_classes_in_another_order_are_inherited_in_the_task_s(
    single: tasks.Task, checkpoint: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(checkpoint, tmp_path / "turned"))
    config = json.loads((folder / "config.json").read_text())
    names = list(reversed(text_data.CLASSES))
    config |= {"id2label": dict(enumerate(names)), "label2id": {name: place for place, name in enumerate(names)}}
    (folder / "config.json").write_text(json.dumps(config))
    teacher = load_teacher(str(folder), single)
    assert teacher.notes
    family = load_family("bert")
    whole = {axis: dimension.start for axis, dimension in family.dimensions(single.task_input()).items()}
    shape = family.shape({**whole, "layers": 2, "layer_map": "first"}, single.task_input())
    module = family.build(shape).eval()
    order = teacher.module.order.tolist()
    inherit(module, shape, teacher.module.model, how="truncation", importance=None, kept_pieces=None, order=order)
    served = single.batches("validation", VIEW)
    np.testing.assert_allclose(logits_of(module, served), logits_of(teacher.module, served), atol=1e-5)


def test_what_cannot_be_is_a_sentence(single: tasks.Task, checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="fine-tuned, not made from nothing"):
        train_teacher(TeacherTraining(model_type="bert"), single, tmp_path / "t", view=VIEW)
    bare = Path(shutil.copytree(checkpoint, tmp_path / "bare"))
    from safetensors.numpy import load_file, save_file

    weights = load_file(bare / "model.safetensors")
    kept = {name: value for name, value in weights.items() if not name.startswith("classifier")}
    save_file(kept, bare / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"lacks 2 weights .*fine-tune it: `teacher: {train: {from_checkpoint"):
        load_teacher(str(bare), single)
    with pytest.raises(ConfigError, match="cannot be loaded as a text classifier"):
        (bare / "config.json").write_text(json.dumps({"model_type": "resnet"}))
        load_teacher(str(bare), single)
