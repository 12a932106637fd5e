from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from learning_helper import digits, made_targets
from torch import nn

from pipeline.artifact import OnnxArtifact, TorchArtifact
from pipeline.errors import Failed
from pipeline.stages.distill import distill, recover
from pipeline.stages.export import TOLERANCE, Inputs, export
from pipeline.stages.int8_aware import (
    AVERAGING,
    ROUNDED_TOLERANCE,
    Int8Linear,
    Rounded,
    fake_quantized,
    rounded_weight,
    steps,
    tolerance_of,
)
from pipeline.stages.quantize import quantize
from pipeline.student_files import load_student, save_student
from pipeline.tasks import InputSpec
from pipeline.training import logits_of
from search_spaces import ImageInput, TextInput, load_family

TEXT = TextInput(3, 32, 900, 900, 2, layers=2, width=64, heads=4, ff=128)
LENGTHS = (5, 24, 2, 12, 32)


def pieces(length: int, rows: int = 1) -> torch.Tensor:
    return torch.randint(0, 900, (rows, length), generator=torch.Generator().manual_seed(length))


def student(family: str = "bert", **changes: Any) -> TorchArtifact:
    """A small student whose weights are large enough to tell inputs apart."""
    kind = load_family(family)
    given = TEXT if family == "bert" else ImageInput(1, 8, 10)
    start = {axis: dimension.start for axis, dimension in kind.dimensions(given).items()}
    shape = kind.shape({**start, **changes}, given)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = kind.build(shape)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.mul_(4 if parameter.ndim > 1 and family == "bert" else 1)
                parameter.add_(torch.randn_like(parameter) * 0.02)
    return TorchArtifact(module.eval(), family, shape)


def shown(artifact: TorchArtifact, *batches: tuple[Any, ...]) -> TorchArtifact:
    """Its twin that has seen these batches in training mode."""
    twin = fake_quantized(artifact, batches[0])
    twin.module.train()
    with torch.no_grad():
        for batch in batches:
            twin.module(*batch)
    twin.module.eval()
    return twin


def text_inputs(names: int = 1) -> Inputs:
    specs = tuple(InputSpec(name, {1: "pieces"}) for name in ("input_ids", "token_type_ids")[:names])
    rows = [(pieces(length), (torch.arange(length) > 2).long()[None])[:names] for length in LENGTHS]
    return Inputs(specs, rows[0], {"max_length": 32}, rows)


def shipped(twin: TorchArtifact, inputs: Inputs, folder: Path) -> OnnxArtifact:
    plain = export(twin.module, inputs, folder / "plain.onnx", tolerance=tolerance_of(twin.module))
    return quantize(plain, folder / "model.onnx", "qat_int8", per_channel=False, calibration=())


def answers(path: Path, inputs: Inputs) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    rows = [{name: part.numpy() for name, part in zip(inputs.names, row, strict=True)} for row in inputs.compared()]
    return np.concatenate([session.run(None, row)[0] for row in rows])


def optimised(path: Path) -> Counter[str]:
    """Operators of the graph that onnxruntime computes."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path.with_suffix(".optimised.onnx"))
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(path.with_suffix(".optimised.onnx")).graph.node)


def test_rounded_inputs_by_hand() -> None:
    scale, zero = steps(torch.tensor(-1.0), torch.tensor(3.0))
    assert (float(scale), int(zero)) == (pytest.approx(4 / 255), 64)  # 63.75 steps below 0
    rounding = Rounded().eval()
    rounding.low.fill_(-1), rounding.high.fill_(3)
    values = torch.tensor([0.0, 1.0, -0.01, 9.0, -9.0], requires_grad=True)
    found = rounding(values)
    wanted = torch.tensor([0.0, 64.0, -1.0, 191.0, -64.0]) * 4 / 255  # 191 = 255 - 64 steps above 0, and 64 below
    torch.testing.assert_close(found, wanted)
    found.sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == [1, 1, 1, 0, 0]  # straight through, but for what was cut off


@pytest.mark.parametrize(("low", "high", "zero"), [(0.5, 2.0, 0), (-2.0, -0.5, 255), (0.0, 0.0, 0)])
def test_zero_is_always_one_of_the_steps(low: float, high: float, zero: int) -> None:
    scale, place = steps(torch.tensor(low), torch.tensor(high))
    assert int(place) == zero
    assert float(scale) == pytest.approx(max(2 / 255 if low != high else 0, 1e-12))


def test_rounded_weights_by_hand() -> None:
    weight = torch.tensor([[1.27, -0.504, 0.006], [0.0, 0.0, 0.0], [-254.0, 3.1, 0.9]], requires_grad=True)
    found = rounded_weight(weight)
    torch.testing.assert_close(found, torch.tensor([[1.27, -0.50, 0.01], [0, 0, 0], [-254.0, 4.0, 0.0]]))
    (found * torch.arange(9).reshape(3, 3)).sum().backward()
    assert weight.grad is not None
    assert weight.grad.flatten().tolist() == list(range(9))


def test_only_training_moves_the_range() -> None:
    rounding = Rounded().eval()
    rounding(torch.tensor([-5.0, 5.0]))
    assert (float(rounding.low), float(rounding.high)) == (-1, 1)
    rounding.train()
    rounding(torch.tensor([-2.0, 4.0]))  # the first batch sets it
    assert (float(rounding.low), float(rounding.high)) == (-2, 4)
    rounding(torch.tensor([0.0, 5.0]))
    assert float(rounding.low) == pytest.approx(-2 * (1 - AVERAGING))
    assert float(rounding.high) == pytest.approx(4 + AVERAGING)


def test_a_twin_has_the_students_own_parameters_and_the_student_stays_plain(tmp_path: Path) -> None:
    artifact = student()
    before = artifact.module(pieces(9))
    twin = shown(artifact, (pieces(24, 8),))
    assert torch.equal(artifact.module(pieces(9)), before)
    assert not any(isinstance(part, Int8Linear | Rounded) for part in artifact.module.modules())
    named = dict(twin.module.named_parameters())
    assert all(named[name] is parameter for name, parameter in artifact.module.named_parameters())
    assert len(named) == len(list(artifact.module.parameters()))
    assert not torch.equal(twin.module(pieces(9)), before)
    with torch.no_grad():
        twin.module.pooler.weight.mul_(2)
    save_student(tmp_path, artifact)
    torch.testing.assert_close(load_student(tmp_path).module(pieces(9)), artifact.module(pieces(9)))
    assert not torch.equal(artifact.module(pieces(9)), before)
    assert (tolerance_of(artifact.module), tolerance_of(twin.module)) == (TOLERANCE, ROUNDED_TOLERANCE)


def test_layers_that_read_one_tensor_share_its_range() -> None:
    twin = fake_quantized(student(layers=2), (pieces(9),)).module
    for layer, shared in zip(twin.layers, (True, False), strict=True):  # the last layer asks with its first token only
        query, key, value = layer.attention.query, layer.attention.key, layer.attention.value
        assert key.inputs is value.inputs
        assert (query.inputs is key.inputs) == shared
        assert layer.ff_in.inputs is not layer.ff_out.inputs
    assert isinstance(twin.pooler, Int8Linear) and type(twin.classifier) is nn.Linear


@pytest.mark.parametrize("names", [1, 2], ids=["texts", "pairs"])
def test_texts_are_multiplied_in_integers(names: int, tmp_path: Path) -> None:
    artifact, inputs = student(layers=2), text_inputs(names)
    types = (torch.arange(24) > 9).long().expand(8, 24)
    twin = shown(artifact, (pieces(24, 8), None, types if names == 2 else None))
    made = shipped(twin, inputs, tmp_path)
    operators = optimised(made.path)
    assert operators["QGemm"] == 2 * 6 + 1
    # what is read by three products is rounded once; query of the last layer reads one token of it
    assert operators["QuantizeLinear"] == 2 * 4 + 1 + 1
    assert (operators["Gemm"], operators["DequantizeLinear"]) == (1, 0)  # the classifier
    assert made.precision == "qat_int8" and sorted(made.inputs) == sorted(inputs.names)
    plain = export(artifact.module, inputs, tmp_path / "float.onnx")
    assert (made.macs, made.parameters) == (plain.macs, plain.parameters)
    assert made.size_bytes < 0.45 * plain.size_bytes
    with torch.inference_mode():
        named = [dict(zip(inputs.names, row, strict=True)) for row in inputs.compared()]
        wanted = torch.cat([twin.module(**row) for row in named]).numpy()
    rounding = np.abs(wanted - answers(plain.path, inputs)).max()
    assert 0 < rounding < 0.1 * np.ptp(wanted)
    assert np.abs(answers(made.path, inputs) - wanted).max() < 2 * rounding


def test_images_are_multiplied_in_integers_too(tmp_path: Path) -> None:
    artifact = student("transformer", layers=1)
    inputs = Inputs((InputSpec("pixels"),), (torch.zeros(1, 1, 8, 8),), {"input_size": 8})
    twin = shown(artifact, (torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(1)),))
    operators = optimised(shipped(twin, inputs, tmp_path).path)
    assert operators["QGemm"] == 6 and operators["Conv"] == 1


class One(nn.Module):
    """A single product before the classifier."""

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.first, self.classifier = nn.Linear(24, 40), classifier

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.first(values))


def test_one_product_is_the_same_to_the_last_digits(tmp_path: Path) -> None:
    # one rounding alone cannot set off others, so this is where torch and the file must agree
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        module = One(nn.Identity()).eval()
        rows = torch.randn(64, 24)
    inputs = Inputs((InputSpec("values"),), (rows[:1],), {}, [(row[None],) for row in rows[1:]])
    twin = shown(TorchArtifact(module, "one", {}), (rows,))
    made = shipped(twin, inputs, tmp_path)
    assert optimised(made.path)["QGemm"] == 1
    with torch.inference_mode():
        wanted, plain = twin.module(rows).numpy(), module(rows).numpy()
    np.testing.assert_allclose(answers(made.path, inputs), wanted, atol=5e-5)
    assert np.abs(wanted - plain).max() > 1e-2


def test_a_file_that_rounds_differently_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    twin = shown(student(), (pieces(24, 8),))
    traced = torch.onnx.export

    def other_range(module: nn.Module, *given: Any, **more: Any) -> None:
        kept = [part.high.clone() for part in module.modules() if isinstance(part, Rounded)]
        for part in (ranges := [part for part in module.modules() if isinstance(part, Rounded)]):
            part.high.mul_(0.2)
        traced(module, *given, **more)
        for part, high in zip(ranges, kept, strict=True):
            part.high.copy_(high)

    monkeypatch.setattr("torch.onnx.export", other_range)
    with pytest.raises(Failed, match="answers differently from torch"):
        export(twin.module, text_inputs(), tmp_path / "a.onnx", tolerance=tolerance_of(twin.module))


def test_a_student_that_learned_to_round_answers_from_its_file_as_it_did_in_torch(tmp_path: Path) -> None:
    task = digits(tmp_path / "cache", rows=700)
    targets = made_targets(task)
    settings = {"temperature": 2.0, "soft_weight": 1.0, "hard_weight": 1.0, "learning_rate": 0.005, "epochs": 8}
    artifact, _ = distill(student("transformer", layers=1), task, targets, settings, seed=1)
    twin, curve = recover(
        fake_quantized(artifact, (torch.zeros(1, 1, 8, 8),)), task, targets, settings, epochs=2, seed=2
    )
    view = task.view(artifact.shape)
    held_out, labels = task.batches("validation", view), task.labels("validation")
    inside = logits_of(twin.module, held_out)
    assert curve[-1]["rung_accuracy"] == (inside.argmax(1) == labels).mean() > 0.6

    inputs = Inputs.of(task, view)
    made = shipped(twin, inputs, tmp_path)
    pixels = torch.cat([batch.inputs[0] for batch in held_out.in_order()])
    every = Inputs(inputs.specs, inputs.example, view, [(row[None],) for row in pixels])
    found = answers(made.path, every)[1:]
    learned = next(iter(task.batches("train", view).in_order(200))).inputs[0]
    rows = [{"pixels": row[None].numpy()} for row in learned]
    plain = export(artifact.module, inputs, tmp_path / "float.onnx")
    static = quantize(plain, tmp_path / "static.onnx", "static_int8", per_channel=True, calibration=rows)
    one_row = 1 / len(labels)
    right = (found.argmax(1) == labels).mean()
    assert right >= curve[-1]["rung_accuracy"] - one_row
    assert right >= (answers(static.path, every)[1:].argmax(1) == labels).mean() - one_row
    assert np.abs(found - inside).mean() < 0.02 * inside.std()
