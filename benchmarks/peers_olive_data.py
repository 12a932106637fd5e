"""What Olive's workflows of `peers.py` read: rows of a table of texts, as Olive's data registry wants them.

Olive imports this file by its path, in its own process. A row is a mapping of int64 [T] and a label; nothing is padded.
"""

from __future__ import annotations

import torch
from olive.data.registry import Registry
from peers_texts import texts_of


class Rows(torch.utils.data.Dataset):
    """Rows with their labels."""

    def __init__(self, rows: list[tuple[dict[str, torch.Tensor], torch.Tensor]]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        return self.rows[place]


@Registry.register_dataset()
def peers_texts(
    table: str,
    tokenizer: str,
    max_length: int,
    count: int | None = None,
    middle: bool = False,
    padded: bool = False,
    **_: object,
) -> Rows:
    """All rows, `count` seeded ones, or the one of median length: the one that Olive's evaluator is to time.

    `padded` rows have `max_length` pieces, the rest of them masked: calibration by histograms wants equal shapes.
    """
    rows = [
        ({name: torch.from_numpy(value[0]) for name, value in feed.items()}, torch.tensor(label))
        for feed, label in texts_of(table, tokenizer, max_length, count)
    ]
    rows = sorted(rows, key=lambda row: len(row[0]["input_ids"]))[len(rows) // 2 :][:1] if middle else rows
    return Rows([(_padded(feed, max_length), label) for feed, label in rows] if padded else rows)


def _padded(feed: dict[str, torch.Tensor], length: int) -> dict[str, torch.Tensor]:
    """With zeros: BERT's padding piece, no attention, the first text."""
    return {name: torch.nn.functional.pad(value, (0, length - len(value))) for name, value in feed.items()}
