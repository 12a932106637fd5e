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
from search_spaces import SCHEMES, Family, ImageInput, SpaceError, families, load_family

torch.set_num_threads(1)

INPUTS = [ImageInput(1, 28, 10), ImageInput(3, 32, 2)]
EXPORT_WARNINGS = ("You are using the legacy TorchScript-based ONNX export", "The feature will be removed")


@pytest.fixture(params=families())
def family(request: pytest.FixtureRequest) -> Family:
    return load_family(request.param)


def architectures(family: Family, input: ImageInput, count: int) -> list[dict[str, Any]]:
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
        module.train()(pixels(shape, 16))
    return module.eval()


def pixels(shape: dict[str, Any], rows: int = 2) -> Tensor:
    side = shape["input_size"]
    return torch.randn(rows, shape["channels"], side, side, generator=torch.Generator().manual_seed(0))


def onnx_logits(module: nn.Module, example: Tensor) -> np.ndarray:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        for text in EXPORT_WARNINGS:
            warnings.filterwarnings("ignore", text, DeprecationWarning)
        torch.onnx.export(module, (example,), buffer, dynamo=False, opset_version=17, input_names=["pixels"])
    session = onnxruntime.InferenceSession(buffer.getvalue(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"pixels": example.numpy()})[0])


def test_says_its_name_and_knows_its_schemes(family: Family) -> None:
    assert family.name in families()
    assert set(family.schemes) <= set(SCHEMES)
    assert "none" in family.schemes


@pytest.mark.parametrize("input", INPUTS, ids=str)
def test_builds_what_the_shape_says(family: Family, input: ImageInput) -> None:
    for architecture in architectures(family, input, 12):
        shape = family.shape(architecture, input)
        assert json.loads(json.dumps(shape)) == shape
        assert (shape["family"], shape["channels"], shape["classes"]) == (family.name, input.channels, input.classes)
        assert shape["input_size"] <= input.size
        module = family.build(shape)
        assert family.shape_of(module) == shape
        family.build(family.shape_of(module)).load_state_dict(module.state_dict(), strict=True)


@pytest.mark.parametrize("input", INPUTS, ids=str)
def test_logits_are_the_classifier_of_the_features(family: Family, input: ImageInput) -> None:
    for architecture in architectures(family, input, 3):
        shape = family.shape(architecture, input)
        module = trained_looking(family.build(shape), shape)
        features = module.features(pixels(shape, 3))
        assert isinstance(module.classifier, nn.Linear)
        assert features.shape == (3, module.classifier.in_features)
        assert torch.equal(module(pixels(shape, 3)), module.classifier(features))
        assert module(pixels(shape, 3)).shape == (3, input.classes)


def test_every_parameter_learns(family: Family) -> None:
    shape = family.shape(architectures(family, INPUTS[0], 1)[0], INPUTS[0])
    module = family.build(shape).train()
    module(pixels(shape, 4)).logsumexp(1).sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())


@pytest.mark.parametrize("input", INPUTS, ids=str)
def test_exported_answers_equal_torch_before_and_after_pruning(family: Family, input: ImageInput) -> None:
    architecture = architectures(family, input, 1)[0]
    shape = family.shape(architecture, input)
    modules = [trained_looking(family.build(shape), shape)]
    if family.prunable:
        modules.append(pruned(family, modules[0], shape).module)
    for module in modules:
        expected = module(pixels(shape, 1)).detach().numpy()
        np.testing.assert_allclose(onnx_logits(module, pixels(shape, 1)), expected, atol=1e-4)
        assert np.ptp(expected) > 1e-2


def pruned(family: Family, module: nn.Module, shape: dict[str, Any]) -> TorchArtifact:
    artifact, _ = prune(
        TorchArtifact(module, family.name, shape),
        family,
        ratio=0.5,
        criterion="magnitude",
        round_to=4,
        example=pixels(shape, 1),
        gradient_batches=None,
    )
    return artifact


@pytest.mark.parametrize("input", INPUTS, ids=str)
def test_every_architecture_can_be_pruned_and_stays_in_the_family(family: Family, input: ImageInput) -> None:
    if not family.prunable:
        pytest.skip(f"{family.name} is not prunable")
    for architecture in architectures(family, input, 12):
        shape = family.shape(architecture, input)
        try:
            artifact = pruned(family, family.build(shape), shape)
        except Refused as refused:
            pytest.fail(f"{architecture}: {refused}")
        assert artifact.shape == family.shape_of(artifact.module) != shape
        assert artifact.module(pixels(shape)).shape == (2, input.classes)


def test_impossible_sizes_are_said_in_a_sentence(family: Family) -> None:
    tiny = ImageInput(1, 3, 2)
    try:
        axes = family.dimensions(tiny)
    except SpaceError as error:
        assert ";" in str(error)
        return
    first = {axis: (dimension.values() or ())[-1] for axis, dimension in axes.items()}
    assert ";" in str(family.refuses(first, tiny))
