from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from learning_helper import TinyNet
from torch import nn

from pipeline.artifact import OnnxArtifact, sha256_of
from pipeline.errors import ConfigError, Failed, Refused
from pipeline.stages.export import export
from pipeline.stages.quantize import SCHEMES, quantize
from pipeline.teacher import TeacherModule

SIZE = 32
ROWS = [{"pixels": row} for row in np.random.default_rng(0).normal(size=(12, 1, 1, SIZE, SIZE)).astype(np.float32)]


def _transformers(kind: str, **config: Any) -> nn.Module:
    from transformers import AutoConfig, AutoModelForImageClassification

    shape = AutoConfig.for_model(kind, num_channels=1, num_labels=4, **config)
    return TeacherModule(AutoModelForImageClassification.from_config(shape))


def _module(name: str) -> nn.Module:
    if name == "cnn":
        return TinyNet(classes=4)
    if name == "resnet":
        return _transformers("resnet", embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    return _transformers("vit", image_size=SIZE, patch_size=8, **sizes)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, OnnxArtifact]:
    folder = tmp_path_factory.mktemp("plain")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return {
            name: export(_module(name), (1, 1, SIZE, SIZE), folder / f"{name}.onnx")
            for name in ("cnn", "resnet", "vit")
        }


def _answers(path: Path) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, row)[0] for row in ROWS])


def _kinds(path: Path) -> set[str]:
    return {node.op_type for node in onnx.load(path).graph.node}


@pytest.mark.parametrize(
    ("model", "scheme", "per_channel", "operator"),
    [
        ("cnn", "none", False, "Conv"),
        ("cnn", "fp16", False, "Cast"),
        ("cnn", "static_int8", False, "QuantizeLinear"),
        ("cnn", "static_int8", True, "QuantizeLinear"),
        ("resnet", "fp16", False, "Cast"),
        ("resnet", "static_int8", True, "QuantizeLinear"),
        ("vit", "fp16", False, "Cast"),
        ("vit", "dynamic_int8", False, "MatMulInteger"),
        ("vit", "dynamic_int8", True, "MatMulInteger"),
        ("vit", "static_int8", True, "QuantizeLinear"),
        ("vit", "weight_int8", False, "MatMulNBits"),
    ],
)
def test_each_scheme_gives_a_file_that_runs_and_answers_nearly_alike(
    model: str,
    scheme: str,
    per_channel: bool,
    operator: str,
    plain: dict[str, OnnxArtifact],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    made = quantize(plain[model], tmp_path / "q.onnx", scheme, per_channel=per_channel, calibration=iter(ROWS))
    assert capfd.readouterr() == ("", "")
    assert made.precision == scheme
    assert (made.sha256, made.size_bytes) == (sha256_of(made.path), made.path.stat().st_size)
    assert (made.macs, made.parameters) == (plain[model].macs, plain[model].parameters)
    assert operator in _kinds(made.path)
    wanted, found = _answers(plain[model].path), _answers(made.path)
    assert found.dtype == np.float32
    assert np.abs(found - wanted).max() < 0.1 * np.abs(wanted).max()
    assert np.array_equal(found, wanted) == (scheme == "none")
    assert [path.name for path in tmp_path.iterdir()] == ["q.onnx"]


def test_static_activations_are_unsigned_and_weights_signed(plain: dict[str, OnnxArtifact], tmp_path: Path) -> None:
    made = quantize(plain["cnn"], tmp_path / "q.onnx", "static_int8", per_channel=True, calibration=ROWS)
    graph = onnx.load(made.path).graph
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    activations = {kinds[node.input[2]] for node in graph.node if node.op_type == "QuantizeLinear"}
    weights = {
        kinds[node.input[0]] for node in graph.node if node.input[0] in kinds and node.op_type == "DequantizeLinear"
    }
    assert activations == {onnx.TensorProto.UINT8}
    assert weights <= {onnx.TensorProto.INT8, onnx.TensorProto.INT32}  # 32 bits for biases
    assert onnx.TensorProto.INT8 in weights


def test_softmax_and_norms_of_a_transformer_stay_float(plain: dict[str, OnnxArtifact], tmp_path: Path) -> None:
    made = quantize(plain["vit"], tmp_path / "q.onnx", "static_int8", per_channel=False, calibration=ROWS)
    graph = onnx.load(made.path).graph
    by_output = {name: node.op_type for node in graph.node for name in node.output}
    norms = [node for node in graph.node if node.op_type == "LayerNormalization"]
    assert norms
    assert all(by_output.get(node.input[0]) != "DequantizeLinear" for node in norms)


@pytest.mark.parametrize(
    ("model", "scheme"), [("cnn", "weight_int8"), ("resnet", "weight_int8"), ("resnet", "dynamic_int8")]
)
def test_a_scheme_that_changes_next_to_nothing_is_refused(
    model: str, scheme: str, plain: dict[str, OnnxArtifact], tmp_path: Path
) -> None:
    with pytest.raises(Refused, match=rf"{scheme} changes matrix products only.*try static_int8 or fp16"):
        quantize(plain[model], tmp_path / "q.onnx", scheme, per_channel=False, calibration=ROWS)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_done_is_a_sentence(plain: dict[str, OnnxArtifact], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'static_int8'"):
        quantize(plain["cnn"], tmp_path / "q.onnx", "static_int4", per_channel=False, calibration=ROWS)
    with pytest.raises(Refused, match="needs calibration inputs"):
        quantize(plain["cnn"], tmp_path / "q.onnx", "static_int8", per_channel=False, calibration=[])
    bad = [{"pixels": np.zeros((1, 1, 4, 4), dtype=np.float32)}]
    with pytest.raises(Failed, match="static_int8 cannot be applied"):
        quantize(plain["cnn"], tmp_path / "q.onnx", "static_int8", per_channel=False, calibration=bad)
    assert not list(tmp_path.iterdir())
    assert SCHEMES[0] == "none"
