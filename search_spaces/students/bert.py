"""BERT encoders that can inherit from a BERT teacher: fewer layers, narrower ones, fewer pieces of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from search_spaces.candidate import Scalar
from search_spaces.compression import SCHEMES
from search_spaces.dimension import Choice, Dimension, Range
from search_spaces.family import PrunePlan
from search_spaces.inputs import TextInput
from search_spaces.values import SpaceError

if TYPE_CHECKING:
    from torch import nn

EPS = 1e-12  # of BERT's normalisations
_WIDTHS = (1, 3 / 4, 2 / 3, 1 / 2, 1 / 3, 1 / 4)  # shares of the teacher's
_HEADS = (1, 3 / 4, 1 / 2, 1 / 3, 1 / 4)
_NEURONS = (1, 3 / 4, 1 / 2, 1 / 3, 1 / 4, 1 / 6)
_FEWEST = 3  # tokens: [CLS], a piece, [SEP]


class Family:
    """A post-normalised encoder (Devlin et al. 2018, arXiv 1810.04805) with its teacher's head width.

    `layer_map` says which of the teacher's layers are taken; DistilBERT's alternate layers (Sanh et al. 2019, arXiv
    1910.01108) are `spread`. Pruning removes whole heads and feed-forward neurons layer by layer and keeps the width.
    """

    name = "bert"
    input_kind = "text"
    inherits = True
    schemes = SCHEMES
    prunable = True
    nested = ("layers", "width", "heads", "ff", "max_length")

    def dimensions(self, input: TextInput) -> dict[str, Dimension]:
        _check(input)
        lengths = (*(length for length in (64, 128) if length < input.max_length), input.max_length)
        return {
            "layers": Range(1, input.layers, step=1, integer=True, default=-(-input.layers // 2)),
            "layer_map": Choice(("spread", "first", "last")),
            "width": Choice(_shares(input.width, _WIDTHS, _step(input.width)), default=input.width),
            "heads": Choice(_shares(input.heads, _HEADS, 1), default=input.heads),
            "ff": Choice(_shares(input.ff, _NEURONS, _step(input.ff)), default=input.ff),
            "max_length": Choice(lengths, default=input.max_length),
            "vocabulary": Choice(("full", "used") if input.used < input.vocabulary else ("full",)),
            "init": Choice(("projection", "importance", "truncation", "random")),
        }

    def refuses(self, architecture: Mapping[str, Scalar], input: TextInput) -> str | None:  # noqa: ARG002
        return None

    def shape(self, architecture: Mapping[str, Scalar], input: TextInput) -> dict[str, Any]:
        kind, layers = str(architecture["vocabulary"]), int(architecture["layers"])
        layer = {"heads": int(architecture["heads"]), "ff": int(architecture["ff"])}
        return {
            "family": self.name,
            "max_length": int(architecture["max_length"]),
            "vocabulary_kind": kind,
            "vocabulary": input.used if kind == "used" else input.vocabulary,
            "token_types": input.token_types,
            "width": int(architecture["width"]),
            "head_width": input.width // input.heads,
            "eps": EPS,
            "classes": input.classes,
            "layers": [dict(layer) for _ in range(layers)],
            "taken": taken(str(architecture["layer_map"]), layers, input.layers),
        }

    def aligned(self, architecture: Mapping[str, Scalar], input: TextInput) -> bool:
        return architecture["vocabulary"] == "full" and int(architecture["max_length"]) == input.max_length

    def build(self, shape: Mapping[str, Any]) -> nn.Module:
        from search_spaces.students._bert_module import Bert

        return Bert(shape)

    def shape_of(self, module: nn.Module) -> dict[str, Any]:
        from search_spaces.students._bert_module import shape_of

        return {"family": self.name, **shape_of(module)}

    def prune_plan(self, module: nn.Module) -> PrunePlan:
        # every layer that writes into the residual stream keeps its outputs, so the width stays as it is
        writers = [module.word, module.position, module.token_type, module.pooler, module.classifier]
        heads: dict[nn.Module, int] = {}
        for layer in module.layers:
            writers += [layer.attention.out, layer.ff_out]
            for projection in (layer.attention.query, layer.attention.key, layer.attention.value):
                heads[projection] = layer.attention.heads
        return PrunePlan(ignored=writers, num_heads=heads)


def taken(layer_map: str, layers: int, of: int) -> list[int]:
    """Which `layers` of the teacher's `of` layers, from 0.

    `spread`: evenly from the first to the last (3 of 6: 0, 2, 5), a single one is the last. `first`, `last`: that end.
    """
    if layer_map == "first":
        return list(range(layers))
    if layer_map == "last":
        return list(range(of - layers, of))
    gaps = layers - 1
    # to the nearest layer, a tie to the lower one
    return [-(-(2 * step * (of - 1) - gaps) // (2 * gaps)) for step in range(layers)] if gaps else [of - 1]


def _check(input: TextInput) -> None:
    if input.width % input.heads:
        raise SpaceError(
            f"bert: the teacher's width {input.width} does not fall into {input.heads} heads, so its layers cannot be "
            "inherited; give a teacher whose width is a multiple of its heads"
        )
    if input.max_length < _FEWEST:
        raise SpaceError(
            f"bert: {input.max_length} tokens hold no text beside [CLS] and [SEP]; set `max_length: 64` in the task"
        )


def _step(size: int) -> int:
    """Sizes are multiples of 32, which matrix products like; of 8 where the teacher is tiny."""
    return 32 if size >= 128 else 8


def _shares(whole: int, shares: Sequence[float], step: int) -> tuple[int, ...]:
    smaller = {max(step, step * round(whole * share / step)) for share in shares}
    return (*sorted(size for size in smaller if size < whole), whole)
