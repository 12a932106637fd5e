from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pipeline.artifact import TorchArtifact
from pipeline.errors import ConfigError, Unavailable
from pipeline.stages.prune import prune
from pipeline.student_files import SHAPE, WEIGHTS, load_student, save_student
from search_spaces import ImageInput, load_family

torch.set_num_threads(1)

INPUT = ImageInput(3, 16, 4)
PIXELS = torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def student(name: str, pruned: bool) -> TorchArtifact:
    torch.manual_seed(0)
    family = load_family(name)
    shape = family.shape({axis: dimension.start for axis, dimension in family.dimensions(INPUT).items()}, INPUT)
    artifact = TorchArtifact(family.build(shape), name, shape)
    artifact.module.train()(PIXELS)  # moves the running means of normalisation away from 0
    artifact.module.eval()
    if pruned:
        artifact, _ = prune(
            artifact,
            family,
            ratio=0.5,
            criterion="magnitude",
            round_to=4,
            example=PIXELS[:1],
            gradient_batches=None,
        )
    return artifact


@pytest.mark.parametrize("pruned", [False, True])
@pytest.mark.parametrize("name", ["convnet", "transformer"])
def test_reloaded_student_answers_identically(tmp_path: Path, name: str, pruned: bool) -> None:
    artifact = student(name, pruned)
    save_student(tmp_path / "new" / "folder", artifact)
    again = load_student(tmp_path / "new" / "folder")
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == [SHAPE, WEIGHTS]
    assert (again.family, dict(again.shape)) == (name, dict(artifact.shape))
    assert torch.equal(again.module(PIXELS), artifact.module(PIXELS))
    assert not again.module.training
    # and it can be trained on
    again.module(PIXELS).sum().backward()
    assert all(parameter.grad is not None for parameter in again.module.parameters())


def test_saving_again_replaces(tmp_path: Path) -> None:
    save_student(tmp_path, student("convnet", False))
    save_student(tmp_path, student("transformer", False))
    assert load_student(tmp_path).family == "transformer"


def _shape(change: Callable[[dict[str, object]], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        shape = json.loads((folder / SHAPE).read_text(encoding="utf-8"))
        (folder / SHAPE).write_text(json.dumps(change(shape)), encoding="utf-8")

    return damage


def _pickled(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(pickle.dumps({"stem.0.weight": [1.0]}))


def _torch_saved(folder: Path) -> None:
    torch.save({"stem.0.weight": torch.zeros(3)}, folder / WEIGHTS)


def _cut_short(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-100])


def _huge_header(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", 2**60) + b"{}")


def _tensors(change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        tensors = {name: tensor.clone() for name, tensor in load_file(folder / WEIGHTS).items()}
        (folder / WEIGHTS).unlink()
        save_file(change(tensors), folder / WEIGHTS)

    return damage


def _one_less(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if name != "classifier.bias"}


def _half_precision(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.half() for name, tensor in tensors.items()}


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / SHAPE).unlink(), r"there is no .*shape\.json"),
        (lambda folder: (folder / WEIGHTS).unlink(), r"there is no .*student\.safetensors"),
        (lambda folder: (folder / SHAPE).write_text("{", encoding="utf-8"), "cannot be read as JSON"),
        (lambda folder: (folder / SHAPE).write_bytes(b"\xff\xfe"), "cannot be read as JSON"),
        (lambda folder: (folder / SHAPE).write_text("[]", encoding="utf-8"), "names no student family"),
        (_shape(lambda shape: {**shape, "family": "convnett"}), "did you mean 'convnet'"),
        (_shape(lambda shape: {**shape, "family": "../convnet"}), "no student family named"),
        (_shape(lambda shape: {"family": shape["family"]}), "describes no convnet"),
        (_shape(lambda shape: {**shape, "stem": "sixteen"}), "describes no convnet"),
        (_shape(lambda shape: {**shape, "block": "dense"}), "describes no convnet"),
        (_shape(lambda shape: {**shape, "stages": 3}), "describes no convnet"),
        (_shape(lambda shape: {**shape, "stem": 24}), r"is \(16, 3, 3, 3\) float32, not \(24, 3, 3, 3\)"),
        (_shape(lambda shape: {**shape, "stages": [[2**20], [2**20], [2**20]]}), "does not fit"),
        (_pickled, "pickled or damaged files are never loaded"),
        (_torch_saved, "pickled or damaged files are never loaded"),
        (_cut_short, "is not a safetensors file"),
        (_huge_header, "is not a safetensors file"),
        (_tensors(_one_less), "'classifier.bias' is in only one"),
        (_tensors(_half_precision), "float16"),
    ],
)
def test_damaged_student_is_a_sentence(tmp_path: Path, damage: Callable[[Path], object], words: str) -> None:
    save_student(tmp_path, student("convnet", False))
    damage(tmp_path)
    with pytest.raises(ConfigError, match=words):
        load_student(tmp_path)


def test_weights_that_are_a_folder(tmp_path: Path) -> None:
    save_student(tmp_path, student("convnet", False))
    (tmp_path / WEIGHTS).unlink()
    (tmp_path / WEIGHTS).mkdir()
    with pytest.raises(ConfigError, match="is not a safetensors file"):
        load_student(tmp_path)


def test_a_failed_write_leaves_the_old_student(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = student("convnet", False)
    save_student(tmp_path, artifact)

    def full(tensors: object, path: Path, **_: object) -> None:  # noqa: ARG001
        path.write_bytes(b"half")
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(Unavailable, match="the disk is full"):
        save_student(tmp_path, student("transformer", False))
    assert torch.equal(load_student(tmp_path).module(PIXELS), artifact.module(PIXELS))
    assert sorted(path.name for path in tmp_path.iterdir()) == [SHAPE, WEIGHTS]
