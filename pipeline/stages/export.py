"""From a torch module to an ONNX file whose outputs were compared with torch's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from pipeline.arrays import fresh
from pipeline.artifact import OnnxArtifact, View, sha256_of
from pipeline.errors import Failed
from pipeline.stages._quiet import quiet
from pipeline.tasks import InputSpec, Task

OPSET = 17
OUTPUT = "logits"
TOLERANCE = 1e-3
TRIALS = 4  # inputs compared

# Both exporters announce their own future; tracing also doubts every shape that Python looks at: images' are fixed,
# and an output that is wrong at another length is found by comparison.
ANNOUNCEMENTS = (
    "You are using the legacy TorchScript-based ONNX export",
    "The feature will be removed",
    "Converting a tensor to a Python",
    ".*LeafSpec.* is deprecated",
    "# The axis name",
)

Tensors = tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class Inputs:
    """What an exported file takes, and on what it is compared with torch; batch 1, in the order of `specs`.

    `example` is a typical input, on which operations are counted. Where no `others` are given, seeded noise is taken.
    """

    specs: tuple[InputSpec, ...]
    example: Tensors
    view: View = field(default_factory=dict)
    others: Sequence[Tensors] = ()

    @classmethod
    def of(cls, task: Task, view: View) -> Inputs:
        """As a task has them."""
        return cls(task.io(), task.example(view), view, task.examples(view, TRIALS))

    @property
    def names(self) -> list[str]:
        return [spec.name for spec in self.specs]

    @property
    def dynamic(self) -> dict[str, dict[int, str]]:
        return {spec.name: dict(spec.dynamic) for spec in self.specs if spec.dynamic}

    def compared(self) -> list[Tensors]:
        """The inputs on which torch and the file are compared: the given ones, or noise."""
        if self.others:
            return [self.example, *self.others]
        generator = torch.Generator().manual_seed(0)
        return [tuple(torch.randn(t.shape, generator=generator) for t in self.example) for _ in range(TRIALS)]


class ByName(nn.Module):  # type: ignore[misc]
    """Calls a module with positional tensors under the names of the file's inputs: a text's mask is left out there."""

    def __init__(self, module: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.module, self.names = module, tuple(names)

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.module(**dict(zip(self.names, tensors, strict=True)))
        return logits


def export(module: nn.Module, inputs: Inputs, path: Path, *, tolerance: float = TOLERANCE) -> OnnxArtifact:
    """Write `module` as 32-bit ONNX for `inputs`, and compare it with torch on them.

    The tracing exporter goes first, for teacher and students alike: its files were 15 % faster in onnxruntime than the
    newer exporter's, which is the fallback. An output may differ by `tolerance` plus `tolerance` of its size, on
    seeded noise or on the given inputs. Errors: Failed.
    """
    module = module.eval().float()
    callable_ = module if len(inputs.specs) == 1 else ByName(module, inputs.names).eval()
    with fresh(path) as beside:
        exporter = _write(callable_, inputs, beside)
        difference, allowed = _compare(callable_, inputs, beside, tolerance)
        if not difference <= allowed:
            raise Failed(
                f"the exported file answers differently from torch: by {difference:.3g} where {allowed:.3g} is allowed "
                f"({exporter} exporter); a layer of this model is not exported faithfully"
            )
    return OnnxArtifact(
        path=path,
        inputs=tuple(inputs.names),
        view=dict(inputs.view),
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        macs=count_macs(callable_, inputs.example),
        precision="none",
        exporter=exporter,
        sha256=sha256_of(path),
        size_bytes=path.stat().st_size,
    )


def count_macs(module: nn.Module, example: Tensors) -> int:
    """Multiply-accumulates of one inference on `example`: convolutions, matrix products and attention.

    A text's figure is that of a typical text, the task's example of median length.
    """
    # The counter knows no formula for the CPU's fused attention; the plain kernel is two products that it does count.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        module(*example)
    return int(counter.get_total_flops()) // 2


def _write(module: nn.Module, inputs: Inputs, path: Path) -> str:
    causes = []
    exporters: Mapping[str, Callable[[nn.Module, Inputs, Path], None]] = {"tracing": _traced, "dynamo": _dynamo}
    for name, exporter in exporters.items():
        try:
            with quiet(*ANNOUNCEMENTS):
                exporter(module, inputs, path)
            return name
        except Exception as error:  # what an exporter cannot do it says in an exception of any kind
            causes.append(f"{name}: {(str(error).strip().splitlines() or [type(error).__name__])[0][:200]}")
    raise Failed(f"the model cannot be exported to ONNX. {'; '.join(causes)}")


def _traced(module: nn.Module, inputs: Inputs, path: Path) -> None:
    torch.onnx.export(
        module,
        inputs.example,
        str(path),
        dynamo=False,
        opset_version=OPSET,
        input_names=inputs.names,
        output_names=[OUTPUT],
        dynamic_axes=inputs.dynamic,
    )


def _dynamo(module: nn.Module, inputs: Inputs, path: Path) -> None:
    axes: tuple[Any, ...] = tuple(dict(spec.dynamic) or None for spec in inputs.specs)
    torch.onnx.export(
        module,
        inputs.example,
        str(path),
        dynamo=True,
        external_data=False,
        verbose=False,
        input_names=inputs.names,
        output_names=[OUTPUT],
        # a module that takes any number of tensors has them under one name
        dynamic_shapes=((axes,) if isinstance(module, ByName) else axes) if any(axes) else None,
    )


def _compare(module: nn.Module, inputs: Inputs, path: Path, tolerance: float) -> tuple[float, float]:
    """The worst difference, and what was allowed at that place."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    rows = inputs.compared()
    with torch.inference_mode():
        wanted = np.concatenate([module(*row).numpy() for row in rows])
    feeds = [{name: tensor.numpy() for name, tensor in zip(inputs.names, row, strict=True)} for row in rows]
    found = np.concatenate([session.run([OUTPUT], feed)[0] for feed in feeds])
    if found.shape != wanted.shape:
        return float("inf"), tolerance
    difference = np.abs(found - wanted)
    allowed = tolerance + tolerance * np.abs(wanted)
    if not np.isfinite(difference).all():
        return float("nan"), tolerance
    place = np.unravel_index((difference - allowed).argmax(), difference.shape)
    return float(difference[place]), float(allowed[place])
