"""The one training loop: teacher training, distillation and recovery after pruning all go through `fit`.

It knows nothing of what is learned: `loss_fn` does. Pixels stay uint8 in memory and are shifted, mirrored and
normalised batch by batch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import nn

from pipeline.errors import ConfigError, Failed

Precision = Literal["auto", "float32", "bf16"]
WARM_UP = 0.2  # share of the steps in which the learning rate rises
CLIP = 1.0  # largest norm of the gradient


@dataclass(frozen=True)
class Batch:
    """Normalised float32 pixels [B, C, S, S], the rows they come from int64 [B], and which were mirrored bool [B]."""

    pixels: torch.Tensor
    rows: torch.Tensor
    mirrored: torch.Tensor


@dataclass(frozen=True)
class Images:
    """uint8 [N, C, S, S] pixels with their normalisation and augmentation, served in shuffled batches."""

    pixels: np.ndarray
    mean: Sequence[float]
    std: Sequence[float]
    augment: str = "none"  # none, shift, flip_shift
    batch_size: int = 128

    @property
    def steps(self) -> int:
        """Batches per epoch; a rest smaller than half a batch is left to the next shuffle."""
        return max(1, round(len(self.pixels) / self.batch_size))

    def epoch(self, generator: torch.Generator) -> Iterator[Batch]:
        """One pass in random order; `generator` decides the order and every augmentation."""
        source = torch.from_numpy(self.pixels)
        order = torch.randperm(len(source), generator=generator)
        for rows in order[: self.steps * self.batch_size].split(self.batch_size):
            pixels, mirrored = augmented(source[rows], self.augment, generator)
            yield Batch(self.normalised(pixels), rows, mirrored)

    def in_order(self, batch_size: int = 256) -> Iterator[torch.Tensor]:
        """Normalised pixels of all rows, as they are."""
        for block in torch.from_numpy(self.pixels).split(batch_size):
            yield self.normalised(block)

    def normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        mean = torch.tensor(self.mean).view(-1, 1, 1)
        std = torch.tensor(self.std).view(-1, 1, 1)
        return (pixels.float() / 255 - mean) / std


def augmented(pixels: torch.Tensor, augment: str, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """uint8 [B, C, S, S] shifted by up to 1/14 of the side each way (black comes in), and for `flip_shift` half of them
    mirrored; and which were mirrored, bool [B]."""
    mirrored = torch.zeros(len(pixels), dtype=torch.bool)
    if augment == "none":
        return pixels, mirrored
    size = pixels.shape[-1]
    if augment == "flip_shift":
        mirrored = torch.rand(len(pixels), generator=generator) < 0.5
        pixels = torch.where(mirrored[:, None, None, None], pixels.flip(-1), pixels)
    reach = max(1, size // 14)
    padded = nn.functional.pad(pixels, (reach,) * 4)
    steps = torch.randint(0, 2 * reach + 1, (2, len(pixels), 1), generator=generator) + torch.arange(size)
    sample = torch.arange(len(pixels))[:, None, None]
    # Advanced indices on both sides of the channel slice put it last.
    return padded[sample, :, steps[0][:, :, None], steps[1][:, None, :]].permute(0, 3, 1, 2), mirrored


def fit(
    module: nn.Module,
    images: Images,
    loss_fn: Callable[[Batch], torch.Tensor],
    *,
    epochs: int,
    learning_rate: float,
    weight_decay: float,
    seed: int,
    on_epoch: Callable[[int, float], None] = lambda _, __: None,
    deadline: float | None = None,
    clock: Callable[[], float] = time.monotonic,
    precision: Precision = "auto",
) -> None:
    """Train `module` in place; it is left in eval mode, its memory laid out as it was.

    AdamW (Loshchilov and Hutter 2017, arXiv 1711.05101) under one rise and fall of the learning rate (Smith and Topin
    2017, arXiv 1708.07120). `loss_fn(batch)` runs under autocast; `on_epoch(epoch, mean loss)` sees the module in eval
    mode and may raise to stop. `deadline` is a time of `clock`. The seed decides everything, and the global random
    state is as before afterwards. Errors: Failed when the loss is not finite or the deadline is passed.
    """
    optimizer = _optimizer(module, learning_rate, weight_decay)
    generator = torch.Generator().manual_seed(seed)
    steps, step = epochs * images.steps, 0
    low = pays_in_bf16(module) if precision == "auto" else precision == "bf16"
    module.to(memory_format=torch.channels_last)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for epoch in range(epochs):
            module.train()
            total = 0.0
            for batch in images.epoch(generator):
                if deadline is not None and clock() > deadline:
                    raise Failed(f"time limit reached in epoch {epoch + 1} of {epochs}; raise it or train for less")
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate * schedule(step, steps)
                total += _step(module, batch, loss_fn, optimizer, low, epoch)
                step += 1
            module.eval()
            on_epoch(epoch, total / images.steps)
    module.to(memory_format=torch.contiguous_format)


def _step(
    module: nn.Module,
    batch: Batch,
    loss_fn: Callable[[Batch], torch.Tensor],
    optimizer: torch.optim.Optimizer,
    low: bool,
    epoch: int,
) -> float:
    pixels = batch.pixels.to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16, enabled=low):
        loss = loss_fn(Batch(pixels, batch.rows, batch.mirrored))
    value = float(loss.detach())
    if not math.isfinite(value):
        raise Failed(f"diverged: the loss is {value} in epoch {epoch + 1}; lower the learning rate")
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(module.parameters(), CLIP)
    optimizer.step()
    return value


def schedule(step: int, steps: int) -> float:
    """Share of the peak learning rate at `step` of `steps`: a straight rise, then half a cosine down to nearly 0."""
    rise = max(1.0, WARM_UP * steps)
    if step < rise:
        return (step + 1) / (rise + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1.0, steps - rise)))


def logits_of(module: nn.Module, images: Images, batch_size: int = 256) -> np.ndarray:
    """float32 [N, K] outputs of a module in eval mode, for every row as it is."""
    with torch.inference_mode():
        return np.concatenate([module(pixels).float().numpy() for pixels in images.in_order(batch_size)])


def computes_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 natively; elsewhere it is emulated and slower than float32."""
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16") or able.get("bf16"))


def pays_in_bf16(module: nn.Module) -> bool:
    """Whether training `module` here is faster under bf16 autocast: native bf16, and mostly plain convolutions."""
    # Measured on 2 cores with avx512_bf16, batch 128, channels last, milliseconds per step float32 -> bf16: plain
    # convnets 60 -> 37, 193 -> 98 and a 49 M MACs ResNet 575 -> 196; depthwise-separable ones 38 -> 52 and 101 -> 92;
    # a transformer of width 96 210 -> 294. Where the work is not plain convolution, the casts eat the gain.
    dense = [m for m in module.modules() if isinstance(m, nn.Conv2d) and m.groups == 1 and m.kernel_size != (1, 1)]
    share = sum(m.weight.numel() for m in dense) / max(1, sum(p.numel() for p in module.parameters()))
    return computes_bf16() and share > 0.5


def check_precision(precision: str) -> None:
    """Errors: ConfigError for a precision that this machine would only emulate."""
    if precision == "bf16" and not computes_bf16():
        raise ConfigError("bf16 is asked for but this CPU does not compute it natively; use `precision: float32`")


def _optimizer(module: nn.Module, learning_rate: float, weight_decay: float) -> torch.optim.Optimizer:
    # Biases and the scales of normalisations are left out of the decay: shrinking them regularises nothing.
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in trained if parameter.ndim > 1], "weight_decay": weight_decay},
        {"params": [parameter for parameter in trained if parameter.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=learning_rate, fused=True)
