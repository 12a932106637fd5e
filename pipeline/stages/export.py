"""From a torch module to an ONNX file whose outputs were compared with torch's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from pipeline.arrays import fresh
from pipeline.artifact import OnnxArtifact, sha256_of
from pipeline.errors import Failed
from pipeline.stages._quiet import quiet

OPSET = 17
INPUT, OUTPUT = "pixels", "logits"
TOLERANCE = 1e-3
TRIALS = 4  # random inputs compared, besides those given

# Both exporters announce their own future; tracing also doubts every shape that Python looks at, but ours are fixed.
ANNOUNCEMENTS = (
    "You are using the legacy TorchScript-based ONNX export",
    "The feature will be removed",
    "Converting a tensor to a Python",
    ".*LeafSpec.* is deprecated",
)


def export(
    module: nn.Module,
    input_shape: Sequence[int],
    path: Path,
    *,
    tolerance: float = TOLERANCE,
    examples: np.ndarray | None = None,
) -> OnnxArtifact:
    """Write `module` as 32-bit ONNX for one input of `input_shape` (1, C, S, S), and compare it with torch.

    The tracing exporter goes first, for teacher and students alike: its files were 15 % faster in onnxruntime than the
    newer exporter's, which is the fallback. An output may differ by `tolerance` plus `tolerance` of its size, on seeded
    noise and on `examples` float32 [N, C, S, S]. Errors: Failed.
    """
    shape = tuple(int(side) for side in input_shape)
    module = module.eval().float()
    noise = torch.randn((TRIALS, *shape[1:]), generator=torch.Generator().manual_seed(0))
    inputs = noise if examples is None else torch.cat([noise, torch.from_numpy(np.asarray(examples, dtype=np.float32))])
    with fresh(path) as beside:
        exporter = _write(module, inputs[:1], beside)
        difference, allowed = _compare(module, inputs, beside, tolerance)
        if not difference <= allowed:
            raise Failed(
                f"the exported file answers differently from torch: by {difference:.3g} where {allowed:.3g} is allowed "
                f"({exporter} exporter); a layer of this model is not exported faithfully"
            )
    return OnnxArtifact(
        path=path,
        input_name=INPUT,
        input_shape=shape,
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        macs=count_macs(module, shape),
        precision="none",
        exporter=exporter,
        sha256=sha256_of(path),
        size_bytes=path.stat().st_size,
    )


def count_macs(module: nn.Module, input_shape: Sequence[int]) -> int:
    """Multiply-accumulates of one inference: convolutions, matrix products and attention."""
    # The counter knows no formula for the CPU's fused attention; the plain kernel is two products that it does count.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        module(torch.zeros(tuple(input_shape)))
    return int(counter.get_total_flops()) // 2


def _write(module: nn.Module, example: torch.Tensor, path: Path) -> str:
    causes = []
    exporters: dict[str, Callable[[nn.Module, torch.Tensor, Path], None]] = {"tracing": _traced, "dynamo": _dynamo}
    for name, exporter in exporters.items():
        try:
            with quiet(*ANNOUNCEMENTS):
                exporter(module, example, path)
            return name
        except Exception as error:  # what an exporter cannot do it says in an exception of any kind
            causes.append(f"{name}: {(str(error).strip().splitlines() or [type(error).__name__])[0][:200]}")
    raise Failed(f"the model cannot be exported to ONNX. {'; '.join(causes)}")


def _traced(module: nn.Module, example: torch.Tensor, path: Path) -> None:
    torch.onnx.export(
        module, (example,), str(path), dynamo=False, opset_version=OPSET, input_names=[INPUT], output_names=[OUTPUT]
    )


def _dynamo(module: nn.Module, example: torch.Tensor, path: Path) -> None:
    names = {"input_names": [INPUT], "output_names": [OUTPUT]}
    torch.onnx.export(module, (example,), str(path), dynamo=True, external_data=False, verbose=False, **names)


def _compare(module: nn.Module, inputs: torch.Tensor, path: Path, tolerance: float) -> tuple[float, float]:
    """The worst difference, and what was allowed at that place."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        wanted = np.concatenate([module(row[None]).numpy() for row in inputs])
    found = np.concatenate([session.run([OUTPUT], {INPUT: row[None].numpy()})[0] for row in inputs])
    if found.shape != wanted.shape:
        return float("inf"), tolerance
    difference = np.abs(found - wanted)
    allowed = tolerance + tolerance * np.abs(wanted)
    if not np.isfinite(difference).all():
        return float("nan"), tolerance
    place = np.unravel_index((difference - allowed).argmax(), difference.shape)
    return float(difference[place]), float(allowed[place])
