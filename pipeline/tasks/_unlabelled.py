"""Rows without labels beside those of train: how they are numbered, and which of them an epoch shows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pipeline.tasks._buckets import Copies
from pipeline.tasks._replace import Replaced
from pipeline.tasks._transfer import Transfer


class Unlabelled:
    """`transfer` and `replaced`, each where it is configured; behind the N rows of train in this order."""

    def __init__(self, transfer: Transfer | None, replaced: Replaced | None) -> None:
        self._transfer, self._replaced = transfer, replaced
        named = {"transfer": transfer, "replaced": replaced}
        self.parts: dict[str, Transfer | Replaced] = {name: part for name, part in named.items() if part is not None}

    def keys(self) -> dict[str, str]:
        """By name what changes when the texts do. Errors: ConfigError, Unavailable."""
        return {name: part.key for name, part in self.parts.items()}

    def check(self) -> None:
        """Errors: ConfigError, Unavailable where they cannot be read or made."""
        for part in self.parts.values():
            part.check()

    def make(self, progress: Callable[[str], None]) -> None:
        """Make what is made, where it is not known yet."""
        for part in self.parts.values():
            part.make(progress)

    def shown(self, augment: str, rows: np.ndarray, count: int, share: float) -> tuple[np.ndarray, Copies | None]:
        """What an epoch shows instead of `rows` of the `count` of train, and the copies that may stand for them."""
        copies = None
        if self._replaced is not None and "replace" in augment:
            first = count + (self._transfer.rows if self._transfer is not None else 0)
            copies = Copies(count, first, self._replaced.copies)
        if self._transfer is not None and "transfer" in augment:
            rows = np.concatenate([rows, count + self._transfer.part(share)])
        return rows, copies
