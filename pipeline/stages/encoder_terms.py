"""What a text student can be taught beside the answers: its teacher's inner states. Pure functions on tensors.

Every term is 0 when student and teacher agree and, divided by its `*_scale` (the same term for a student that ignores
its input), 1 at the start of learning, so that a weight means the same for any width, depth and length. `mask` is
[B, T], 1 for real tokens; padding never counts.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

TINY = 1e-8


def hidden_term(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error of hidden states [B, T, W] over real tokens (TinyBERT, Jiao et al. 2019, arXiv 1909.10351).

    The student's states are given in the teacher's width, through a learned projection where the widths differ.
    """
    return _mean_over_tokens(((student.float() - teacher.float()) ** 2).mean(-1), mask)


def hidden_scale(teacher: Tensor, mask: Tensor) -> float:
    """The hidden term of the best constant answer: the teacher's variance over tokens."""
    states = teacher[mask.bool()].float()
    return max(float(states.var(0, correction=0).mean()), TINY)


def cosine_term(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """1 - cosine between hidden states [B, T, W], mean over real tokens (DistilBERT, Sanh et al. 2019, 1910.01108)."""
    return _mean_over_tokens(1 - functional.cosine_similarity(student.float(), teacher.float(), dim=-1), mask)


def cosine_scale(teacher: Tensor, mask: Tensor) -> float:
    """The cosine term of the best constant answer, which points where the mean direction does."""
    directions = functional.normalize(teacher[mask.bool()].float(), dim=-1)
    return max(1 - float(directions.mean(0).norm()), TINY)


def attention_term(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error of attention scores [B, H, T, T] before the softmax, over pairs of real tokens (TinyBERT).

    Both have equally many heads.
    """
    pairs = _pairs(mask)[:, None]
    errors = ((student.float() - teacher.float()) ** 2).masked_fill(~pairs, 0.0)
    return errors.sum() / (pairs.sum() * student.shape[1])


def attention_scale(teacher: Tensor, mask: Tensor) -> float:
    """The attention term of the best constant score of each head."""
    pairs = _pairs(mask)
    return max(float(torch.stack([head[pairs].float().var(correction=0) for head in teacher.unbind(1)]).mean()), TINY)


def relation_term(student: Tensor, teacher: Tensor, mask: Tensor, heads: int) -> Tensor:
    """Divergence between relations of queries (or keys, or values) [B, H, T, D] with themselves, in nats.

    A relation is the softmax over real tokens of the scaled products of all vectors of a sentence, after the heads were
    joined and cut into `heads` relation heads, so that teacher and student may differ in heads and width (MiniLM v2,
    Wang et al. 2020, arXiv 2012.15828).
    """
    wanted, found = _relations(teacher, mask, heads), _relations(student, mask, heads)
    divergence = (wanted.exp() * (wanted - found)).masked_fill(~mask.bool()[:, None, None, :], 0.0).sum(-1)
    return _mean_over_tokens(divergence.mean(1), mask)


def relation_scale(teacher: Tensor, mask: Tensor, heads: int) -> float:
    """The relation term of a student for which all tokens of a sentence are alike."""
    return max(float(relation_term(torch.zeros_like(teacher), teacher, mask, heads)), TINY)


def relation_heads(student_width: int, teacher_width: int, wanted: int) -> int:
    """The largest number of relation heads, at most `wanted`, that divides both widths."""
    both = math.gcd(student_width, teacher_width)
    return max(number for number in range(1, min(wanted, both) + 1) if both % number == 0)


def _relations(vectors: Tensor, mask: Tensor, heads: int) -> Tensor:
    """Log-probabilities [B, heads, T, T]."""
    joined = vectors.float().transpose(1, 2).flatten(2)  # [B, T, H * D]
    cut = joined.unflatten(2, (heads, -1)).transpose(1, 2)
    scores = cut @ cut.transpose(2, 3) / math.sqrt(cut.shape[-1])
    # a finite floor: the log-probability of padding is never used, and infinities would spoil the gradient
    return functional.log_softmax(scores.masked_fill(~mask.bool()[:, None, None, :], -1e4), dim=-1)


def _pairs(mask: Tensor) -> Tensor:
    real = mask.bool()
    return real[:, :, None] & real[:, None, :]


def _mean_over_tokens(values: Tensor, mask: Tensor) -> Tensor:
    real = mask.to(values.dtype)
    return (values * real).sum() / real.sum()
