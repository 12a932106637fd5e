"""The one training loop: teacher training, distillation and recovery after pruning all go through `fit`.

It knows nothing of what is learned, `loss_fn` does, nor of what it is learned from: a task serves the batches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import nn

from hardware_targets import Worker, this_worker
from pipeline.errors import ConfigError, Failed
from pipeline.shown_rows import shown_rows
from pipeline.tasks import Batches
from pipeline.training_state import TrainingState

Precision = Literal["auto", "float32", "bf16"]
Between = Callable[[int, Callable[[], TrainingState]], None]
WARM_UP = 0.2  # share of the steps in which the learning rate rises
CLIP = 1.0  # largest norm of the gradient
WIDE = 256  # a linear layer at least so wide gains by bf16


@dataclass(frozen=True)
class Batch:
    """What `forward` takes, the rows they come from int64 [B], and which were mirrored bool [B].

    Images: (pixels,), normalised float32 [B, C, S, S]. Texts: (input_ids, attention_mask) int64 [B, T], padded to the
    longest row of the batch, and token_type_ids as a third for pairs.
    """

    inputs: tuple[torch.Tensor, ...]
    rows: torch.Tensor
    mirrored: torch.Tensor


def fit(
    module: nn.Module,
    batches: Batches,
    loss_fn: Callable[[Batch], torch.Tensor],
    *,
    epochs: int,
    learning_rate: float,
    weight_decay: float,
    seed: int,
    on_epoch: Callable[[int, float], None] = lambda _, __: None,
    deadline: float | None = None,
    clock: Callable[[], float] | None = None,
    precision: Precision = "auto",
    begin: TrainingState | None = None,
    between: Between | None = None,
    worker: Worker | None = None,
    words: nn.Embedding | None = None,
) -> None:
    """Train `module` in place; it is left in eval mode, its memory laid out as it was.

    AdamW (Loshchilov and Hutter 2017, arXiv 1711.05101) under one rise and fall of the learning rate (Smith and Topin
    2017, arXiv 1708.07120). `loss_fn(batch)` runs under autocast; `on_epoch(epoch, mean loss)` sees the module in eval
    mode and may raise to stop. `deadline` is a time of `clock`. The seed decides everything, and the global random
    state is as before afterwards. Errors: Failed when the loss is not finite or the deadline is passed.

    A step is one of `worker` (default: this process) and so waits while something is timed here; `clock` is that of
    `worker` by default, which then stands still.

    `between(epochs done, take)` is called after each epoch but the last and may raise to stop; `take()` is the state
    there. Begun with it and otherwise alike, training goes on to the same bits as if it had never stopped.

    Of `words`, the module's table of word pieces, only the rows that `batches` shows are trained (`ShownRows`).
    """
    worker = worker or this_worker()
    clock, shown = clock or worker.clock, shown_rows(words, batches.pieces())
    with shown:
        optimizer = _optimizer(module, learning_rate, weight_decay)
    generator = torch.Generator().manual_seed(seed)
    steps, done = epochs * batches.steps, 0 if begin is None else begin.epoch
    low = pays_in_bf16(module) if precision == "auto" else precision == "bf16"
    module.to(memory_format=torch.channels_last)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if begin is not None:
            begin.put_back(module, optimizer, generator)
        for epoch in range(done, epochs):
            module.train()
            total = 0.0
            with shown:
                for step, batch in enumerate(batches.epoch(generator), epoch * batches.steps):
                    if deadline is not None and clock() > deadline:
                        raise Failed(f"time limit reached in epoch {epoch + 1} of {epochs}; raise it or train for less")
                    for group in optimizer.param_groups:
                        group["lr"] = learning_rate * schedule(step, steps)
                    with worker.step():
                        total += _step(module, batch, loss_fn, optimizer, low, epoch)
            module.eval()
            on_epoch(epoch, total / batches.steps)
            if between is not None and epoch + 1 < epochs:
                between(epoch + 1, partial(TrainingState.of, epoch + 1, module, optimizer, generator))
    module.to(memory_format=torch.contiguous_format)


def _step(
    module: nn.Module,
    batch: Batch,
    loss_fn: Callable[[Batch], torch.Tensor],
    optimizer: torch.optim.Optimizer,
    low: bool,
    epoch: int,
) -> float:
    inputs = tuple(_channels_last(tensor) for tensor in batch.inputs)
    with torch.autocast("cpu", torch.bfloat16, enabled=low):
        loss = loss_fn(Batch(inputs, batch.rows, batch.mirrored))
    value = float(loss.detach())
    if not math.isfinite(value):
        raise Failed(f"diverged: the loss is {value} in epoch {epoch + 1}; lower the learning rate")
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(module.parameters(), CLIP)
    optimizer.step()
    return value


def _channels_last(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


def schedule(step: int, steps: int) -> float:
    """Share of the peak learning rate at `step` of `steps`: a straight rise, then half a cosine down to nearly 0."""
    rise = max(1.0, WARM_UP * steps)
    if step < rise:
        return (step + 1) / (rise + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1.0, steps - rise)))


def logits_of(module: nn.Module, batches: Batches, batch_size: int = 256) -> np.ndarray:
    """float32 [N, K] outputs of a module in eval mode, for every row as it is, in the order of the rows."""
    found, rows = [], []
    with torch.inference_mode():
        for batch in batches.in_order(batch_size):
            with this_worker().step():
                found.append(module(*batch.inputs).float().numpy())
            rows.append(batch.rows.numpy())
    return in_row_order(found, rows)


def in_row_order(found: Sequence[np.ndarray], rows: Sequence[np.ndarray]) -> np.ndarray:
    """The answers to batches put together, [N, ...], by the rows that the batches held."""
    joined, places = np.concatenate(found), np.concatenate(rows)
    ordered = np.empty_like(joined)
    ordered[places] = joined
    return ordered


def computes_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 natively; elsewhere it is emulated and slower than float32."""
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16") or able.get("bf16"))


def pays_in_bf16(module: nn.Module) -> bool:
    """Whether training `module` here is faster under bf16 autocast: native bf16, and mostly large dense products."""
    # Measured on 2 cores with avx512_bf16, batch 128, channels last, milliseconds per step float32 -> bf16: plain
    # convnets 60 -> 37, 193 -> 98 and a 49 M MACs ResNet 575 -> 196; depthwise-separable ones 38 -> 52 and 101 -> 92;
    # a transformer of width 96 210 -> 294; a BERT of width 384 on 32 x 32 pieces 420 -> 190. Where the products are
    # small, the casts eat the gain. Embeddings are looked up, not multiplied.
    counted = sum(p.numel() for p in module.parameters())
    counted -= sum(m.weight.numel() for m in module.modules() if isinstance(m, nn.Embedding))
    share = sum(m.weight.numel() for m in module.modules() if _large_product(m)) / max(1, counted)
    return computes_bf16() and share > 0.5


def _large_product(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Linear):
        return min(layer.in_features, layer.out_features) >= WIDE
    return isinstance(layer, nn.Conv2d) and layer.groups == 1 and layer.kernel_size != (1, 1)


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
