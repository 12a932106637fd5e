"""A student that computes in training what 8-bit kernels will compute: rounded inputs times rounded weights.

Fake quantization with straight-through gradients, after Jacob et al. 2017, arXiv 1712.05877. The exported file holds
pairs of QuantizeLinear and DequantizeLinear, which a runtime turns into integer products. The classifier stays as it
is: it is next to nothing of the work, and its outputs are what a student is judged by. Attention's own products,
softmax and norms stay float too: with those products in 8 bits, as static_int8 has them, an encoder of 3 layers x 384
took 1.02 ms for 25 pieces where this takes 0.81 and float32 2.81 (1 thread, 10th percentile of 400 interleaved calls).
"""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.artifact import TorchArtifact
from pipeline.stages.export import TOLERANCE

AVERAGING = 0.05  # share of a new batch in the moving range
SMALLEST = 1e-12  # least scale: a row of zeros stays zero

# An input that float32's last digit puts on the other side of a rounding boundary moves by a whole step, and with it
# all that reads it, so two correct computations of one file differ by a share of the rounding's own error: by up to
# 0.026 where that was up to 0.047, in a random encoder of 3 layers x 384 with logits up to 0.8.
ROUNDED_TOLERANCE = 0.1


class Rounded(nn.Module):  # type: ignore[misc]
    """Rounds a tensor to 256 steps between a moving minimum and maximum, which only training moves.

    One scale for the tensor, unsigned: onnxruntime's kernels for signed activations are slow. Zero is one of the steps.
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("low", torch.tensor(-1.0))
        self.register_buffer("high", torch.tensor(1.0))
        self.fresh = True

    def forward(self, values: Tensor) -> Tensor:
        """Any shape -> the same, float32 under autocast too."""
        values = values.float()
        if self.training:
            self._observe(values.detach())
        scale, zero = steps(self.low, self.high)
        return torch.fake_quantize_per_tensor_affine(values, scale, zero, 0, 255)

    def _observe(self, values: Tensor) -> None:
        # There is no need to freeze the range at the end: as the learning rate falls to nothing, so do its movements.
        share = 1.0 if self.fresh else AVERAGING
        low, high = values.aminmax()
        self.low.lerp_(low, share)
        self.high.lerp_(high, share)
        self.fresh = False


class Int8Linear(nn.Linear):  # type: ignore[misc]
    """A linear layer on rounded inputs with rounded weights; its parameters are those of the layer it stands for."""

    def __init__(self, layer: nn.Linear, inputs: Rounded) -> None:
        super().__init__(layer.in_features, layer.out_features, layer.bias is not None, device="meta")
        self.weight, self.bias = layer.weight, layer.bias
        self.inputs = inputs

    def forward(self, values: Tensor) -> Tensor:
        return functional.linear(self.inputs(values), rounded_weight(self.weight), self.bias)


def steps(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Scale float32 and zero point int32 of unsigned 8 bits from `low` to `high`, 0 always among them."""
    low, high = low.clamp(max=0.0), high.clamp(min=0.0)
    scale = ((high - low) / 255).clamp(min=SMALLEST)
    return scale, (-low / scale).round().clamp(0, 255).to(torch.int32)


def rounded_weight(weight: Tensor) -> Tensor:
    """[out, in] -> the same in signed 8 bits, each row with a scale of its own around 0."""
    scale = (weight.detach().abs().amax(1) / 127).clamp(min=SMALLEST)
    zeros = torch.zeros_like(scale, dtype=torch.int32)
    # -128 is never reached; torch's exporter knows no narrower range
    return torch.fake_quantize_per_channel_affine(weight, scale, zeros, 0, -128, 127)


def fake_quantized(artifact: TorchArtifact, example: tuple[Tensor, ...]) -> TorchArtifact:
    """A twin of a student that rounds in every linear layer but the classifier; layers that read one tensor share
    its range, so that it is quantized once.

    The twin has the student's own parameters: training it trains the student, whose file on disk stays a plain one.
    `example` is what `forward` takes.
    """
    own = {id(tensor): tensor for tensor in (*artifact.module.parameters(), *artifact.module.buffers())}
    twin = copy.deepcopy(artifact.module, own)
    for names in _readers(twin, example):
        inputs = Rounded()
        for name in names:
            twin.set_submodule(name, Int8Linear(twin.get_submodule(name), inputs))
    return replace(artifact, module=twin.eval())


def tolerance_of(module: nn.Module) -> float:
    """How far an exported file's answers may be from this module's."""
    return ROUNDED_TOLERANCE if any(isinstance(part, Rounded) for part in module.modules()) else TOLERANCE


def _readers(module: nn.Module, example: tuple[Tensor, ...]) -> list[list[str]]:
    """Names of the linear layers but the classifier, those together that read the same tensor."""
    read: dict[int, tuple[Tensor, list[str]]] = {}  # the tensors too: a number may be given again once one is gone

    def noting(name: str) -> torch.utils.hooks.RemovableHandle:
        def note(_layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            read.setdefault(id(inputs[0]), (inputs[0], []))[1].append(name)

        return module.get_submodule(name).register_forward_pre_hook(note)

    layers = [name for name, part in module.named_modules() if isinstance(part, nn.Linear)]
    hooks = [noting(name) for name in layers if name != "classifier"]
    with torch.inference_mode():
        module(*example)
    for hook in hooks:
        hook.remove()
    return [names for _, names in read.values()]
