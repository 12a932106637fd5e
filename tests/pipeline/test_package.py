from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from records_helper import TEACHER, make_record

from pipeline.artifact import sha256_of
from pipeline.energy_words import energy_sentence
from pipeline.errors import ConfigError, Unavailable
from pipeline.package import FILES, write_package
from pipeline.record import TrialRecord

SIZE = 6
BLOCKED = (
    "torch",
    "transformers",
    "pipeline",
    "search_spaces",
    "hardware_targets",
    "onnx",
    "optuna",
    "mlflow",
    "sklearn",
)
# Blocks imports in the child, then runs predict.py's functions from another folder.
CHILD = f"""
import importlib.abc, json, sys
class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {BLOCKED!r}:
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Block())
sys.path.insert(0, sys.argv[1])
import predict
from PIL import Image
images = sys.argv[2:]
print(json.dumps({{
    "logits": [predict.logits(path).tolist() for path in images],
    "opened": predict.logits(Image.open(images[0])).tolist(),
    "labels": [predict.predict(path) for path in images],
}}))
"""


def _model(path: Path, channels: int, classes: int = 3) -> np.ndarray:
    """Flatten and multiply by random weights; returns the weights."""
    weights = np.random.default_rng(0).normal(size=(channels * SIZE * SIZE, classes)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["pixels"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        ],
        "linear",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [1, channels, SIZE, SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, classes])],
        [numpy_helper.from_array(weights, "weights")],
    )
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 17)]), path)
    return weights


def _parts(folder: Path, channels: int = 3, **changes: Any) -> dict[str, Any]:
    model = folder / "trial" / "model.onnx"
    model.parent.mkdir(exist_ok=True)
    _model(model, channels)
    record = make_record(
        12, 0.91, 4.0, scheme="static_int8", parameters={"distill.temperature": 4.0, "prune.ratio": 0.25}
    )
    return {
        "record": record.with_(artifact={**(record.artifact or {}), "sha256": sha256_of(model)}),
        "model": model,
        "preprocessing": {
            "size": SIZE, "channels": channels, "mean": [0.1, 0.2, 0.3][:channels], "std": [0.5, 0.6, 0.7][:channels],
            "resample": "bilinear",
        },
        "classes": ["cat", "dog", "größer | als"],
        "quality": "accuracy",
        "teacher": TEACHER,
        "teacher_intervals": {"accuracy": [0.94, 0.96]},
        "selection": {
            "sha256": "-", "rows": 300, "metrics": {"accuracy": 0.905, "macro_f1": 0.9},
            "intervals": {"accuracy": [0.87, 0.93]},
        },
        "budget": {"latency_p50_ms": 5.0},
        "choice": {"ties": [7, 9], "fastest_tie": 9, "knee": False, "alias": "latency_p50_ms-5"},
        "search": {
            "name": "pets", "data": "/home/someone/data/pet_images", "rows": {"train": 900}, "trials": 30,
            "target": "local_cpu", "threads": 1, "hardware": {}, "teacher": {"path": "/home/someone/teacher"},
        },
        "energy": energy_sentence("modelled-generic", "package", "10 W per busy core"),
        **changes,
    }  # fmt: skip


def _expected(image: Image.Image, weights: np.ndarray, channels: int) -> np.ndarray:
    image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (SIZE, SIZE):
        image = image.resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    pixels = np.asarray(image, np.float32).reshape(SIZE, SIZE, channels) / np.float32(255)
    mean, std = np.array([0.1, 0.2, 0.3][:channels], np.float32), np.array([0.5, 0.6, 0.7][:channels], np.float32)
    return ((pixels - mean) / std).transpose(2, 0, 1).reshape(-1) @ weights


@pytest.mark.parametrize("channels", [1, 3])
def test_the_folder_predicts_without_niwaki_or_torch_from_anywhere(channels: int, tmp_path: Path) -> None:
    parts = _parts(tmp_path, channels)
    weights = _model(parts["model"], channels)
    out = write_package(tmp_path / "picked", **parts)
    random, images = np.random.default_rng(1), []
    for index, (shape, mode) in enumerate([((SIZE, SIZE), "RGB"), ((17, 9), "RGBA"), ((SIZE, SIZE), "L")]):
        bands = {"RGB": 3, "RGBA": 4, "L": 1}[mode]
        array = random.integers(0, 256, (*shape, bands), dtype=np.uint8)
        images.append(tmp_path / f"{index}.png")
        Image.fromarray(array.squeeze() if bands == 1 else array, mode=None).save(images[-1])
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    command = [sys.executable, "-W", "error", "-c", CHILD, str(out), *map(str, images)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=elsewhere, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for path, logits, (label, share) in zip(images, found["logits"], found["labels"], strict=True):
        with Image.open(path) as image:
            expected = _expected(image, weights, channels)
        np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
        assert label == parts["classes"][int(expected.argmax())]
        softmax = np.exp(expected - expected.max()) / np.exp(expected - expected.max()).sum()
        assert share == pytest.approx(softmax.max(), rel=1e-4)
    assert found["opened"] == found["logits"][0]


def test_the_command_prints_label_and_probability(tmp_path: Path) -> None:
    out = write_package(tmp_path / "picked", **_parts(tmp_path))
    Image.new("RGB", (20, 20), "red").save(tmp_path / "red.png")
    run = [sys.executable, str(out / "predict.py")]
    done = subprocess.run([*run, "red.png"], capture_output=True, text=True, cwd=tmp_path, check=True)
    path, *label, share = done.stdout.split()
    assert path == "red.png" and " ".join(label) in ("cat", "dog", "größer | als") and 1 / 3 <= float(share) <= 1
    empty = subprocess.run(run, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert empty.returncode == 1 and "python predict.py image.png" in empty.stderr


def test_predict_is_short() -> None:
    from importlib.resources import files

    lines = files("pipeline").joinpath("templates/predict.py.txt").read_text(encoding="utf-8").splitlines()
    assert sum(bool(line.strip()) for line in lines) <= 34


def test_the_folder_holds_the_measured_bytes_and_every_figure(tmp_path: Path) -> None:
    parts = _parts(tmp_path)
    out = write_package(tmp_path / "deep" / "picked", **parts)
    assert sorted(path.name for path in out.iterdir()) == sorted(FILES)
    assert sha256_of(out / "model.onnx") == parts["record"].artifact["sha256"]
    pick = json.loads((out / "pick.json").read_text())
    assert pick["trial"] == 12 and pick["budget"] == {"latency_p50_ms": 5.0} and pick["choice"]["ties"] == [7, 9]
    assert pick["metrics"]["accuracy"] == 0.91 and pick["selection"]["metrics"]["accuracy"] == 0.905
    assert json.loads((out / "labels.json").read_text()) == parts["classes"]
    assert json.loads((out / "preprocessor.json").read_text()) == parts["preprocessing"]
    assert [path.name for path in out.parent.iterdir()] == ["picked"]  # nothing half-made is left beside it


def test_no_path_of_the_machine_leaves_with_the_folder(tmp_path: Path) -> None:
    out = write_package(tmp_path / "picked", **_parts(tmp_path))
    for name in ("pick.json", "README.md"):
        text = (out / name).read_text()
        assert "/home/someone" not in text and str(tmp_path) not in text
        assert "pet_images" in text


def test_the_card_has_metadata_that_the_hub_can_read(tmp_path: Path) -> None:
    card = (write_package(tmp_path / "picked", **_parts(tmp_path, licence="apache-2.0")) / "README.md").read_text()
    head, body = card.removeprefix("---\n").split("\n---\n", 1)
    data = yaml.safe_load(head)
    assert data["library_name"] == "onnx" and data["pipeline_tag"] == "image-classification"
    assert data["license"] == "apache-2.0"
    assert {"quantization", "pruning", "knowledge-distillation"} <= set(data["tags"])
    (result,) = data["model-index"][0]["results"]
    assert result["dataset"]["name"] == "pet_images" and result["dataset"]["split"] == "selection"
    assert {"type": "accuracy", "value": 0.905, "name": "accuracy (selection)"} in result["metrics"]
    assert {"type": "f1", "value": 0.9, "name": "macro_f1 (selection)"} in result["metrics"]
    assert body.lstrip().startswith("# pets: convnet, trial 12") and "$" not in body


def unreliable(record: TrialRecord) -> TrialRecord:
    """The same, timed on a disturbed machine."""
    measurement = record.measurement or {}
    return record.with_(measurement={**measurement, "latency": {**measurement.get("latency", {}), "unreliable": True}})


def test_the_card_says_that_times_are_unreliable(tmp_path: Path) -> None:
    parts = _parts(tmp_path)
    quiet = (write_package(tmp_path / "picked", **parts) / "README.md").read_text()
    busy = write_package(tmp_path / "other", **{**parts, "record": unreliable(parts["record"])})
    assert "disturbed machine" not in quiet
    assert "* It was timed on a disturbed machine, so its times are unreliable." in (busy / "README.md").read_text()
    assert json.loads((busy / "statement.json").read_text())["unreliable"] is True


def test_the_card_gives_every_figure_beside_the_teachers(tmp_path: Path) -> None:
    parts = _parts(tmp_path)
    card = (write_package(tmp_path / "picked", **parts) / "README.md").read_text()
    for name in parts["record"].metrics:
        assert f"| {name}" in card
    assert "| accuracy on validation | 0.9100 [0.900, 0.920] | 0.9500 [0.940, 0.960] |" in card
    assert "| speedup | 5x" in card and "kind: modelled-generic" in card and "ranks nothing across precisions" in card
    assert "Example CPU 1000" in card and parts["record"].artifact["sha256"] in card
    assert "for latency_p50_ms <= 5" in card and "trial 7, 9" in card
    assert "0.9050 [0.870, 0.930]" in card and "not scored on a test split" in card
    assert "niwaki does not know them" in card and "größer &#124; als" not in card.split("## Figures")[0]


def test_the_card_shows_the_sealed_test_figures(tmp_path: Path) -> None:
    metrics, teacher = {"accuracy": 0.9, "macro_f1": 0.89}, {"accuracy": 0.944, "macro_f1": 0.94}
    test = {"rows": 500, "date": "2026-11-24T00:00:00", "metrics": metrics, "teacher": teacher}
    card = (write_package(tmp_path / "picked", **_parts(tmp_path, test=test)) / "README.md").read_text()
    assert (
        "| test | chose nothing; 500 rows, scored once, 2026-11-24 | 0.9000 [0.871, 0.923] | 0.9440 [0.920, 0.961] |"
        in card
    )
    assert "accuracy (test)" in card and "not scored on a test split" not in card


def test_an_earlier_pick_is_replaced_and_anything_else_is_left_alone(tmp_path: Path) -> None:
    parts, out = _parts(tmp_path), tmp_path / "picked"
    write_package(out, **parts)
    write_package(out, **{**parts, "classes": ["a", "b", "c"]})
    assert json.loads((out / "labels.json").read_text()) == ["a", "b", "c"]
    (out / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"also holds notes\.txt"):
        write_package(out, **parts)
    assert (out / "notes.txt").read_text() == "mine"


def test_places_that_are_no_pick_are_refused(tmp_path: Path) -> None:
    parts = _parts(tmp_path)
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.txt").write_text("years")
    file = tmp_path / "file"
    file.write_text("x")
    forged = tmp_path / "forged"
    forged.mkdir()
    (forged / "pick.json").write_text("not json")
    for place in (full, file, forged):
        with pytest.raises(ConfigError, match="--out"):
            write_package(place, **parts)
    with pytest.raises(ConfigError, match=r"cannot be written.*--out"):
        write_package(file / "below", **parts)
    assert (full / "thesis.txt").read_text() == "years" and file.read_text() == "x"
    empty = tmp_path / "empty"
    empty.mkdir()
    assert write_package(empty, **parts) == empty


def test_a_failure_half_way_leaves_the_earlier_pick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts, out = _parts(tmp_path), tmp_path / "picked"
    write_package(out, **parts)

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipeline.package.write_json", full_disk)
    with pytest.raises(Unavailable, match="disk is full"):
        write_package(out, **parts)
    assert sorted(path.name for path in out.iterdir()) == sorted(FILES)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["picked", "trial"]


def test_a_model_that_is_not_the_measured_one_is_refused(tmp_path: Path) -> None:
    parts = _parts(tmp_path)
    parts["model"].write_bytes(parts["model"].read_bytes() + b"\0")
    with pytest.raises(ConfigError, match="niwaki rerun pets 12"):
        write_package(tmp_path / "picked", **parts)
    parts["model"].unlink()
    with pytest.raises(ConfigError, match="is gone"):
        write_package(tmp_path / "picked", **parts)
    assert not (tmp_path / "picked").exists()


def _text_parts(folder: Path, texts: int) -> dict[str, Any]:
    said = {"texts": texts, "inputs": ["input_ids"], "max_length": 64, "vocabulary": "used"}
    files = {"tokenizer.json": b"{}"}
    return _parts(folder, preprocessing=said, kind="text", template="predict_text.py.txt", files=files)


def test_a_folder_for_texts_has_its_tokenizer_and_its_words(tmp_path: Path) -> None:
    out = write_package(tmp_path / "picked", **_text_parts(tmp_path, 1))
    assert {path.name for path in out.iterdir()} == {*FILES, "tokenizer.json"}
    assert "tokenizers" in (out / "predict.py").read_text(encoding="utf-8")
    readme = (out / "README.md").read_text(encoding="utf-8")
    head = yaml.safe_load(readme.split("---")[1])
    assert head["pipeline_tag"] == head["model-index"][0]["results"][0]["task"]["type"] == "text-classification"
    for words in ("A text classifier", 'predict("a text")', "onnxruntime numpy tokenizers", "the first 64 of them",
                  "pieces left that the training texts use", "whatever the text says", "on other texts"):  # fmt: skip
        assert words in readme
    assert "pixel" not in readme


def test_two_texts_are_shown_as_two_and_an_earlier_pick_may_be_of_another_kind(tmp_path: Path) -> None:
    out = write_package(tmp_path / "picked", **_text_parts(tmp_path, 2))
    assert 'predict.py "a text" "another"' in (out / "README.md").read_text(encoding="utf-8")
    write_package(out, **_parts(tmp_path))
    assert {path.name for path in out.iterdir()} == set(FILES)
    (out / "tokenizer.json").write_text("mine")
    with pytest.raises(ConfigError, match=r"also holds tokenizer\.json"):
        write_package(out, **_parts(tmp_path))
