"""Plain or depthwise-separable convolutional students: few, large operations, which is what a CPU likes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from search_spaces.candidate import Scalar
from search_spaces.dimension import Choice, Dimension, Range
from search_spaces.family import PrunePlan
from search_spaces.inputs import ImageInput

if TYPE_CHECKING:
    from torch import nn

_WIDEST = 256  # channels stop doubling here: beyond it a small image's student is slower, not better


class Family:
    """A 3x3 stem, then stages that halve the map and double the channels, global average pooling, one linear layer.

    Separable blocks: Howard et al. 2017, arXiv 1704.04861. No residual sums: at this depth batch normalisation trains
    without them, and every node of the exported graph costs time.
    """

    name = "convnet"
    input_kind = "image"
    inherits = False
    # integer convolutions need calibrated activations: weight-only and dynamic schemes leave convolutions as they are
    # or slow them down
    schemes = ("none", "fp16", "static_int8")
    prunable = True
    nested = ("width", "depth")

    def dimensions(self, input: ImageInput) -> dict[str, Dimension]:
        return {
            "resolution": Choice(_resolutions(input.size), default=input.size),
            "stem_stride": Choice((1, 2), default=1),
            "stages": Range(2, 4, step=1, integer=True, default=3),
            "width": Range(8, 64, step=8, integer=True, default=16),
            "depth": Range(1, 3, step=1, integer=True, default=1),
            "block": Choice(("plain", "separable"), default="plain"),
        }

    def refuses(self, architecture: Mapping[str, Scalar], input: ImageInput) -> str | None:  # noqa: ARG002
        side = -(-int(architecture["resolution"]) // int(architecture["stem_stride"]))
        for _ in range(int(architecture["stages"])):
            side = -(-side // 2)
        if side < 2:
            return (
                f"{architecture['stages']} stages with stem_stride {architecture['stem_stride']} shrink "
                f"{architecture['resolution']} pixels to one; use fewer stages, stem_stride 1 or a larger resolution"
            )
        return None

    def shape(self, architecture: Mapping[str, Scalar], input: ImageInput) -> dict[str, Any]:
        width, depth = int(architecture["width"]), int(architecture["depth"])
        wide = [min(width * 2**stage, max(width, _WIDEST)) for stage in range(1, int(architecture["stages"]) + 1)]
        return {
            "family": self.name,
            "input_size": int(architecture["resolution"]),
            "channels": input.channels,
            "classes": input.classes,
            "block": str(architecture["block"]),
            "stem_stride": int(architecture["stem_stride"]),
            "stem": width,
            "stages": [[channels] * depth for channels in wide],
        }

    def aligned(self, architecture: Mapping[str, Scalar], input: ImageInput) -> bool:  # noqa: ARG002
        return False  # its maps are not the teacher's

    def build(self, shape: Mapping[str, Any]) -> nn.Module:
        from search_spaces.students._convnet_module import ConvNet

        return ConvNet(shape)

    def shape_of(self, module: nn.Module) -> dict[str, Any]:
        from search_spaces.students._convnet_module import shape_of

        return {"family": self.name, **shape_of(module)}

    def prune_plan(self, module: nn.Module) -> PrunePlan:
        return PrunePlan(ignored=[module.classifier])


def _resolutions(size: int) -> tuple[int, ...]:
    """The task's own size, and three quarters and a half of it as multiples of 4, none below 8."""
    smaller = {4 * round(size * share / 4) for share in (0.75, 0.5)}
    return (*sorted(side for side in smaller if 8 <= side < size), size)
