"""Batches of images: pixels stay uint8 in memory and are shifted, mirrored and normalised batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from pipeline.training import Batch


@dataclass(frozen=True)
class Images:
    """uint8 [N, C, S, S] pixels with their normalisation and augmentation, served in shuffled batches."""

    pixels: np.ndarray
    mean: Sequence[float]
    std: Sequence[float]
    augment: str = "none"  # none, shift, flip_shift
    batch_size: int = 128
    only: np.ndarray | None = None  # int64 rows that an epoch shows; None: all

    @property
    def steps(self) -> int:
        """Batches per epoch; a rest smaller than half a batch is left to the next shuffle."""
        return max(1, round(len(self._shown) / self.batch_size))

    @property
    def _shown(self) -> np.ndarray:
        return np.arange(len(self.pixels)) if self.only is None else self.only

    def epoch(self, generator: torch.Generator) -> Iterator[Batch]:
        """One pass in random order; `generator` decides the order and every augmentation."""
        source, shown = torch.from_numpy(self.pixels), torch.from_numpy(self._shown)
        order = shown[torch.randperm(len(shown), generator=generator)]
        for rows in order[: self.steps * self.batch_size].split(self.batch_size):
            pixels, mirrored = augmented(source[rows], self.augment, generator)
            yield Batch((self.normalised(pixels),), rows, mirrored)

    def pieces(self) -> None:
        return None

    def in_order(self, batch_size: int = 256) -> Iterator[Batch]:
        """All rows, as they are."""
        rows = torch.arange(len(self.pixels))
        for block, places in zip(torch.from_numpy(self.pixels).split(batch_size), rows.split(batch_size), strict=True):
            yield Batch((self.normalised(block),), places, torch.zeros(len(places), dtype=torch.bool))

    def normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        mean = torch.tensor(self.mean).view(-1, 1, 1)
        std = torch.tensor(self.std).view(-1, 1, 1)
        return (pixels.float() / 255 - mean) / std


def augmented(pixels: torch.Tensor, augment: str, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """uint8 [B, C, S, S] shifted by up to 1/14 of the side each way (black comes in), and for `flip_shift` half of them
    mirrored; and which were mirrored, bool [B]."""
    mirrored = torch.zeros(len(pixels), dtype=torch.bool)
    if augment == "none":
        return pixels, mirrored
    size = pixels.shape[-1]
    if augment == "flip_shift":
        mirrored = torch.rand(len(pixels), generator=generator) < 0.5
        pixels = torch.where(mirrored[:, None, None, None], pixels.flip(-1), pixels)
    reach = max(1, size // 14)
    padded = nn.functional.pad(pixels, (reach,) * 4)
    steps = torch.randint(0, 2 * reach + 1, (2, len(pixels), 1), generator=generator) + torch.arange(size)
    sample = torch.arange(len(pixels))[:, None, None]
    # Advanced indices on both sides of the channel slice put it last.
    return padded[sample, :, steps[0][:, :, None], steps[1][:, None, :]].permute(0, 3, 1, 2), mirrored
