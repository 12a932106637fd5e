"""Small vision transformers: patches, a few pre-normalised layers, mean pooling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from search_spaces.candidate import Scalar
from search_spaces.compression import SCHEMES
from search_spaces.dimension import Choice, Dimension, Range
from search_spaces.family import PrunePlan
from search_spaces.inputs import ImageInput
from search_spaces.values import SpaceError

if TYPE_CHECKING:
    from torch import nn

_FEWEST, _MOST = 4, 16  # patches along one side: below there is nothing to attend to, above attention costs too much


class Family:
    """A vision transformer (Dosovitskiy et al. 2020, arXiv 2010.11929) without a class token.

    Its width is heads x head_width, so that it always divides; pruning removes whole heads and feed-forward neurons
    layer by layer and keeps the width.
    """

    name = "transformer"
    input_kind = "image"
    inherits = False
    schemes = SCHEMES
    prunable = True
    nested = ("layers", "heads", "head_width", "ff_ratio")

    def dimensions(self, input: ImageInput) -> dict[str, Dimension]:
        patches = _patches(input.size)
        if not patches:
            raise SpaceError(
                f"transformer: no patch divides {input.size} pixels into {_FEWEST} to {_MOST} parts; "
                f"set `size: {input.size // 4 * 4 or 4}` in the task, or take transformer out of `students`"
            )
        return {
            "patch": Choice(patches, default=patches[len(patches) // 2]),
            "layers": Range(1, 6, step=1, integer=True, default=4),
            "heads": Range(1, 6, step=1, integer=True, default=3),
            "head_width": Choice((16, 24, 32), default=32),
            "ff_ratio": Range(1, 4, step=1, integer=True, default=2),
        }

    def refuses(self, architecture: Mapping[str, Scalar], input: ImageInput) -> str | None:
        if input.size % int(architecture["patch"]):
            return f"patch {architecture['patch']} does not divide {input.size} pixels; choose one that does"
        return None

    def shape(self, architecture: Mapping[str, Scalar], input: ImageInput) -> dict[str, Any]:
        heads = int(architecture["heads"])
        width = heads * int(architecture["head_width"])
        layer = {"heads": heads, "ff": width * int(architecture["ff_ratio"])}
        return {
            "family": self.name,
            "input_size": input.size,
            "channels": input.channels,
            "classes": input.classes,
            "patch": int(architecture["patch"]),
            "width": width,
            "head_width": int(architecture["head_width"]),
            "layers": [dict(layer) for _ in range(int(architecture["layers"]))],
        }

    def aligned(self, architecture: Mapping[str, Scalar], input: ImageInput) -> bool:  # noqa: ARG002
        return False  # its maps are not the teacher's

    def build(self, shape: Mapping[str, Any]) -> nn.Module:
        from search_spaces.students._transformer_module import Transformer

        return Transformer(shape)

    def shape_of(self, module: nn.Module) -> dict[str, Any]:
        from search_spaces.students._transformer_module import shape_of

        return {"family": self.name, **shape_of(module)}

    def prune_plan(self, module: nn.Module) -> PrunePlan:
        # every layer that writes into the residual stream keeps its outputs, so the width stays as it is
        writers = [module.patches, module.classifier]
        heads: dict[nn.Module, int] = {}
        for layer in module.layers:
            writers += [layer.attention.out, layer.ff_out]
            for projection in (layer.attention.query, layer.attention.key, layer.attention.value):
                heads[projection] = layer.attention.heads
        return PrunePlan(ignored=writers, num_heads=heads)


def _patches(size: int) -> tuple[int, ...]:
    return tuple(patch for patch in range(1, size + 1) if size % patch == 0 and _FEWEST <= size // patch <= _MOST)
