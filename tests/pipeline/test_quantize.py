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
from pipeline.stages._tables import eight_bit_tables
from pipeline.stages.export import Inputs, export
from pipeline.stages.quantize import SCHEMES, quantize
from pipeline.tasks import InputSpec
from pipeline.teacher_image import TeacherModule
from search_spaces import TextInput, load_family

SIZE = 32
INPUTS = Inputs((InputSpec("pixels"),), (torch.zeros(1, 1, SIZE, SIZE),), {"input_size": SIZE})
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
        return {name: export(_module(name), INPUTS, folder / f"{name}.onnx") for name in ("cnn", "resnet", "vit")}


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
    with pytest.raises(
        Refused, match=rf"{scheme} changes matrix products and embeddings only.*try static_int8 or fp16"
    ):
        quantize(plain[model], tmp_path / "q.onnx", scheme, per_channel=False, calibration=ROWS)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_done_is_a_sentence(plain: dict[str, OnnxArtifact], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'static_int8'"):
        quantize(plain["cnn"], tmp_path / "q.onnx", "static_int4", per_channel=False, calibration=ROWS)
    with pytest.raises(Refused, match="needs calibration inputs"):
        quantize(plain["cnn"], tmp_path / "q.onnx", "static_int8", per_channel=False, calibration=[])
    with pytest.raises(Refused, match="qat_int8 needs a student that learned with rounding"):
        quantize(plain["vit"], tmp_path / "q.onnx", "qat_int8", per_channel=False, calibration=ROWS)
    bad = [{"pixels": np.zeros((1, 1, 4, 4), dtype=np.float32)}]
    with pytest.raises(Failed, match="static_int8 cannot be applied"):
        quantize(plain["cnn"], tmp_path / "q.onnx", "static_int8", per_channel=False, calibration=bad)
    assert not list(tmp_path.iterdir())
    assert SCHEMES[0] == "none"


LENGTHS = (5, 24, 3, 12, 32)


def _pieces(length: int) -> torch.Tensor:
    return torch.randint(0, 400, (1, length), generator=torch.Generator().manual_seed(length))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> OnnxArtifact:
    """A small student of texts with weights large enough to tell texts apart."""
    family = load_family("bert")
    given = TextInput(3, 32, 400, 400, 1, layers=2, width=64, heads=4, ff=128)
    architecture = {axis: dimension.start for axis, dimension in family.dimensions(given).items()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = family.build(family.shape({**architecture, "layers": 2}, given))
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.mul_(4 if parameter.ndim > 1 else 1)
                parameter.add_(torch.randn_like(parameter) * 0.02)
    specs = (InputSpec("input_ids", {1: "pieces"}),)
    inputs = Inputs(specs, (_pieces(8),), {"max_length": 32}, [(_pieces(length),) for length in LENGTHS])
    return export(module, inputs, tmp_path_factory.mktemp("text") / "plain.onnx")


def _text_answers(path: Path) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"input_ids": _pieces(length).numpy()})[0] for length in LENGTHS])


@pytest.mark.parametrize(
    ("scheme", "per_channel", "share"),
    [
        ("fp16", False, 0.56),
        ("dynamic_int8", False, 0.4),
        ("dynamic_int8", True, 0.4),
        ("static_int8", True, 0.5),
        ("weight_int8", False, 0.4),
    ],
)
def test_texts_of_any_length_in_fewer_bits(
    scheme: str, per_channel: bool, share: float, encoder: OnnxArtifact, tmp_path: Path
) -> None:
    rows = [{"input_ids": _pieces(length).numpy()} for length in LENGTHS]
    made = quantize(encoder, tmp_path / "q.onnx", scheme, per_channel=per_channel, calibration=iter(rows))
    wanted, found = _text_answers(encoder.path), _text_answers(made.path)
    assert np.ptp(wanted) > 0.3
    assert np.abs(found - wanted).max() < 0.1 * np.ptp(wanted)
    assert made.size_bytes < share * encoder.size_bytes
    assert [path.name for path in tmp_path.iterdir()] == ["q.onnx"]
    if scheme.endswith("int8"):
        kinds = {tensor.name: tensor.data_type for tensor in onnx.load(made.path).graph.initializer}
        read = [node.input[0] for node in onnx.load(made.path).graph.node if node.op_type == "Gather"]
        assert onnx.TensorProto.INT8 in {kinds.get(name) for name in read}


def test_rows_of_a_table_keep_their_own_scale(tmp_path: Path) -> None:
    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(512, 32)
            with torch.no_grad():
                self.table.weight.mul_(torch.logspace(-3, 3, 512)[:, None])
                self.table.weight[7] = 0

        def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
            return self.table(input_ids)[:, 0]

    net = Words()
    rows = [(torch.tensor([[row]]),) for row in (0, 7, 300, 511)]
    inputs = Inputs((InputSpec("input_ids", {1: "pieces"}),), rows[0], {}, rows)
    path = export(net, inputs, tmp_path / "a.onnx").path
    small = tmp_path / "b.onnx"
    assert eight_bit_tables(path, small)
    assert small.stat().st_size < 0.4 * path.stat().st_size
    session = onnxruntime.InferenceSession(str(small), providers=["CPUExecutionProvider"])
    for (row,) in rows:
        wanted = net(row).detach().numpy()
        found = session.run(None, {"input_ids": row.numpy()})[0]
        assert np.abs(found - wanted).max() <= np.abs(wanted).max() / 254 + 1e-9


def test_a_small_table_stays_as_it_is(tmp_path: Path) -> None:
    inputs = Inputs((InputSpec("input_ids", {1: "pieces"}),), (torch.tensor([[3]]),), {}, [(torch.tensor([[5]]),)])
    path = export(nn.Embedding(10, 4), inputs, tmp_path / "a.onnx").path
    assert not eight_bit_tables(path, tmp_path / "b.onnx")
    assert not (tmp_path / "b.onnx").exists()
