"""How much a BERT's answers hang on each hidden dimension, head and neuron, and how far one tells of another."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from hardware_targets import this_worker
from pipeline.stages._own_bert import own
from pipeline.training import Batch


@dataclass(frozen=True)
class Importance:
    """float32 shares; each row sums to 1, so they compare within a row only.

    `moments` are the mean products of any two numbers that a matrix reads, and of each with a last one that is always
    1, over all tokens: for query, key and value, for the attention's output and for ff_in, layer by layer, and last for
    the pooler. Those for ff_out would be large, and projecting neurons brought nothing.
    """

    hidden: np.ndarray  # [W]
    heads: np.ndarray  # [L, H]
    ff: np.ndarray  # [L, F]
    moments: np.ndarray  # [3 L + 1, W + 1, W + 1]


def measure_importance(teacher: nn.Module, batches: Iterable[Batch], labels: np.ndarray | None = None) -> Importance:
    """Importance of the parts of a transformers BERT classifier, over `batches` of texts.

    A first-order estimate of what removing a part does to the loss: mean over texts of |sum over tokens of activation x
    gradient| (Molchanov et al. 2019, CVPR; for heads Michel et al. 2019, arXiv 1905.10650). Hidden dimensions are
    summed over all places of the residual stream. The loss is the cross entropy against `labels` (int64, by row), else
    against the teacher's own answers. Errors: ConfigError, see `unsupported`.
    """
    module = own(teacher).requires_grad_(False)
    module.word.weight.requires_grad_(True)  # the first activation asks for a gradient, so all do
    watch = _Watch(module)
    for batch in batches:
        with this_worker().step():
            _pass(module, watch, batch, labels)
    if not watch.totals:
        raise ValueError("importance is measured on texts; give at least one batch")
    layers = range(len(module.layers))
    stream = [_shares(total) for name, total in watch.totals.items() if name.endswith("norm")]
    return Importance(
        hidden=_shares(np.sum(stream, axis=0)),
        heads=np.stack([_shares(watch.totals[f"layers.{layer}.attention.out"]) for layer in layers]),
        ff=np.stack([_shares(watch.totals[f"layers.{layer}.ff_out"]) for layer in layers]),
        moments=np.stack([moment / moment[-1, -1] for moment in watch.moments.values()]).astype(np.float32),
    )


def _pass(module: Any, watch: _Watch, batch: Batch, labels: np.ndarray | None) -> None:
    watch.real = batch.inputs[1].bool() if len(batch.inputs) > 1 else torch.ones_like(batch.inputs[0]).bool()
    logits = module.states(*batch.inputs).logits
    wanted = logits.argmax(1) if labels is None else torch.from_numpy(np.asarray(labels)[batch.rows.numpy()])
    functional.cross_entropy(logits, wanted.long(), reduction="sum").backward()
    watch.add_up()


class _Watch:
    """Collects |sum over tokens of activation x gradient| at every place that can be made narrower, by its name.

    And the sums of products of what matrices read, at `real` tokens bool [B, T].
    """

    def __init__(self, module: Any) -> None:
        self.totals: dict[str, np.ndarray] = {}
        self.moments: dict[str, np.ndarray] = {}
        self.real = torch.empty(0)
        self._seen: dict[str, Tensor] = {}
        self._head_width = module.layers[0].attention.head_width
        for name, part in module.named_modules():
            if name.endswith("norm"):  # what a normalisation gives is the residual stream
                part.register_forward_hook(lambda _, __, output, name=name: self._keep(name, output))
            elif name.endswith(("attention.out", "ff_out")):
                part.register_forward_pre_hook(lambda _, inputs, name=name: self._keep(name, inputs[0]))
            if name.endswith(("attention.query", "attention.out", "ff_in", "pooler")):
                part.register_forward_pre_hook(lambda _, inputs, name=name: self._multiply(name, inputs[0]))

    def add_up(self) -> None:
        """After a backward pass."""
        for name, seen in self._seen.items():
            # what is removed is gone at every token at once, hence the sum; padding has no gradient
            effect = (seen * seen.grad).detach().sum(1)
            if name.endswith("attention.out"):
                effect = effect.unflatten(1, (-1, self._head_width)).sum(2)
            self.totals[name] = self.totals.get(name, 0.0) + effect.abs().sum(0).double().numpy()
        self._seen.clear()

    def _multiply(self, name: str, read: Tensor) -> None:
        rows = read.detach()[self.real] if read.ndim == 3 else read.detach()  # the pooler reads first tokens only
        rows = functional.pad(rows, (0, 1), value=1.0)
        self.moments[name] = self.moments.get(name, 0.0) + (rows.T @ rows).double().numpy()

    def _keep(self, name: str, activation: Tensor) -> None:
        activation.retain_grad()
        self._seen[name] = activation


def _shares(values: np.ndarray) -> np.ndarray:
    """Scaled to the sum 1; an all-zero row (a part that nothing reads) is even."""
    total = values.sum()
    shares = values / total if total > 0 else np.full_like(values, 1 / values.size)
    return np.asarray(shares, dtype=np.float32)
