"""Batches of texts of about one length, so that little of a batch is padding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from pipeline.tasks._tokens import TokenTable
from pipeline.training import Batch

WINDOW = 50  # batches among which rows are sorted by length: chance decides the rest
# Widths are rounded up to it. Measured on SST-2, whose training rows have 10 pieces at the median: by 8 makes 23 % of
# what is computed padding, by 2 8 %; a training step costs no less per piece at multiples of 8.
MULTIPLE = 2


@dataclass(frozen=True)
class Copies:
    """`count` replaced copies of each of the first `rows` rows: copy c of row r is row `first + c * rows + r`."""

    rows: int
    first: int
    count: int

    def shown(self, rows: np.ndarray, generator: torch.Generator) -> np.ndarray:
        """The same rows, half of those that have copies turned into one of them by chance."""
        turned = (torch.rand(len(rows), generator=generator) < 0.5).numpy() & (rows < self.rows)
        copy = torch.randint(self.count, (len(rows),), generator=generator).numpy()
        shown: np.ndarray = np.where(turned, self.first + copy * self.rows + rows, rows)
        return shown

    def all_of(self, rows: np.ndarray) -> np.ndarray:
        """The rows and every copy of them."""
        copied = rows[rows < self.rows]
        return np.concatenate([rows, *(self.first + copy * self.rows + copied for copy in range(self.count))])


@dataclass(frozen=True)
class TokenBatches:
    """A split's token ids in batches, padded with `pad` to their longest row, never above `longest` pieces."""

    table: TokenTable
    pad: int
    longest: int
    batch_size: int = 64
    only: np.ndarray | None = None  # int64 rows that an epoch shows; None: all
    copies: Copies | None = None  # that an epoch shows in their place now and then

    @property
    def steps(self) -> int:
        """Batches per epoch; a rest smaller than half a batch is left to the next shuffle."""
        return max(1, round(len(self._shown) / self.batch_size))

    @property
    def _shown(self) -> np.ndarray:
        return np.arange(len(self.table)) if self.only is None else self.only

    def epoch(self, generator: torch.Generator) -> Iterator[Batch]:
        """One pass in random order: shuffled, sorted by length within windows, the batches shuffled again."""
        shown = self._shown
        order = shown[torch.randperm(len(shown), generator=generator).numpy()[: self.steps * self.batch_size]]
        if self.copies is not None:
            order = self.copies.shown(order, generator)
        batches = [
            rows
            for start in range(0, len(order), WINDOW * self.batch_size)
            for rows in _sorted(self.table.lengths, order[start : start + WINDOW * self.batch_size], self.batch_size)
        ]
        for place in torch.randperm(len(batches), generator=generator).tolist():
            yield self._batch(batches[place])

    def in_order(self, batch_size: int = 256) -> Iterator[Batch]:
        """Every row once, sorted by length; `Batch.rows` says which they are."""
        for rows in _sorted(self.table.lengths, np.arange(len(self.table)), batch_size):
            yield self._batch(rows)

    def pieces(self) -> np.ndarray:
        """int64 word pieces that an epoch can show, the padding among them."""
        shown = np.zeros(len(self.table), dtype=bool)
        shown[self._shown if self.copies is None else self.copies.all_of(self._shown)] = True
        return np.union1d(self.table.ids[np.repeat(shown, self.table.lengths)], [self.pad]).astype(np.int64)

    def _batch(self, rows: np.ndarray) -> Batch:
        starts = self.table.starts[rows]
        lengths = self.table.starts[rows + 1] - starts
        width = min(-(-int(lengths.max()) // MULTIPLE) * MULTIPLE, self.longest)
        steps = np.arange(width)
        there = steps < lengths[:, None]
        places = (starts[:, None] + steps)[there]
        ids = np.full(there.shape, self.pad, dtype=np.int64)
        ids[there] = self.table.ids[places]
        arrays = [ids, there.astype(np.int64)]
        if self.table.types is not None:
            types = np.zeros(there.shape, dtype=np.int64)
            types[there] = self.table.types[places]
            arrays.append(types)
        inputs = tuple(torch.from_numpy(array) for array in arrays)
        return Batch(inputs, torch.from_numpy(rows), torch.zeros(len(rows), dtype=torch.bool))


def _sorted(lengths: np.ndarray, rows: np.ndarray, batch_size: int) -> list[np.ndarray]:
    # A stable sort: rows of one length stay in the order in which they came, shuffled or not.
    ordered = rows[np.argsort(lengths[rows], kind="stable")]
    return [ordered[start : start + batch_size] for start in range(0, len(ordered), batch_size)]
