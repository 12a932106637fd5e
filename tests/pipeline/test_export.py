from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from learning_helper import TinyNet
from torch import nn

from pipeline.artifact import sha256_of
from pipeline.errors import Failed
from pipeline.stages import export as stage
from pipeline.stages.export import Inputs, count_macs, export
from pipeline.tasks import InputSpec


def images(channels: int, size: int) -> Inputs:
    return Inputs((InputSpec("pixels"),), (torch.zeros(1, channels, size, size),), {"input_size": size})


def test_a_file_with_its_figures(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    net = TinyNet()
    made = export(net, images(1, 8), tmp_path / "a.onnx")
    assert made.exporter == "tracing"
    assert (made.inputs, made.view, made.precision) == (("pixels",), {"input_size": 8}, "none")
    assert made.parameters == sum(parameter.numel() for parameter in net.parameters())
    assert (made.sha256, made.size_bytes) == (sha256_of(made.path), made.path.stat().st_size)
    graph = onnx.load(made.path).graph
    assert [value.name for value in (*graph.input, *graph.output)] == ["pixels", "logits"]
    assert [side.dim_value for side in graph.input[0].type.tensor_type.shape.dim] == [1, 1, 8, 8]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx"]
    assert capfd.readouterr() == ("", "")


def test_macs_by_hand() -> None:
    # 3x3 convolutions: 1 -> 12 on 8 x 8, then 12 -> 24 on 4 x 4; classifier 24 -> 10
    assert count_macs(TinyNet(), (torch.zeros(1, 1, 8, 8),)) == 9 * 12 * 64 + 9 * 12 * 24 * 16 + 240


def test_attention_is_counted() -> None:
    class Attention(nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return nn.functional.scaled_dot_product_attention(pixels, pixels, pixels)

    # heads 2, tokens 5, width 8; two products
    assert count_macs(Attention(), (torch.zeros(1, 2, 5, 8),)) == 2 * (2 * 5 * 5 * 8)


def test_the_other_exporter_takes_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("aten::diff unsupported")

    monkeypatch.setattr(stage, "_traced", broken)
    made = export(TinyNet(), images(1, 8), tmp_path / "a.onnx")
    assert capfd.readouterr() == ("", "")
    assert made.exporter == "dynamo"
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]
    monkeypatch.setattr(stage, "_dynamo", broken)
    with pytest.raises(Failed, match=r"tracing: aten::diff unsupported; dynamo: aten::diff"):
        export(TinyNet(), images(1, 8), tmp_path / "b.onnx")


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
        export(_Lies(0.5), images(1, 2), tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())
    assert export(_Lies(0.5), images(1, 2), tmp_path / "a.onnx", tolerance=0.6).path.exists()
    with pytest.raises(Failed, match="by nan"):
        export(_Lies(float("nan")), images(1, 2), tmp_path / "b.onnx")


class _Words(nn.Module):
    """Reads pieces of any length; a mask that is given counts, and token types are shifted in."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.types, self.classifier = nn.Embedding(20, 8), nn.Embedding(2, 8), nn.Linear(8, 3)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
    ) -> torch.Tensor:
        states = self.words(input_ids)
        if token_type_ids is not None:
            states = states + self.types(token_type_ids)
        if attention_mask is not None:
            states = states * attention_mask[..., None] * 100
        heads = states[:, None]
        mixed = nn.functional.scaled_dot_product_attention(heads, heads, heads, scale=1.0)
        return self.classifier(mixed[:, 0].mean(1))


def pieces(length: int, pair: bool) -> tuple[torch.Tensor, ...]:
    ids = torch.arange(length)[None] % 20
    return (ids, (ids > length // 2).long()) if pair else (ids,)


@pytest.mark.parametrize("pair", [False, True])
@pytest.mark.parametrize("exporter", ["tracing", "dynamo"])
def test_texts_of_any_length_with_and_without_token_types(
    pair: bool, exporter: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("not this one")

    if exporter == "dynamo":
        monkeypatch.setattr(stage, "_traced", broken)
    names = ["input_ids", "token_type_ids"][: 1 + pair]
    specs = tuple(InputSpec(name, {1: "length"}) for name in names)
    others = [pieces(length, pair) for length in (3, 19, 2)]
    net = _Words()
    made = export(net, Inputs(specs, pieces(7, pair), {"max_length": 20}, others), tmp_path / "a.onnx")
    assert (made.exporter, made.inputs, made.view) == (exporter, tuple(names), {"max_length": 20})
    graph = onnx.load(made.path).graph
    assert [value.name for value in graph.input] == names
    assert all(value.type.tensor_type.shape.dim[1].dim_param for value in graph.input)
    assert made.macs == count_macs(net, pieces(7, False)) == 2 * 7 * 7 * 8 + 8 * 3


def test_a_length_that_was_traced_in_is_found(tmp_path: Path) -> None:
    class Fixed(_Words):
        def forward(self, input_ids: torch.Tensor, *_: object) -> torch.Tensor:  # type: ignore[override]
            return super().forward(input_ids) * (input_ids.shape[1] if not torch.jit.is_tracing() else 7)

    specs = (InputSpec("input_ids", {1: "length"}),)
    with pytest.raises(Failed, match="answers differently from torch"):
        export(Fixed(), Inputs(specs, pieces(7, False), {}, [pieces(5, False)]), tmp_path / "a.onnx")
