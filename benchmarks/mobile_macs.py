"""Multiply-accumulates of the mobile networks in the MLPerf grids, from their published architectures.

MobileNetV1 (arXiv 1704.04861), V2 (1801.04381), V3 and its minimalistic form (1905.02244), EfficientNet-Lite (the TPU
repository's release of 2020: EfficientNet, arXiv 1905.11946, without squeeze-and-excite and with stem and head fixed).
"""

from __future__ import annotations

import math
import re

# expansion, channels, repeats, stride
V2 = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
# kernel, expanded channels, channels, squeeze-and-excite, stride
V3_LARGE = (
    *(
        (3, 16, 16, 0, 1),
        (3, 64, 24, 0, 2),
        (3, 72, 24, 0, 1),
        (5, 72, 40, 1, 2),
        (5, 120, 40, 1, 1),
        (5, 120, 40, 1, 1),
    ),
    *((3, 240, 80, 0, 2), (3, 200, 80, 0, 1), (3, 184, 80, 0, 1), (3, 184, 80, 0, 1), (3, 480, 112, 1, 1)),
    *((3, 672, 112, 1, 1), (5, 672, 160, 1, 2), (5, 960, 160, 1, 1), (5, 960, 160, 1, 1)),
)
V3_SMALL = (
    *(
        (3, 16, 16, 1, 2),
        (3, 72, 24, 0, 2),
        (3, 88, 24, 0, 1),
        (5, 96, 40, 1, 2),
        (5, 240, 40, 1, 1),
        (5, 240, 40, 1, 1),
    ),
    *((5, 120, 48, 1, 1), (5, 144, 48, 1, 1), (5, 288, 96, 1, 2), (5, 576, 96, 1, 1), (5, 576, 96, 1, 1)),
)
# expansion, channels, kernel, repeats, stride
LITE = (
    (1, 16, 3, 1, 1),
    (6, 24, 3, 2, 2),
    (6, 40, 5, 2, 2),
    (6, 80, 3, 3, 2),
    (6, 112, 5, 3, 1),
    (6, 192, 5, 4, 2),
    (6, 320, 3, 1, 1),
)
LITE_SIZES = ((1, 1, 224), (1, 1.1, 240), (1.1, 1.2, 260), (1.2, 1.4, 280), (1.4, 1.8, 300))  # width, depth, pixels


def macs_m(model: str) -> float:
    """Million multiply-accumulates of e.g. mobilenet-v2-0.35-96 or efficientnet-lite3. ValueError: another network."""
    if grid := re.fullmatch(r"mobilenet-v([12])-([\d.]+)-(\d+)", model):
        count = (_v1 if grid[1] == "1" else _v2)(float(grid[2]), int(grid[3]))
    elif third := re.match(r"mobilenet-v3-(large|small)", model):
        count = _v3(third[1], 0.75 if "0.75" in model else 1.0, "minimalistic" in model)
    elif lite := re.fullmatch(r"efficientnet-lite([0-4])", model):
        count = _lite(*LITE_SIZES[int(lite[1])])
    else:
        raise ValueError(f"{model} is none of the mobile networks whose MACs are known here")
    return count / 1e6


class _Network:
    """Counts while layers are put on top of each other; padding is `same`."""

    def __init__(self, size: int) -> None:
        self.size, self.channels, self.macs = size, 3, 0

    def convolve(self, out: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        self.size = -(-self.size // stride)
        self.macs += self.size**2 * kernel**2 * (self.channels // groups) * out
        self.channels = out

    def inverted(self, expanded: int, out: int, kernel: int, stride: int, squeezed: int = 0) -> None:
        if expanded != self.channels:
            self.convolve(expanded, 1)
        self.convolve(expanded, kernel, stride, groups=expanded)
        self.macs += 2 * expanded * squeezed
        self.convolve(out, 1)

    def classify(self, *widths: int) -> int:
        for width in widths:
            self.macs += self.channels * width
            self.channels = width
        return self.macs


def _eights(value: float) -> int:
    """The nearest multiple of 8 that is not below 0.9 of the value."""
    near = max(8, int(value + 4) // 8 * 8)
    return near + 8 if near < 0.9 * value else near


def _v1(width: float, size: int) -> int:
    net = _Network(size)
    net.convolve(max(int(32 * width), 8), 3, 2)
    plain = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *(((512, 1),) * 5), (1024, 2), (1024, 1))
    for out, stride in plain:
        net.convolve(net.channels, 3, stride, groups=net.channels)
        net.convolve(max(int(out * width), 8), 1)
    return net.classify(1001)


def _v2(width: float, size: int) -> int:
    net = _Network(size)
    net.convolve(_eights(32 * width), 3, 2)
    for expansion, out, repeats, stride in V2:
        for index in range(repeats):
            net.inverted(net.channels * expansion, _eights(out * width), 3, stride if index == 0 else 1)
    net.convolve(_eights(1280 * max(width, 1.0)), 1)
    return net.classify(1001)


def _v3(kind: str, width: float, minimalistic: bool) -> int:
    net = _Network(224)
    net.convolve(_eights(16 * width), 3, 2)
    for kernel, wide, out, squeeze, stride in V3_LARGE if kind == "large" else V3_SMALL:
        expanded = _eights(wide * width)
        squeezed = _eights(expanded / 4) if squeeze and not minimalistic else 0
        net.inverted(expanded, _eights(out * width), 3 if minimalistic else kernel, stride, squeezed)
    net.convolve(_eights((960 if kind == "large" else 576) * width), 1)
    return net.classify(1280 if kind == "large" else 1024, 1001)


def _lite(width: float, depth: float, size: int) -> int:
    net = _Network(size)
    net.convolve(32, 3, 2)
    for stage, (expansion, out, kernel, repeats, stride) in enumerate(LITE):
        times = repeats if stage in (0, len(LITE) - 1) else math.ceil(repeats * depth)
        for index in range(times):
            net.inverted(net.channels * expansion, _eights(out * width), kernel, stride if index == 0 else 1)
    net.convolve(1280, 1)
    return net.classify(1000)
