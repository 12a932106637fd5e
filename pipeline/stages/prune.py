"""Structured pruning: whole channels, attention heads and feed-forward neurons leave, layer by layer.

Which layers hang together is found by DepGraph (Fang et al. 2023, arXiv 2301.12900) as torch-pruning implements it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch_pruning
from torch import Tensor, nn

from pipeline.artifact import TorchArtifact
from pipeline.errors import Refused
from search_spaces.family import Family

Criterion = Literal["magnitude", "taylor"]


@dataclass(frozen=True)
class PruneReport:
    """How much left; `kept` lists, per pruned layer, the dense model's output indices that stay."""

    parameters_before: int
    parameters_after: int
    kept: Mapping[str, tuple[int, ...]]


def prune(
    artifact: TorchArtifact,
    family: Family,
    *,
    ratio: float,
    criterion: Criterion,
    round_to: int,
    example: Tensor | tuple[Tensor, ...],
    gradient_batches: Callable[[nn.Module], None] | None,
) -> tuple[TorchArtifact, PruneReport]:
    """A smaller student without `ratio` of each layer's channels, heads or neurons; the given one stays as it is.

    Sizes are rounded down to multiples of `round_to`, never below it; at least one head stays. `example` is what
    `forward` takes. Criterion: `magnitude` ranks by the group's L2 norm, `taylor` by |weight x gradient| (Molchanov
    et al. 2019, CVPR), with gradients accumulated by `gradient_batches(module)`. The result is rebuilt from its own
    shape. Errors: Refused when nothing can be removed.
    """
    module = copy.deepcopy(artifact.module).eval()
    if criterion == "taylor":
        if gradient_batches is None:
            raise ValueError("criterion 'taylor' needs gradients; pass gradient_batches")
        module.zero_grad()
        gradient_batches(module)
    before = _parameters(module)
    kept = _remove(module, family, ratio, criterion, round_to, example)
    module.zero_grad()
    after = _parameters(module)
    if after == before:
        raise Refused(
            f"pruning by {ratio:g} with round_to {round_to} removed nothing from {family.name}: every layer is too "
            "small to lose a whole step; raise prune.ratio or lower prune.round_to"
        )
    shape = family.shape_of(module)
    rebuilt = family.build(shape)
    rebuilt.load_state_dict(module.state_dict(), strict=True)
    return TorchArtifact(rebuilt.eval(), artifact.family, shape), PruneReport(before, after, kept)


def kept_size(size: int, ratio: float, round_to: int) -> int:
    """How many of `size` outputs stay: a multiple of `round_to`, not below it; a layer that is that small is kept."""
    rounded = int(size * (1 - ratio) + 1e-9) // round_to * round_to
    return min(size, max(rounded, round_to))


def kept_heads(heads: int, ratio: float) -> int:
    """How many heads stay, to the nearest whole head (a tie keeps it), at least one."""
    return max(1, heads - math.ceil(heads * ratio - 0.5 - 1e-9))


def _remove(
    module: nn.Module, family: Family, ratio: float, criterion: Criterion, round_to: int, example: Any
) -> dict[str, tuple[int, ...]]:
    plan = family.prune_plan(module)
    # verbose: it warns of parameters that no layer owns; families keep theirs by ignoring what is added to them
    graph = torch_pruning.DependencyGraph().build_dependency(module, example, verbose=False)
    score = _importance(criterion)
    names = {part: name for name, part in module.named_modules()}
    kept: dict[str, tuple[int, ...]] = {}
    # every group is ranked on the intact module before the first one is cut, so their order does not matter
    choices: list[tuple[nn.Module, list[int]]] = []
    for group in graph.get_all_groups(ignored_layers=plan.ignored):
        root = group[0].dep.target.module
        choices.append((root, _leaving(score(group), plan.num_heads.get(root), ratio, round_to)))
    for root, leaving in choices:
        if leaving:
            _cut(graph, root, leaving, names, kept)
    return kept


def _importance(criterion: Criterion) -> Callable[[Any], Tensor]:
    if criterion == "taylor":
        importance: Callable[[Any], Tensor] = torch_pruning.importance.GroupTaylorImportance()
    else:
        importance = torch_pruning.importance.GroupMagnitudeImportance(p=2)
    return importance


def _leaving(scores: Tensor, heads: int | None, ratio: float, round_to: int) -> list[int]:
    """Indices of the least important outputs; whole heads where there are heads."""
    if heads is None:
        count = len(scores) - kept_size(len(scores), ratio, round_to)
        return sorted(torch.argsort(scores, stable=True)[:count].tolist())
    blocks = torch.arange(len(scores)).view(heads, -1)
    worst = torch.argsort(scores.view(heads, -1).mean(1), stable=True)[: heads - kept_heads(heads, ratio)]
    return sorted(blocks[worst].flatten().tolist())


def _cut(
    graph: Any, root: nn.Module, leaving: list[int], names: Mapping[nn.Module, str], kept: dict[str, tuple[int, ...]]
) -> None:
    group = graph.get_pruning_group(root, graph.get_pruner_of_module(root).prune_out_channels, leaving)
    for dependency, indices in group:
        name = names.get(dependency.target.module)
        if name and graph.is_out_channel_pruning_fn(dependency.handler):
            size = graph.get_out_channels(dependency.target.module)
            kept[name] = tuple(sorted(set(range(size)) - set(indices)))
    group.prune()


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
