"""From an image to numbers: decode, convert, resize by Pillow; scale and normalise by numpy. Nothing else, anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

MODES = {1: "L", 3: "RGB"}


def square(image: Image.Image, channels: int, size: int) -> np.ndarray:
    """uint8 [C, S, S]; an image that is not square is stretched."""
    image = image.convert(MODES[channels])
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def normalise(pixels: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """float32 [..., C, S, S] from uint8 of the same shape: (pixel / 255 - mean) / std, per channel."""
    middle = np.asarray(mean, dtype=np.float32)[:, None, None]
    spread = np.asarray(std, dtype=np.float32)[:, None, None]
    return (pixels.astype(np.float32) / np.float32(255) - middle) / spread


def mean_and_std(pixels: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Per channel of uint8 [N, C, S, S], of pixel / 255; exact, by counting the 256 values."""
    levels = np.arange(256) / 255
    means, stds = [], []
    for channel in range(pixels.shape[1]):
        counts = sum(np.bincount(block.ravel(), minlength=256) for block in _blocks(pixels[:, channel]))
        share = counts / np.sum(counts)
        mean = float(share @ levels)
        means.append(round(mean, 6))
        # A channel without any variation must not be divided by nothing.
        stds.append(round(max(float(share @ (levels - mean) ** 2) ** 0.5, 1e-3), 6))
    return tuple(means), tuple(stds)


def _blocks(array: np.ndarray, rows: int = 4096) -> Iterator[np.ndarray]:
    for start in range(0, len(array), rows):
        yield array[start : start + rows]
