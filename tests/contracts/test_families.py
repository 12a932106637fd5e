"""What every student family must do; a new file in `search_spaces/students/` is tested the day it appears."""

from __future__ import annotations

import io
import json
import random
import warnings
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from pipeline.artifact import TorchArtifact
from pipeline.errors import Refused
from pipeline.stages.prune import prune
from search_spaces import SCHEMES, Family, ImageInput, SpaceError, TaskInput, TextInput, families, load_family

torch.set_num_threads(1)

INPUTS: dict[str, list[TaskInput]] = {
    "image": [ImageInput(1, 28, 10), ImageInput(3, 32, 2)],
    "text": [
        TextInput(2, 32, 90, 60, 1, layers=3, width=32, heads=4, ff=64),
        TextInput(3, 16, 50, 50, 2, layers=2, width=48, heads=3, ff=96),
    ],
}
CASES = [(name, input) for name in families() for input in INPUTS[load_family(name).input_kind]]
EXPORT_WARNINGS = (
    "You are using the legacy TorchScript-based ONNX export",
    "The feature will be removed",
    "Converting a tensor",
)


@pytest.fixture(params=families())
def family(request: pytest.FixtureRequest) -> Family:
    return load_family(request.param)


def architectures(family: Family, input: TaskInput, count: int) -> list[dict[str, Any]]:
    """The default, the smallest and largest, and some at random, all of which the family accepts."""
    axes = {axis: dimension.values() for axis, dimension in family.dimensions(input).items()}
    assert all(axes.values()), "every axis of an architecture must have finitely many values"
    draw = random.Random(0)
    rows = [
        {axis: dimension.start for axis, dimension in family.dimensions(input).items()},
        {axis: values[0] for axis, values in axes.items()},
    ]
    rows += [{axis: draw.choice(values) for axis, values in axes.items()} for _ in range(200)]
    return [row for row in rows if family.refuses(row, input) is None][:count]


def trained_looking(module: nn.Module, shape: dict[str, Any]) -> nn.Module:
    """Fresh normalisation layers are the identity and would hide faults: give them numbers as after training."""
    torch.manual_seed(1)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0  # one pass sets the running means and variances to real ones
        if isinstance(layer, nn.BatchNorm2d | nn.LayerNorm):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.1)
    with torch.no_grad():
        module.train()(*inputs(shape, 16))
        # fresh weights may answer nearly the same to everything, and a difference would not be seen
        module.classifier.weight.mul_(0.5 / module.eval()(*inputs(shape, 16)).std())
    return module


def inputs(shape: dict[str, Any], rows: int = 2) -> tuple[Tensor, ...]:
    """What `forward` takes, without a mask."""
    generator = torch.Generator().manual_seed(0)
    if "max_length" in shape:
        return (torch.randint(0, shape["vocabulary"], (rows, shape["max_length"] - 2), generator=generator),)
    side = shape["input_size"]
    return (torch.randn(rows, shape["channels"], side, side, generator=generator),)


def onnx_logits(module: nn.Module, example: tuple[Tensor, ...]) -> np.ndarray:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        for text in EXPORT_WARNINGS:
            warnings.filterwarnings("ignore", text)
        torch.onnx.export(module, example, buffer, dynamo=False, opset_version=17, input_names=["rows"])
    session = onnxruntime.InferenceSession(buffer.getvalue(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"rows": example[0].numpy()})[0])


def test_says_its_name_and_knows_its_schemes(family: Family) -> None:
    assert family.name in families()
    assert set(family.schemes) <= set(SCHEMES)
    assert "none" in family.schemes
    assert family.input_kind in INPUTS
    assert family.name in families(family.input_kind)
    for input in INPUTS[family.input_kind]:
        assert all(isinstance(family.aligned(row, input), bool) for row in architectures(family, input, 12))


@pytest.mark.parametrize(("name", "input"), CASES, ids=str)
def test_builds_what_the_shape_says(name: str, input: TaskInput) -> None:
    family = load_family(name)
    for architecture in architectures(family, input, 12):
        shape = family.shape(architecture, input)
        assert json.loads(json.dumps(shape)) == shape
        assert (shape["family"], shape["classes"]) == (family.name, input.classes)
        if isinstance(input, ImageInput):
            assert shape["channels"] == input.channels
            assert shape["input_size"] <= input.size
        else:
            assert shape["max_length"] <= input.max_length
            assert shape["vocabulary"] == (input.used if shape["vocabulary_kind"] == "used" else input.vocabulary)
        module = family.build(shape)
        assert family.shape_of(module) == shape
        family.build(family.shape_of(module)).load_state_dict(module.state_dict(), strict=True)


@pytest.mark.parametrize(("name", "input"), CASES, ids=str)
def test_logits_are_the_classifier_of_the_features(name: str, input: TaskInput) -> None:
    family = load_family(name)
    for architecture in architectures(family, input, 3):
        shape = family.shape(architecture, input)
        module = trained_looking(family.build(shape), shape)
        features = module.features(*inputs(shape, 3))
        assert isinstance(module.classifier, nn.Linear)
        assert features.shape == (3, module.classifier.in_features)
        assert torch.equal(module(*inputs(shape, 3)), module.classifier(features))
        assert module(*inputs(shape, 3)).shape == (3, input.classes)


@pytest.mark.parametrize(("name", "input"), CASES, ids=str)
def test_more_of_a_nested_axis_is_never_a_smaller_student(name: str, input: TaskInput) -> None:
    family = load_family(name)
    axes = family.dimensions(input)
    start = {axis: dimension.start for axis, dimension in axes.items()}
    assert family.nested and set(family.nested) <= set(axes)
    for axis in family.nested:
        rows = [{**start, axis: value} for value in sorted(axes[axis].values() or ())]
        modules = [family.build(family.shape(row, input)) for row in rows if family.refuses(row, input) is None]
        counts = [sum(parameter.numel() for parameter in module.parameters()) for module in modules]
        assert counts == sorted(counts)


def test_every_parameter_learns(family: Family) -> None:
    input = INPUTS[family.input_kind][0]
    shape = family.shape(architectures(family, input, 1)[0], input)
    module = family.build(shape).train()
    module(*inputs(shape, 4)).logsumexp(1).sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())


@pytest.mark.parametrize(("name", "input"), CASES, ids=str)
def test_exported_answers_equal_torch_before_and_after_pruning(name: str, input: TaskInput) -> None:
    family = load_family(name)
    architecture = architectures(family, input, 1)[0]
    shape = family.shape(architecture, input)
    modules = [trained_looking(family.build(shape), shape)]
    if family.prunable:
        modules.append(pruned(family, modules[0], shape).module)
    for module in modules:
        expected = module(*inputs(shape, 1)).detach().numpy()
        np.testing.assert_allclose(onnx_logits(module, inputs(shape, 1)), expected, atol=1e-4)
        assert np.ptp(expected) > 1e-2


def pruned(family: Family, module: nn.Module, shape: dict[str, Any]) -> TorchArtifact:
    artifact, _ = prune(
        TorchArtifact(module, family.name, shape),
        family,
        ratio=0.5,
        criterion="magnitude",
        round_to=4,
        example=inputs(shape, 1),
        gradient_batches=None,
    )
    return artifact


@pytest.mark.parametrize(("name", "input"), CASES, ids=str)
def test_every_architecture_can_be_pruned_and_stays_in_the_family(name: str, input: TaskInput) -> None:
    family = load_family(name)
    if not family.prunable:
        pytest.skip(f"{family.name} is not prunable")
    for architecture in architectures(family, input, 12):
        shape = family.shape(architecture, input)
        try:
            artifact = pruned(family, family.build(shape), shape)
        except Refused as refused:
            pytest.fail(f"{architecture}: {refused}")
        assert artifact.shape == family.shape_of(artifact.module) != shape
        assert artifact.module(*inputs(shape)).shape == (2, input.classes)


def test_impossible_sizes_are_said_in_a_sentence(family: Family) -> None:
    tiny: TaskInput = ImageInput(1, 3, 2)
    if family.input_kind == "text":
        tiny = TextInput(2, 2, 90, 60, 1, layers=3, width=32, heads=4, ff=64)
    try:
        axes = family.dimensions(tiny)
    except SpaceError as error:
        assert ";" in str(error)
        return
    first = {axis: (dimension.values() or ())[-1] for axis, dimension in axes.items()}
    assert ";" in str(family.refuses(first, tiny))
