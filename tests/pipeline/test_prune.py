from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from pipeline.artifact import TorchArtifact
from pipeline.errors import Refused
from pipeline.stages.prune import Criterion, PruneReport, kept_heads, kept_size, prune
from search_spaces import ImageInput, load_family

torch.set_num_threads(1)

INPUT = ImageInput(1, 16, 5)
CONV = {"resolution": 16, "stem_stride": 1, "stages": 2, "width": 16, "depth": 2}
ARCHITECTURES = [
    ("convnet", {**CONV, "block": "plain"}),
    ("convnet", {**CONV, "block": "separable"}),
    ("convnet", {**CONV, "block": "separable", "depth": 3, "stem_stride": 2}),
    ("transformer", {"patch": 4, "layers": 3, "heads": 4, "head_width": 16, "ff_ratio": 2}),
    ("transformer", {"patch": 2, "layers": 1, "heads": 1, "head_width": 24, "ff_ratio": 1}),
]


def pixels(rows: int) -> Tensor:
    return torch.randn(rows, 1, 16, 16, generator=torch.Generator().manual_seed(3))


def dense(name: str, architecture: dict[str, Any]) -> TorchArtifact:
    """A student with numbers as after training: fresh normalisation layers would hide faults."""
    torch.manual_seed(2)
    family = load_family(name)
    shape = family.shape(architecture, INPUT)
    module = family.build(shape)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0  # one pass sets the running means and variances to real ones
        if isinstance(layer, nn.BatchNorm2d | nn.LayerNorm):
            nn.init.uniform_(layer.weight, 0.2, 1.5)
            nn.init.normal_(layer.bias, std=0.3)
    with torch.no_grad():
        module.train()(pixels(32))
    return TorchArtifact(module.eval(), name, shape)


def backward(module: nn.Module) -> None:
    for batch in pixels(8).split(4):
        functional.cross_entropy(module(batch), torch.tensor([0, 1, 2, 3])).backward()


def cut(
    artifact: TorchArtifact, ratio: float = 0.5, criterion: Criterion = "magnitude", round_to: int = 4
) -> tuple[TorchArtifact, PruneReport]:
    return prune(
        artifact,
        load_family(artifact.family),
        ratio=ratio,
        criterion=criterion,
        round_to=round_to,
        example=pixels(1),
        gradient_batches=backward if criterion == "taylor" else None,
    )


def masked(artifact: TorchArtifact, report: PruneReport) -> nn.Module:
    """The dense module with every removed output set to zero, and nothing removed."""
    module = copy.deepcopy(artifact.module)
    for name, kept in report.kept.items():
        layer = module.get_submodule(name)
        gone = sorted(set(range(layer.weight.shape[0])) - set(kept))
        with torch.no_grad():
            layer.weight[gone] = 0
            if layer.bias is not None:
                layer.bias[gone] = 0
    return module


@pytest.mark.parametrize(("name", "architecture"), ARCHITECTURES)
@pytest.mark.parametrize("criterion", ["magnitude", "taylor"])
@pytest.mark.parametrize("ratio", [0.3, 0.7])
def test_pruned_equals_masked_dense(
    name: str, architecture: dict[str, Any], criterion: Criterion, ratio: float
) -> None:
    artifact = dense(name, architecture)
    small, report = cut(artifact, ratio, criterion)
    with torch.no_grad():
        expected = masked(artifact, report)(pixels(6))
        torch.testing.assert_close(small.module(pixels(6)), expected, atol=1e-5, rtol=1e-5)
        assert (artifact.module(pixels(6)) - expected).abs().max() > 1e-3  # the mask does take something away


@pytest.mark.parametrize(("name", "architecture"), ARCHITECTURES)
def test_given_student_stays_as_it_is_and_the_report_counts(name: str, architecture: dict[str, Any]) -> None:
    artifact = dense(name, architecture)
    before = {key: value.clone() for key, value in artifact.module.state_dict().items()}
    small, report = cut(artifact, criterion="taylor")
    assert all(torch.equal(value, before[key]) for key, value in artifact.module.state_dict().items())
    assert all(parameter.grad is None for parameter in artifact.module.parameters())
    assert all(parameter.grad is None for parameter in small.module.parameters())
    assert report.parameters_before == sum(parameter.numel() for parameter in artifact.module.parameters())
    assert report.parameters_after == sum(parameter.numel() for parameter in small.module.parameters())
    assert report.parameters_after < report.parameters_before


def test_pruned_shape_is_half_of_each_layer_and_rebuilds() -> None:
    small, _ = cut(dense(*ARCHITECTURES[1]))
    assert (small.shape["stem"], small.shape["stages"]) == (8, [[16, 16], [32, 32]])
    again = load_family("convnet").build(small.shape)
    again.load_state_dict(small.module.state_dict(), strict=True)
    assert torch.equal(again.eval()(pixels(3)), small.module(pixels(3)))


def test_transformer_loses_whole_heads_and_neurons_but_no_width() -> None:
    small, report = cut(dense(*ARCHITECTURES[3]))
    assert small.shape["width"] == 64
    assert small.shape["layers"] == [{"heads": 2, "ff": 64}] * 3
    for layer in range(3):
        query = report.kept[f"layers.{layer}.attention.query"]
        assert query == report.kept[f"layers.{layer}.attention.key"] == report.kept[f"layers.{layer}.attention.value"]
        heads = sorted({index // 16 for index in query})
        assert query == tuple(index for head in heads for index in range(head * 16, head * 16 + 16))


def test_magnitude_removes_the_weakest_channels() -> None:
    artifact = dense(*ARCHITECTURES[0])
    weak = [1, 4, 5, 10, 11, 12, 14, 15]
    reader = artifact.module.stages[0][0][0]
    with torch.no_grad():
        for layer in artifact.module.stem[:2]:
            layer.weight[weak] *= 1e-3
        reader.weight[:, weak] *= 1e-3
    _, report = cut(artifact)
    assert report.kept["stem.0"] == tuple(sorted(set(range(16)) - set(weak)))


def test_magnitude_removes_the_weakest_heads() -> None:
    artifact = dense(*ARCHITECTURES[3])
    with torch.no_grad():
        for head in (0, 2):
            attention = artifact.module.layers[1].attention
            attention.value.weight[head * 16 : head * 16 + 16] *= 1e-3
            attention.out.weight[:, head * 16 : head * 16 + 16] *= 1e-3
    _, report = cut(artifact)
    assert {index // 16 for index in report.kept["layers.1.attention.value"]} == {1, 3}


def test_taylor_follows_the_gradients_it_is_given() -> None:
    artifact = dense(*ARCHITECTURES[0])
    useful = [0, 2, 3, 7, 8, 9, 13, 14]

    def gradients(module: nn.Module) -> None:
        for parameter in module.parameters():
            parameter.grad = torch.full_like(parameter, 1e-6)
        for layer in module.stem[:2]:
            layer.weight.grad[useful] = 1.0

    _, report = prune(
        artifact,
        load_family("convnet"),
        ratio=0.5,
        criterion="taylor",
        round_to=4,
        example=pixels(1),
        gradient_batches=gradients,
    )
    assert report.kept["stem.0"] == tuple(useful)


def test_nothing_to_remove_is_refused_with_a_sentence() -> None:
    artifact = dense("convnet", {**CONV, "block": "plain", "width": 8})
    with pytest.raises(Refused, match=r"removed nothing from convnet: .*; raise prune.ratio or lower prune.round_to"):
        cut(artifact, round_to=64)
    with pytest.raises(Refused, match="pruning by 0 "):
        cut(artifact, ratio=0.0)


def test_taylor_without_gradients_is_a_fault() -> None:
    artifact = dense(*ARCHITECTURES[0])
    with pytest.raises(ValueError, match="gradient_batches"):
        prune(
            artifact,
            load_family("convnet"),
            ratio=0.5,
            criterion="taylor",
            round_to=4,
            example=pixels(1),
            gradient_batches=None,
        )


@given(st.integers(1, 300), st.floats(0.0, 0.7), st.sampled_from([4, 8]))
def test_sizes_that_stay_are_steps_near_the_ratio(size: int, ratio: float, round_to: int) -> None:
    kept = kept_size(size, ratio, round_to)
    assert min(size, round_to) <= kept <= size
    assert kept % round_to == 0 or kept == size < round_to
    assert kept <= max(size * (1 - ratio) + 1e-6, round_to)
    assert kept > size * (1 - ratio) - round_to - 1e-6


@given(st.integers(1, 12), st.floats(0.0, 0.7))
def test_heads_that_stay_are_near_the_ratio(heads: int, ratio: float) -> None:
    kept = kept_heads(heads, ratio)
    assert 1 <= kept <= heads
    assert abs(kept - heads * (1 - ratio)) <= 0.5 + 1e-6 or kept == 1
