from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from learning_helper import TinyNet
from torch import nn

from pipeline.artifact import sha256_of
from pipeline.errors import Failed
from pipeline.stages import export as stage
from pipeline.stages.export import count_macs, export


def test_a_file_with_its_figures(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    net = TinyNet()
    made = export(net, (1, 1, 8, 8), tmp_path / "a.onnx", examples=np.ones((2, 1, 8, 8), dtype=np.float32))
    assert made.exporter == "tracing"
    assert (made.input_name, made.input_shape, made.precision) == ("pixels", (1, 1, 8, 8), "none")
    assert made.parameters == sum(parameter.numel() for parameter in net.parameters())
    assert (made.sha256, made.size_bytes) == (sha256_of(made.path), made.path.stat().st_size)
    graph = onnx.load(made.path).graph
    assert [value.name for value in (*graph.input, *graph.output)] == ["pixels", "logits"]
    assert [side.dim_value for side in graph.input[0].type.tensor_type.shape.dim] == [1, 1, 8, 8]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx"]
    assert capfd.readouterr() == ("", "")


def test_macs_by_hand() -> None:
    # 3x3 convolutions: 1 -> 12 on 8 x 8, then 12 -> 24 on 4 x 4; classifier 24 -> 10
    assert count_macs(TinyNet(), (1, 1, 8, 8)) == 9 * 12 * 64 + 9 * 12 * 24 * 16 + 240


def test_attention_is_counted() -> None:
    class Attention(nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return nn.functional.scaled_dot_product_attention(pixels, pixels, pixels)

    assert count_macs(Attention(), (1, 2, 5, 8)) == 2 * (2 * 5 * 5 * 8)  # heads 2, tokens 5, width 8; two products


def test_the_other_exporter_takes_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("aten::diff unsupported")

    monkeypatch.setattr(stage, "_traced", broken)
    made = export(TinyNet(), (1, 1, 8, 8), tmp_path / "a.onnx")
    assert capfd.readouterr() == ("", "")
    assert made.exporter == "dynamo"
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]
    monkeypatch.setattr(stage, "_dynamo", broken)
    with pytest.raises(Failed, match=r"tracing: aten::diff unsupported; dynamo: aten::diff"):
        export(TinyNet(), (1, 1, 8, 8), tmp_path / "b.onnx")


class _Lies(nn.Module):
    """Answers otherwise while it is traced, as a module does whose Python looks at its data."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        flat = pixels.flatten(1)
        return flat + self.value if torch.jit.is_tracing() else flat


def test_a_file_that_answers_differently_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(Failed, match=r"answers differently from torch: by 0\.5"):
        export(_Lies(0.5), (1, 1, 2, 2), tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())
    assert export(_Lies(0.5), (1, 1, 2, 2), tmp_path / "a.onnx", tolerance=0.6).path.exists()
    with pytest.raises(Failed, match="by nan"):
        export(_Lies(float("nan")), (1, 1, 2, 2), tmp_path / "b.onnx")
