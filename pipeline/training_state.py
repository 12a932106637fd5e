"""Where a training stands between two epochs: all that the next epoch depends on, as named tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.errors import Failed

WEIGHTS, OPTIMIZER, ORDER, CHANCE = "weights.", "optimizer.", "random.order", "random.global"


@dataclass(frozen=True)
class TrainingState:
    """After `epoch` whole epochs: weights and buffers, the optimizer's moments, both random states.

    The place in the learning-rate schedule is the number of steps, which follows from `epoch`.
    """

    epoch: int
    tensors: Mapping[str, Tensor]

    @classmethod
    def of(
        cls, epoch: int, module: nn.Module, optimizer: torch.optim.Optimizer, generator: torch.Generator
    ) -> TrainingState:
        """A copy; training on changes nothing in it."""
        found = {WEIGHTS + name: tensor for name, tensor in module.state_dict().items()}
        for place, parameter in enumerate(_trained(optimizer)):
            for name, value in optimizer.state[parameter].items():
                found[f"{OPTIMIZER}{place}.{name}"] = value
        found[ORDER], found[CHANCE] = generator.get_state(), torch.get_rng_state()
        return cls(epoch, {name: tensor.detach().clone().contiguous() for name, tensor in found.items()})

    def put_back(self, module: nn.Module, optimizer: torch.optim.Optimizer, generator: torch.Generator) -> None:
        """Make module, optimizer, `generator` and torch's global random state what they were. Errors: Failed."""
        own = [name for name in self.tensors if name.startswith(WEIGHTS)]
        try:
            module.load_state_dict({name.removeprefix(WEIGHTS): self.tensors[name] for name in own}, strict=True)
            for place, parameter in enumerate(_trained(optimizer)):
                prefix = f"{OPTIMIZER}{place}."
                # In the parameter's own memory layout, which the fused step walks through.
                optimizer.state[parameter] = {
                    name.removeprefix(prefix): torch.empty_like(parameter).copy_(value) if value.ndim else value.clone()
                    for name, value in self.tensors.items()
                    if name.startswith(prefix)
                }
        except RuntimeError:
            raise Failed("the checkpoint of this student was written by another version and does not fit it") from None
        generator.set_state(self.tensors[ORDER])
        torch.set_rng_state(self.tensors[CHANCE])


def _trained(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
