"""Of a word table only the rows that training shows learn; the rest has no gradient, and is not carried along."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn

NEARLY_ALL = 0.9  # of the table's rows: where training shows so many, nothing is gained


class ShownRows:
    """An embedding that has only the rows of some pieces inside `with`, again and again, and all of them outside.

    A word table is most of a small encoder and training shows less than half of it, yet clearing its gradient, clipping
    and AdamW walk through all of it in every step. The rows that are shown learn as ever, but for the order of a sum;
    the others stay bit by bit as they were, where a whole table would shrink them by its weight decay.
    """

    def __init__(self, table: nn.Embedding, pieces: np.ndarray) -> None:
        """`pieces`: int64, in any order: all that `table` will be asked for inside."""
        padding = [] if table.padding_idx is None else [table.padding_idx]
        self.table, self.padding = table, table.padding_idx
        self.pieces = torch.from_numpy(np.union1d(pieces, padding).astype(np.int64))
        # A piece that nobody announced is beyond the end of the small table: an error, and no wrong row.
        self.places = torch.full((table.num_embeddings,), len(self.pieces), dtype=torch.int64)
        self.places[self.pieces] = torch.arange(len(self.pieces))
        self.whole, self.rows = table.weight, nn.Parameter(table.weight.detach()[self.pieces])

    def __enter__(self) -> None:
        self.rows.data.copy_(self.whole.detach()[self.pieces])
        self._show(self.rows, None if self.padding is None else int(self.places[self.padding]))
        self._hook = self.table.register_forward_pre_hook(lambda _, inputs: (self.places[inputs[0]],))

    def __exit__(self, *_: object) -> None:
        self._hook.remove()
        self.whole.data[self.pieces] = self.rows.detach()
        self._show(self.whole, self.padding)

    def _show(self, weight: nn.Parameter, padding: int | None) -> None:
        self.table.weight, self.table.padding_idx = weight, padding


def shown_rows(table: nn.Embedding | None, pieces: np.ndarray | None) -> AbstractContextManager[Any]:
    """`ShownRows`, or a context that does nothing where there is no such table or nearly all of it is shown."""
    if table is None or pieces is None or len(pieces) >= NEARLY_ALL * table.num_embeddings:
        return nullcontext()
    return ShownRows(table, pieces)
