"""Texts without labels that are learned from too: soft targets need none (Hinton et al. 2015, arXiv 1503.02531)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config import TaskConfig, TransferConfig
from pipeline.errors import ConfigError
from pipeline.tasks._columns import Cells
from pipeline.tasks._sources import Rows, open_source
from pipeline.tasks._table import SEED, sha256
from pipeline.tasks._text_cells import column_cells


class Transfer:
    """The training rows of a further source, or `limit_rows` of them by chance; a label column is not read."""

    def __init__(self, config: TransferConfig, task: TaskConfig, cache: Path) -> None:
        self._config, self._task, self._cache = config, task, cache

    @property
    def rows(self) -> int:
        return len(self._places)

    @cached_property
    def key(self) -> str:
        """16 hex digits that change when the rows or their order change. Errors: ConfigError, Unavailable."""
        return sha256([self._source.digest(), self._places.tolist()])[:16]

    def check(self) -> None:
        """Read every row once. Errors: ConfigError, Unavailable."""
        _ = self.key

    def make(self, _: Any) -> None:
        """There is nothing to be made."""

    def cells(self) -> Iterator[tuple[str, ...]]:
        """The texts in the order of their rows."""
        return self._source.cells(self._places)

    def part(self, share: float) -> np.ndarray:
        """Ascending numbers of a share of the rows, always the same ones."""
        return _some(self.rows, max(1, round(share * self.rows)))

    @cached_property
    def _places(self) -> np.ndarray:
        count = len(self._source.labels)
        return _some(count, self._config.limit_rows or count)

    @cached_property
    def _source(self) -> Rows:
        if self._config.data.source == "sklearn":
            raise ConfigError("scikit-learn's digits are images; give `task.transfer.data` a folder or a hub name")
        task = self._task.model_copy(update={"data": self._config.data})
        try:
            return open_source(task, self._cache, self._read, labelled=False)["train"]()
        except ConfigError as error:
            # The source knows one place in a configuration where it can have been named.
            raise ConfigError(str(error).replace("`task.data", "`task.transfer.data")) from error

    def _read(self, table: Any, split: str, _task: TaskConfig, _folder: Path) -> Cells:
        columns = {"transfer.text": self._config.text}
        if self._config.text_pair is not None:
            columns["transfer.text_pair"] = self._config.text_pair
        return column_cells(table, f"{split} of task.transfer", columns)


def _some(count: int, wanted: int) -> np.ndarray:
    return np.sort(np.random.default_rng(SEED).permutation(count)[:wanted])
