"""Each term of the text losses against examples small enough to compute by hand."""

from __future__ import annotations

import math

import pytest
import torch

from pipeline.stages.encoder_terms import (
    attention_scale,
    attention_term,
    cosine_scale,
    cosine_term,
    hidden_scale,
    hidden_term,
    relation_heads,
    relation_scale,
    relation_term,
)

MASK = torch.tensor([[1, 1, 0]])


def test_hidden_term_by_hand() -> None:
    teacher = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [9.0, 9.0]]])
    student = torch.tensor([[[1.0, 0.0], [3.0, 4.0], [0.0, 0.0]]])
    assert float(hidden_term(student, teacher, MASK)) == pytest.approx((4 / 2 + 0) / 2)  # padding does not count
    assert hidden_scale(teacher, MASK) == pytest.approx(1.0)  # each dimension: variance of two values 2 apart


def test_cosine_term_by_hand() -> None:
    teacher = torch.tensor([[[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]])
    student = torch.tensor([[[3.0, 0.0], [5.0, 0.0], [-1.0, -1.0]]])
    assert float(cosine_term(student, teacher, MASK)) == pytest.approx((0 + 1) / 2)
    assert cosine_scale(teacher, MASK) == pytest.approx(1 - math.sqrt(0.5))


def test_attention_term_by_hand() -> None:
    teacher = torch.zeros(1, 2, 3, 3)
    teacher[0, 0, :2, :2] = torch.tensor([[2.0, -2.0], [2.0, -2.0]])
    teacher[0, :, 2, :] = teacher[0, :, :, 2] = 99.0  # padding
    student = torch.zeros(1, 2, 3, 3)
    assert float(attention_term(student, teacher, MASK)) == pytest.approx(4 * 4 / 8)
    assert attention_scale(teacher, MASK) == pytest.approx((4 + 0) / 2)


def test_relation_term_by_hand() -> None:
    teacher = torch.tensor([[[[math.sqrt(math.log(3))], [0.0], [7.0]]]])  # products: log 3 with itself, 0 elsewhere
    student = torch.zeros(1, 1, 3, 1)
    first = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)  # softmax (log 3, 0) against one half each
    assert float(relation_term(student, teacher, MASK, 1)) == pytest.approx(first / 2, rel=1e-5)
    assert relation_scale(teacher, MASK, 1) == pytest.approx(first / 2, rel=1e-5)


def test_relations_compare_other_widths_and_heads() -> None:
    generator = torch.Generator().manual_seed(0)
    teacher = torch.randn(2, 4, 5, 6, generator=generator)
    student = torch.randn(2, 3, 5, 4, generator=generator)
    mask = torch.ones(2, 5, dtype=torch.int64)
    heads = relation_heads(12, 24, 12)
    assert heads == 12
    assert float(relation_term(student, teacher, mask, heads)) > 0
    assert float(relation_term(teacher, teacher, mask, 4)) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("student", "teacher", "wanted", "heads"), [(384, 384, 12, 12), (192, 384, 12, 12), (320, 384, 12, 8)]
)
def test_relation_heads_divide_both_widths(student: int, teacher: int, wanted: int, heads: int) -> None:
    assert relation_heads(student, teacher, wanted) == heads


@pytest.mark.parametrize("term", [hidden_term, cosine_term])
def test_padding_and_agreement(term) -> None:  # type: ignore[no-untyped-def]
    generator = torch.Generator().manual_seed(1)
    states, other = torch.randn(2, 4, 6, generator=generator), torch.randn(2, 4, 6, generator=generator)
    mask = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]])
    assert float(term(states, states, mask)) == pytest.approx(0.0, abs=1e-6)
    changed = other.clone()
    changed[mask == 0] = 50.0
    assert float(term(changed, states, mask)) == pytest.approx(float(term(other, states, mask)))


def test_gradients_are_finite_with_padding() -> None:
    states = torch.randn(2, 3, 4, 6, requires_grad=True, generator=torch.Generator().manual_seed(2))
    teacher = torch.randn(2, 3, 4, 6, generator=torch.Generator().manual_seed(3))
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    relation_term(states, teacher, mask, 3).backward()
    assert states.grad is not None and bool(torch.isfinite(states.grad).all())
    assert not states.grad[1, :, 2:].any()
