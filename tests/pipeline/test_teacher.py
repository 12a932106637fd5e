from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from learning_helper import digits

from pipeline import tasks
from pipeline.config import TeacherTraining
from pipeline.errors import ConfigError, Failed, Unavailable
from pipeline.stages.export import Inputs, export
from pipeline.tasks import InputSpec
from pipeline.tasks._images import Images
from pipeline.teacher import REPORT, load_teacher, teacher_folder
from pipeline.teacher_cache import teacher_targets
from pipeline.teacher_training import train_teacher
from pipeline.training import logits_of

SHAPE = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
TRAINING = TeacherTraining(model_type="resnet", config=SHAPE, epochs=2, learning_rate=0.01, augment="none")
SIZE = 16
VIEW = {"input_size": SIZE}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def task(cache: Path) -> tasks.Task:
    return digits(cache)


@pytest.fixture(scope="module")
def trained(task: tasks.Task, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("teachers") / "small"
    train_teacher(TRAINING, task, out, view=VIEW)
    return out


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    """A copy of the trained teacher that a test may spoil."""
    return Path(shutil.copytree(trained, tmp_path / "teacher"))


def _change(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_training_stores_a_whole_folder_and_says_how_it_went(task: tasks.Task, tmp_path: Path) -> None:
    told: list[str] = []
    report = train_teacher(TRAINING, task, tmp_path / "t", view=VIEW, progress=told.append)
    assert len(told) == 2
    assert "epoch 2 of 2" in told[1]
    stored = json.loads((tmp_path / "t" / "niwaki_teacher.json").read_text())
    assert stored["metrics"] == report.metrics
    assert stored["data"] == task.fingerprint
    assert stored["view"] == VIEW
    names = {path.name for path in (tmp_path / "t").iterdir()}
    assert names == {"config.json", "model.safetensors", "preprocessor_config.json", "niwaki_teacher.json"}
    teacher = load_teacher(str(tmp_path / "t"), task)
    images = Images(task.pixels("validation", SIZE), task.mean, task.std)
    assert task.score(task.labels("validation"), logits_of(teacher.module, images)) == pytest.approx(report.metrics)


def test_training_is_deterministic(task: tasks.Task, trained: Path, tmp_path: Path) -> None:
    train_teacher(TRAINING, task, tmp_path / "again", view=VIEW)
    assert load_teacher(str(tmp_path / "again"), task).sha256 == load_teacher(str(trained), task).sha256


def test_a_training_that_fails_leaves_no_folder(task: tasks.Task, tmp_path: Path) -> None:
    with pytest.raises(Failed, match="time limit"):
        train_teacher(TRAINING, task, tmp_path / "t", view=VIEW, deadline=0.0)
    assert not list(tmp_path.iterdir())


def test_fine_tuning_starts_from_a_checkpoint_with_a_new_head(trained: Path, tmp_path: Path) -> None:
    two = digits(tmp_path / "cache", labels={str(number): "even" if number % 2 == 0 else "odd" for number in range(10)})
    training = TeacherTraining(from_checkpoint=str(trained), epochs=1, learning_rate=1e-6, augment="none")
    train_teacher(training, two, tmp_path / "tuned", view=VIEW)
    old, new = (
        load_teacher(str(place), task).module.model
        for place, task in ((trained, digits(tmp_path)), (tmp_path / "tuned", two))
    )
    assert new.config.id2label == {0: "even", 1: "odd"}
    stem = "resnet.embedder.embedder.convolution.weight"
    assert torch.allclose(old.state_dict()[stem], new.state_dict()[stem], atol=1e-4)


def test_the_folder_follows_recipe_and_data(tmp_path: Path) -> None:
    first = teacher_folder(tmp_path, "digits", TRAINING, "abc", VIEW)
    assert first == teacher_folder(tmp_path, "digits", TRAINING, "abc", VIEW)
    others = {
        teacher_folder(tmp_path, "digits", TRAINING, "abd", VIEW),
        teacher_folder(tmp_path, "digits", TRAINING, "abc", {"input_size": 32}),
        teacher_folder(tmp_path, "digits", TRAINING.model_copy(update={"epochs": 3}), "abc", VIEW),
    }
    assert first not in others
    assert len(others) == 3
    assert first.parent == tmp_path / "teachers"


def test_a_search_of_another_name_finds_the_same_teacher(tmp_path: Path) -> None:
    first = teacher_folder(tmp_path, "digits", TRAINING, "abc", VIEW)
    assert teacher_folder(tmp_path, "again", TRAINING, "abc", VIEW) != first
    first.mkdir(parents=True)
    assert teacher_folder(tmp_path, "again", TRAINING, "abc", VIEW) != first  # half trained
    (first / REPORT).write_text("{}")
    assert teacher_folder(tmp_path, "again", TRAINING, "abc", VIEW) == first
    assert teacher_folder(tmp_path, "again", TRAINING, "abd", VIEW) != first


def test_logits_and_features_belong_together(task: tasks.Task, trained: Path) -> None:
    teacher = load_teacher(str(trained), task)
    pixels = torch.randn(3, 1, SIZE, SIZE)
    logits, features = teacher.outputs(pixels)
    assert features is not None
    assert features.shape == (3, 16)
    head = teacher.module.model.classifier[-1]
    assert torch.allclose(head(features), logits, atol=1e-5)
    assert torch.equal(teacher.logits(pixels), logits)
    assert torch.equal(teacher.features(pixels), features)  # type: ignore[arg-type]


def test_a_vision_transformer_shows_its_features_and_takes_its_own_size(task: tasks.Task, tmp_path: Path) -> None:
    sizes = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "patch_size": 8,
    }
    training = TeacherTraining(model_type="vit", config=sizes, epochs=1)
    train_teacher(training, task, tmp_path / "vit", view=VIEW)
    teacher = load_teacher(str(tmp_path / "vit"), task)
    assert teacher.view["input_size"] == teacher.module.model.config.image_size == SIZE
    assert teacher.features(torch.zeros(2, 1, SIZE, SIZE)).shape == (2, 16)  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match="cannot read 1 x 24 x 24 inputs"):
        load_teacher(str(tmp_path / "vit"), task, size=24)


def test_classes_in_another_order_are_put_right(task: tasks.Task, trained: Path, folder: Path) -> None:
    names = [str(number) for number in range(10)]
    turned = [*names[1:], names[0]]
    _change(
        folder / "config.json",
        id2label={str(place): name for place, name in enumerate(turned)},
        label2id={name: place for place, name in enumerate(turned)},
    )
    pixels = torch.randn(2, 1, SIZE, SIZE)
    plain, permuted = load_teacher(str(trained), task), load_teacher(str(folder), task)
    assert permuted.notes
    assert not plain.notes
    assert torch.equal(permuted.logits(pixels)[:, 1:], plain.logits(pixels)[:, :-1])
    assert torch.equal(permuted.logits(pixels)[:, 0], plain.logits(pixels)[:, -1])


def test_another_normalisation_is_put_right_in_the_file_too(
    task: tasks.Task, trained: Path, folder: Path, tmp_path: Path
) -> None:
    _change(folder / "preprocessor_config.json", image_mean=[0.5], image_std=[0.25])
    plain, other = load_teacher(str(trained), task), load_teacher(str(folder), task)
    raw = torch.rand(2, 1, SIZE, SIZE)
    ours = (raw - task.mean[0]) / task.std[0]
    theirs = (raw - 0.5) / 0.25
    assert torch.allclose(other.logits(ours), plain.logits(theirs), atol=1e-4)
    assert "another normalisation" in other.notes[0]
    inputs = Inputs((InputSpec("pixels"),), (ours[:1],), others=[(ours[1:],)])
    assert export(other.module, inputs, tmp_path / "t.onnx").exporter == "tracing"


def test_the_hash_is_of_the_weights(task: tasks.Task, trained: Path, folder: Path) -> None:
    from safetensors.numpy import load_file, save_file

    first = load_teacher(str(trained), task).sha256
    assert load_teacher(str(folder), task).sha256 == first
    weights = load_file(folder / "model.safetensors")
    name = "classifier.1.bias"
    save_file({**weights, name: weights[name] + 1}, folder / "model.safetensors", metadata={"format": "pt"})
    assert load_teacher(str(folder), task).sha256 != first


def _only_a_pickle(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(_Bomb()))


class _Bomb:
    def __reduce__(self) -> Any:
        return Path.write_text, (Path("exploded"), "boom")


def _cut_short(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])


def _without_head(folder: Path) -> None:
    from safetensors.numpy import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in weights.items() if not name.startswith("classifier")}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


def _labels(folder: Path, names: list[str]) -> None:
    _change(
        folder / "config.json",
        id2label={str(place): name for place, name in enumerate(names)},
        label2id={name: place for place, name in enumerate(names)},
    )


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_only_a_pickle, ["pytorch_model.bin", "can execute code", "save_pretrained(folder, safe_serialization=True)"]),
        (_cut_short, ["not a whole safetensors file", "copy it again"]),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"junk"), ["not a whole safetensors file"]),
        (lambda folder: (folder / "model.safetensors").unlink(), ["holds no weights"]),
        (lambda folder: (folder / "config.json").unlink(), ["has no config.json"]),
        (lambda folder: (folder / "config.json").write_text("{"), ["cannot be loaded"]),
        (
            lambda folder: _change(folder / "config.json", model_type="bert"),
            ["cannot be loaded as an image classifier"],
        ),
        (_without_head, ["lacks 2 weights (classifier.1.bias", "would be random"]),
        (lambda folder: _labels(folder, [f"class {n}" for n in range(10)]), ["class 0, class 1", "Task (10): 0, 1, 2"]),
        (lambda folder: (folder / "preprocessor_config.json").write_text("["), ["is not JSON"]),
        (
            lambda folder: _change(folder / "preprocessor_config.json", image_mean=[0.5] * 3, image_std=[0.2] * 3),
            ["reads 3 channels", "`channels: 3`"],
        ),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_spoilt_teachers_are_sentences(
    spoil: Any, words: list[str], task: tasks.Task, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    spoil(folder)
    with pytest.raises(ConfigError) as caught:
        load_teacher(str(folder), task)
    assert all(part in str(caught.value) for part in words), str(caught.value)
    assert not Path("exploded").exists()


def test_places_that_are_none(task: tasks.Task, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="is a file"):
        load_teacher(str(tmp_path / "file"), task)
    with pytest.raises(ConfigError, match="there is no folder"):
        load_teacher(str(tmp_path / "nothing"), task)


def test_a_hub_that_cannot_be_reached_is_unavailable(task: tasks.Task, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoModelForImageClassification

    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError("We couldn't connect")

    monkeypatch.setattr(AutoModelForImageClassification, "from_pretrained", refuse)
    with pytest.raises(Unavailable, match="'owner/model' cannot be fetched: We couldn't connect"):
        load_teacher("owner/model", task)


def test_a_recipe_that_makes_no_classifier_is_a_sentence(task: tasks.Task, tmp_path: Path) -> None:
    for training in (
        TeacherTraining(model_type="resnot"),
        TeacherTraining(model_type="bert"),
        TeacherTraining(model_type="resnet", config={**SHAPE, "layer_type": "fancy"}),
    ):
        with pytest.raises(ConfigError, match="makes no image classifier"):
            train_teacher(training, task, tmp_path / "t", view=VIEW)


def test_answers_are_computed_once_for_every_view(task: tasks.Task, trained: Path, tmp_path: Path) -> None:
    teacher, told = load_teacher(str(trained), task), []
    targets = teacher_targets(teacher, task, tmp_path, progress=told.append)
    assert len(told) == 3
    images = Images(task.pixels("train", SIZE), task.mean, task.std)
    assert np.allclose(targets.logits("train"), logits_of(teacher.module, images), atol=1e-4)
    flipped = Images(task.pixels("train", SIZE)[..., ::-1].copy(), task.mean, task.std)
    assert np.allclose(targets.logits("train", "mirrored"), logits_of(teacher.module, flipped), atol=1e-4)
    features = targets.features("validation")
    assert features is not None
    assert (features.dtype, features.shape) == (np.float16, (task.rows("validation"), 16))
    again = teacher_targets(teacher, task, tmp_path, progress=told.append)
    assert len(told) == 3
    assert np.array_equal(again.logits("validation"), targets.logits("validation"))


def test_answers_follow_teacher_data_and_preprocessing(task: tasks.Task, trained: Path, tmp_path: Path) -> None:
    teacher = load_teacher(str(trained), task)
    plain = digits(tmp_path / "cache", augmentations=["none"])
    first = teacher_targets(teacher, plain, tmp_path)
    assert not first.mirrored
    fewer = digits(tmp_path / "cache", rows=200, augmentations=["none"])
    assert len(teacher_targets(teacher, fewer, tmp_path).logits("train")) == fewer.rows("train")
    assert len(list((tmp_path / "answers").iterdir())) == 2


def test_answers_that_are_not_finite_are_refused(task: tasks.Task, trained: Path, tmp_path: Path) -> None:
    teacher = load_teacher(str(trained), task)
    with torch.no_grad():
        teacher.module.model.classifier[-1].bias[0] = float("nan")
    with pytest.raises(ConfigError, match="NaN or infinite"):
        teacher_targets(teacher, task, tmp_path)
    assert not list(tmp_path.rglob("logits.npy"))
