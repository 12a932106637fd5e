from __future__ import annotations

import io
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from search_spaces import SpaceError, load_family
from search_spaces.inputs import TextInput
from search_spaces.students.bert import taken

torch.set_num_threads(1)

MINI = TextInput(
    classes=2, max_length=128, vocabulary=30522, used=9000, token_types=1, layers=6, width=384, heads=12, ff=1536
)
TINY = TextInput(classes=3, max_length=48, vocabulary=90, used=60, token_types=2, layers=4, width=32, heads=4, ff=64)
SHAPE = {
    "family": "bert",
    "max_length": 48,
    "vocabulary_kind": "full",
    "vocabulary": 90,
    "token_types": 2,
    "width": 32,
    "head_width": 8,
    "eps": 1e-12,
    "classes": 3,
    "layers": [{"heads": 4, "ff": 64}, {"heads": 1, "ff": 24}, {"heads": 3, "ff": 40}],
    "taken": [0, 1, 3],
}


def student(shape: dict[str, Any] = SHAPE) -> nn.Module:
    """With numbers as after training: fresh normalisations, biases and tiny weights would hide faults."""
    torch.manual_seed(1)
    module = load_family("bert").build(shape)
    for parameter in module.parameters():
        nn.init.normal_(parameter, mean=0.5 if parameter.ndim == 1 else 0.0, std=0.3)
    return module.eval()


def ids(rows: int, tokens: int) -> Tensor:
    return torch.randint(1, 90, (rows, tokens), generator=torch.Generator().manual_seed(rows * 100 + tokens))


def test_offers_parts_of_a_real_teacher() -> None:
    axes = load_family("bert").dimensions(MINI)
    assert axes["layers"].values() == (1, 2, 3, 4, 5, 6) and axes["layers"].start == 3
    assert axes["width"].values() == (96, 128, 192, 256, 288, 384) and axes["width"].start == 384
    assert axes["heads"].values() == (3, 4, 6, 9, 12) and axes["heads"].start == 12
    assert axes["ff"].values() == (256, 384, 512, 768, 1152, 1536) and axes["ff"].start == 1536
    assert axes["max_length"].values() == (64, 128) and axes["max_length"].start == 128
    assert axes["vocabulary"].values() == ("full", "used")
    assert axes["layer_map"].start == "spread" and axes["init"].start == "projection"


@pytest.mark.parametrize(("longest", "lengths"), [(64, (64,)), (50, (50,)), (100, (64, 100)), (512, (64, 128, 512))])
def test_no_length_is_beyond_the_teachers(longest: int, lengths: tuple[int, ...]) -> None:
    text = TextInput(2, longest, 90, 90, 1, 1, 30, 3, 60)
    axes = load_family("bert").dimensions(text)
    assert axes["max_length"].values() == lengths
    assert axes["vocabulary"].values() == ("full",)
    assert axes["layers"].values() == (1,)
    assert axes["width"].values() == (8, 16, 24, 30)
    assert axes["heads"].values() == (1, 2, 3)


@pytest.mark.parametrize(
    ("layer_map", "layers", "of", "expected"),
    [
        ("spread", 3, 6, [0, 2, 5]),
        ("spread", 2, 6, [0, 5]),
        ("spread", 1, 6, [5]),
        ("spread", 4, 6, [0, 2, 3, 5]),
        ("spread", 6, 12, [0, 2, 4, 7, 9, 11]),
        ("first", 2, 6, [0, 1]),
        ("last", 2, 6, [4, 5]),
    ],
)
def test_layer_maps(layer_map: str, layers: int, of: int, expected: list[int]) -> None:
    assert taken(layer_map, layers, of) == expected


def test_every_layer_map_takes_different_layers_in_their_order() -> None:
    for of in range(1, 25):
        for layers in range(1, of + 1):
            found = [taken(name, layers, of) for name in ("spread", "first", "last")]
            assert all(rows == sorted(set(rows)) and len(rows) == layers for rows in found)
            assert found[0][-1] == found[2][-1] == of - 1
            assert layers == 1 or found[0][0] == 0


@pytest.mark.parametrize(
    ("vocabulary", "length", "same"), [("full", 128, True), ("used", 128, False), ("full", 64, False)]
)
def test_states_compare_where_the_pieces_are_the_teachers(vocabulary: str, length: int, same: bool) -> None:
    assert load_family("bert").aligned({"vocabulary": vocabulary, "max_length": length}, MINI) is same


def test_a_teacher_that_cannot_be_taken_apart_is_said_in_a_sentence() -> None:
    with pytest.raises(SpaceError, match=r"width 30 does not fall into 4 heads.*; give"):
        load_family("bert").dimensions(TextInput(2, 64, 90, 90, 1, 2, 30, 4, 60))
    with pytest.raises(SpaceError, match=r"2 tokens hold no text .*; set `max_length: 64`"):
        load_family("bert").dimensions(TextInput(2, 2, 90, 90, 1, 2, 32, 4, 60))


def test_starts_as_bert_does() -> None:
    torch.manual_seed(0)
    module = load_family("bert").build(SHAPE)
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            assert 0.015 < part.weight.detach().std().item() < 0.025
        if isinstance(part, nn.Linear):
            assert not part.bias.any()


def test_forward_skips_what_no_logit_reads_and_changes_none() -> None:
    module = student()
    for rows in (1, 3):
        states = module.states(ids(rows, 11))
        torch.testing.assert_close(module(ids(rows, 11)), states.logits, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(module.features(ids(rows, 11)), states.pooled, atol=1e-5, rtol=1e-5)
    assert states.logits.detach().std().item() > 0.1
    seen: list[tuple[int, ...]] = []
    module.layers[-1].ff_in.register_forward_hook(lambda _, __, output: seen.append(tuple(output.shape)))
    module(ids(3, 11))
    module(ids(1, 11))
    assert seen == [(3, 1, 40), (1, 40)]


def test_states_have_the_shapes_they_say() -> None:
    states = student().states(ids(2, 7), torch.ones(2, 7, dtype=torch.int64), torch.zeros(2, 7, dtype=torch.int64))
    assert states.embedded.shape == (2, 7, 32)
    assert [tuple(hidden.shape) for hidden in states.hidden] == [(2, 7, 32)] * 3
    for part in (states.queries, states.keys, states.values):
        assert [tuple(heads.shape) for heads in part] == [(2, 4, 7, 8), (2, 1, 7, 8), (2, 3, 7, 8)]
    assert [tuple(scores.shape) for scores in states.scores] == [(2, 4, 7, 7), (2, 1, 7, 7), (2, 3, 7, 7)]
    torch.testing.assert_close(states.scores[0], states.queries[0] @ states.keys[0].mT / 8**0.5)
    assert (states.pooled.shape, states.logits.shape) == ((2, 32), (2, 3))


@pytest.mark.parametrize("pairs", [False, True])
def test_padding_changes_nothing(pairs: bool) -> None:
    module, lengths = student(), (3, 9, 16)
    padded = torch.full((3, 16), 77)  # not even a padding piece: the mask alone decides
    mask, types = torch.zeros(3, 16, dtype=torch.int64), torch.zeros(3, 16, dtype=torch.int64)
    alone = []
    for row, length in enumerate(lengths):
        padded[row, :length], mask[row, :length] = ids(1, length)[0], 1
        types[row, length // 2 : length] = 1
        alone.append(module(ids(1, length), None, types[row : row + 1, :length] if pairs else None))
    together = module(padded, mask, types if pairs else None)
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(module.states(padded, mask, types if pairs else None).logits, together)
    assert (module(padded, None, types if pairs else None) - together).abs().max() > 1e-3


def test_token_types_are_told_apart_and_zero_by_default() -> None:
    module = student()
    zeros = torch.zeros(1, 6, dtype=torch.int64)
    torch.testing.assert_close(module(ids(1, 6)), module(ids(1, 6), None, zeros), atol=1e-5, rtol=1e-5)
    assert (module(ids(1, 6), None, zeros + 1) - module(ids(1, 6))).abs().max() > 1e-2


class Pairs(nn.Module):
    """As pairs are exported: without a mask."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, input_ids: Tensor, token_type_ids: Tensor) -> Tensor:
        return self.module(input_ids, None, token_type_ids)


def exported(module: nn.Module, *names: str) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            tuple(torch.zeros(1, 5, dtype=torch.int64) for _ in names),
            buffer,
            dynamo=False,
            opset_version=17,
            input_names=list(names),
            dynamic_axes={name: {1: "tokens"} for name in names},
        )
    return buffer.getvalue()


@pytest.mark.parametrize("tokens", [2, 5, 48])
def test_an_exported_file_answers_at_every_length(tokens: int) -> None:
    module = student()
    types = (torch.arange(tokens) > tokens // 2).long()[None]
    feeds = {"input_ids": ids(1, tokens).numpy(), "token_type_ids": types.numpy()}
    for file, inputs, expected in (
        (exported(module, "input_ids"), ["input_ids"], module(ids(1, tokens))),
        (exported(Pairs(module), *feeds), list(feeds), module(ids(1, tokens), None, types)),
    ):
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        found = session.run(None, {name: feeds[name] for name in inputs})[0]
        np.testing.assert_allclose(found, expected.detach().numpy(), atol=1e-4)


def test_the_runtimes_graph_holds_little_but_arithmetic(tmp_path: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(exported(student(), "input_ids"), options, providers=["CPUExecutionProvider"])
    nodes = Counter(node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node)
    assert not nodes.keys() & {"Where", "Cast", "Equal", "Expand", "Concat", "Div", "Mul", "Erf", "Sqrt", "Constant"}
    layers = 3
    assert nodes["Gelu"] + nodes["BiasGelu"] == layers
    assert nodes["LayerNormalization"] + nodes["SkipLayerNormalization"] == 2 * layers + 1
    # query, key and value are split and joined once each; a product swallows the transposes of its inputs
    assert nodes["Transpose"] == layers and nodes["Reshape"] == 4 * layers
    assert (nodes["Shape"], nodes["Slice"]) == (1, 2)
    assert sum(nodes.values()) <= 21 * layers + 10
