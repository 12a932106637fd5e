from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.artifact import TorchArtifact
from pipeline.stages.prune import Criterion, PruneReport, prune
from search_spaces import load_family

torch.set_num_threads(1)

SHAPE = {
    "family": "bert",
    "max_length": 24,
    "vocabulary_kind": "used",
    "vocabulary": 50,
    "token_types": 1,
    "width": 32,
    "head_width": 8,
    "eps": 1e-12,
    "classes": 3,
    "layers": [{"heads": 4, "ff": 48}] * 3,
    "taken": [0, 2, 5],
}


def ids(rows: int, tokens: int) -> Tensor:
    return torch.randint(1, 50, (rows, tokens), generator=torch.Generator().manual_seed(3))


def dense() -> TorchArtifact:
    """A student with numbers as after training: fresh normalisations and small weights would hide faults."""
    torch.manual_seed(2)
    module = load_family("bert").build(SHAPE)
    for parameter in module.parameters():
        nn.init.normal_(parameter, mean=0.5 if parameter.ndim == 1 else 0.0, std=0.3)
    return TorchArtifact(module.eval(), "bert", copy.deepcopy(SHAPE))


def gradients(module: nn.Module) -> None:
    mask = torch.ones(6, 12, dtype=torch.int64)
    mask[:3, 7:] = 0
    functional.cross_entropy(module(ids(6, 12), mask), torch.tensor([0, 1, 2, 0, 1, 2])).backward()


def cut(artifact: TorchArtifact, ratio: float, criterion: Criterion = "magnitude") -> tuple[TorchArtifact, PruneReport]:
    return prune(
        artifact,
        load_family("bert"),
        ratio=ratio,
        criterion=criterion,
        round_to=8,
        example=(ids(1, 9),),
        gradient_batches=gradients if criterion == "taylor" else None,
    )


def masked(artifact: TorchArtifact, report: PruneReport) -> nn.Module:
    """The dense module with every removed output set to zero, and nothing removed."""
    module = copy.deepcopy(artifact.module)
    for name, kept in report.kept.items():
        layer = module.get_submodule(name)
        gone = sorted(set(range(layer.weight.shape[0])) - set(kept))
        with torch.no_grad():
            layer.weight[gone] = 0
            layer.bias[gone] = 0
    return module


@pytest.mark.parametrize("criterion", ["magnitude", "taylor"])
@pytest.mark.parametrize("ratio", [0.3, 0.7])
def test_pruned_equals_masked_dense(criterion: Criterion, ratio: float) -> None:
    artifact = dense()
    small, report = cut(artifact, ratio, criterion)
    reference = masked(artifact, report)
    mask = torch.ones(5, 12, dtype=torch.int64)
    mask[:2, 8:] = 0
    with torch.no_grad():
        for inputs in ((ids(5, 12), mask), (ids(1, 10),)):
            expected = reference(*inputs)
            torch.testing.assert_close(small.module(*inputs), expected, atol=1e-5, rtol=1e-5)
            assert (artifact.module(*inputs) - expected).abs().max() > 1e-3  # the mask does take something away


def test_whole_heads_and_neurons_leave_and_nothing_else() -> None:
    small, report = cut(dense(), 0.5)
    assert small.shape == {**SHAPE, "layers": [{"heads": 2, "ff": 24}] * 3}
    kinds = {name.split(".", 2)[2] for name in report.kept}
    assert kinds == {"attention.query", "attention.key", "attention.value", "ff_in"}
    for layer in range(3):
        query = report.kept[f"layers.{layer}.attention.query"]
        assert query == report.kept[f"layers.{layer}.attention.key"] == report.kept[f"layers.{layer}.attention.value"]
        heads = sorted({index // 8 for index in query})
        assert query == tuple(index for head in heads for index in range(head * 8, head * 8 + 8))


def test_a_pruned_student_can_be_pruned_again() -> None:
    first, _ = cut(dense(), 0.3)
    second, report = cut(first, 0.5)
    assert second.shape["layers"] == [{"heads": 2, "ff": 16}] * 3 != first.shape["layers"]
    inputs: Any = ids(4, 12)
    torch.testing.assert_close(second.module(inputs), masked(first, report)(inputs), atol=1e-5, rtol=1e-5)
