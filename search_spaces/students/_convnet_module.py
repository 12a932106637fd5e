"""The torch module of the convolutional family."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


class ConvNet(nn.Module):  # type: ignore[misc]
    """Stem, stages of blocks, global average pooling, classifier; see `convnet.Family.shape` for the sizes."""

    def __init__(self, shape: Mapping[str, Any]) -> None:
        super().__init__()
        self.block = shape["block"]
        self.input_size = shape["input_size"]
        self.stem = _conv(shape["channels"], shape["stem"], 3, shape["stem_stride"])
        before = shape["stem"]
        stages = []
        for widths in shape["stages"]:
            blocks = []
            for place, width in enumerate(widths):
                blocks.append(_BLOCKS[self.block](before, width, 2 if place == 0 else 1))
                before = width
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(before, shape["classes"])

    def features(self, pixels: Tensor) -> Tensor:
        """[N, C, S, S] -> [N, D], averaged over the last map."""
        return self.pool(self.stages(self.stem(pixels))).flatten(1)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.classifier(self.features(pixels))


def shape_of(module: ConvNet) -> dict[str, Any]:
    """Every size, read from the layers as they are."""
    return {
        "input_size": module.input_size,
        "channels": module.stem[0].in_channels,
        "classes": module.classifier.out_features,
        "block": module.block,
        "stem_stride": module.stem[0].stride[0],
        "stem": module.stem[0].out_channels,
        "stages": [[_last_conv(block).out_channels for block in stage] for stage in module.stages],
    }


def _conv(before: int, after: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    # batch normalisation brings the bias; the runtime folds it into the convolution
    conv = nn.Conv2d(before, after, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    return nn.Sequential(conv, nn.BatchNorm2d(after), nn.ReLU(inplace=True))


def _plain(before: int, after: int, stride: int) -> nn.Sequential:
    return _conv(before, after, 3, stride)


def _separable(before: int, after: int, stride: int) -> nn.Sequential:
    return nn.Sequential(*_conv(before, before, 3, stride, groups=before), *_conv(before, after, 1))


_BLOCKS = {"plain": _plain, "separable": _separable}


def _last_conv(block: nn.Sequential) -> nn.Conv2d:
    return next(layer for layer in reversed(block) if isinstance(layer, nn.Conv2d))
