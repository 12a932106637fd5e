"""Only the rows of a word table that training shows learn, and they learn as they would in a whole table."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from learning_helper import tokens
from torch import nn

from pipeline.shown_rows import ShownRows, shown_rows
from pipeline.tasks._buckets import Copies, TokenBatches
from pipeline.training import fit

PIECES = np.array([2, 3, 5, 8])


class Reader(nn.Module):
    """A mean of word vectors and a classifier."""

    def __init__(self, padding: int | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.word, self.classifier = nn.Embedding(40, 6, padding_idx=padding), nn.Linear(6, 2)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return self.classifier((self.word(ids) * mask[..., None]).mean(1))


def trained(batches: TokenBatches, narrow: bool, decay: float = 0.0) -> Reader:
    reader = Reader()
    labels = torch.arange(len(batches.table)) % 2
    fit(
        reader, batches, lambda batch: nn.functional.cross_entropy(reader(*batch.inputs), labels[batch.rows]),
        epochs=3, learning_rate=0.05, weight_decay=decay, seed=0, words=reader.word if narrow else None,
    )  # fmt: skip
    return reader


def test_they_learn_as_in_a_whole_table() -> None:
    batches = TokenBatches(tokens(64, 9, seed=1), pad=0, longest=12, batch_size=8)  # pieces 0 to 8 of 40
    whole, narrow = trained(batches, False), trained(batches, True)
    begun = Reader().word.weight
    assert narrow.word.weight.shape == begun.shape and narrow.word.num_embeddings == 40
    assert torch.allclose(narrow.word.weight, whole.word.weight, atol=1e-5)
    assert torch.allclose(narrow.classifier.weight, whole.classifier.weight, atol=1e-5)
    assert (narrow.word.weight[1:9] - begun[1:9]).abs().amax(1).min() > 1e-3  # each of them has learned
    assert torch.equal(narrow.word.weight[9:], begun[9:])


def test_what_is_not_shown_is_left_as_it_was_where_a_whole_table_would_shrink() -> None:
    batches = TokenBatches(tokens(64, 9, seed=1), pad=0, longest=12, batch_size=8)
    whole, narrow, begun = trained(batches, False, 0.1), trained(batches, True, 0.1), Reader().word.weight
    assert torch.equal(narrow.word.weight[9:], begun[9:])
    assert (whole.word.weight[9:].abs() < begun[9:].abs()).all()


def test_inside_the_table_is_small_and_outside_it_is_whole_with_what_was_learned() -> None:
    reader = Reader()
    rows, before = ShownRows(reader.word, PIECES), reader.word.weight.clone()
    ids, mask = torch.tensor([[3, 8, 3]]), torch.ones(1, 3)
    answer = reader(ids, mask)
    for _ in range(2):
        with rows:
            assert reader.word.weight.shape == (4, 6)
            assert dict(reader.named_parameters())["word.weight"] is rows.rows
            assert torch.allclose(reader(ids, mask), answer)
            with torch.no_grad():
                reader.word.weight += 1.0
        assert reader.word.weight.shape == (40, 6)
        before[PIECES] += 1.0
        assert torch.equal(reader.word.weight, before)
        with torch.no_grad():  # what a checkpoint or a best epoch puts back is what learns next
            reader.word.weight[3] = before[3] = 7.0
        answer = reader(ids, mask)


def test_an_exception_inside_leaves_it_whole() -> None:
    reader = Reader()
    with pytest.raises(ValueError), ShownRows(reader.word, PIECES):
        raise ValueError
    assert reader.word.weight.shape == (40, 6) and not reader.word._forward_pre_hooks


def test_a_piece_that_was_not_announced_is_an_error() -> None:
    reader = Reader()
    with pytest.raises(IndexError), ShownRows(reader.word, PIECES):
        reader(torch.tensor([[3, 4]]), torch.ones(1, 2))


def test_padding_still_learns_nothing() -> None:
    reader = Reader(padding=7)
    with ShownRows(reader.word, PIECES):
        reader(torch.tensor([[7, 8]]), torch.ones(1, 2)).sum().backward()
        grad: Any = reader.word.weight.grad
        assert grad.abs().sum(1).gt(0).tolist() == [False, False, False, False, True]  # 2, 3, 5, 7, 8
        assert reader.word.padding_idx == 3
    assert reader.word.padding_idx == 7


@pytest.mark.parametrize(
    ("table", "pieces"), [(None, PIECES), (nn.Embedding(40, 2), None), (nn.Embedding(4, 2), np.arange(4))]
)
def test_nothing_is_done_where_nothing_is_gained(table: nn.Embedding | None, pieces: np.ndarray | None) -> None:
    assert isinstance(shown_rows(table, pieces), nullcontext)


def test_the_pieces_are_all_that_epochs_show() -> None:
    table = tokens(60, 500, seed=2)
    copies = Copies(rows=20, first=40, count=1)
    for batches in (
        TokenBatches(table, pad=501, longest=12, batch_size=8),
        TokenBatches(table, pad=3, longest=12, batch_size=8, only=np.arange(0, 40, 3)),
        TokenBatches(table, pad=501, longest=12, batch_size=8, only=np.arange(0, 40, 3), copies=copies),
    ):
        generator = torch.Generator().manual_seed(0)
        seen = {int(i) for _ in range(60) for batch in batches.epoch(generator) for i in batch.inputs[0].unique()}
        assert seen | {batches.pad} == set(batches.pieces().tolist())
        assert (np.diff(batches.pieces()) > 0).all()
