"""What a student is told of its answers: labels and the teacher's soft targets (Hinton, Vinyals and Dean 2015, arXiv
1503.02531), and the teacher's pooled features through a learned projection (Romero et al. 2014, FitNets, arXiv
1412.6550). What an encoder is told of its inside is in `encoder_guide`.

Every term of the loss is divided by what a student scores that ignores its input, so that each is 1 at the start of
learning and a weight means the same at any temperature, number of classes and feature size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from pipeline.errors import Refused
from pipeline.stages.encoder_guide import Shares
from pipeline.tasks import Task
from pipeline.teacher_cache import MIRRORED, TeacherTargets
from pipeline.training import Batch

Scalar = bool | int | float | str


@dataclass(frozen=True)
class Weights:
    """Shares of the terms; with those inside the guide they sum to 1. `inner` is what one unit of its weights is."""

    soft: float
    hard: float
    hidden: float
    inner: float

    @classmethod
    def of(cls, settings: Mapping[str, Scalar]) -> Weights:
        """From `soft_weight`, `hard_weight` and so on; an absent one is 0. Errors: Refused if all are 0."""
        shares = Shares.of(settings)
        raw = [float(settings.get(f"{name}_weight", 0.0)) for name in ("soft", "hard", "hidden")]
        if shares.hidden > 0:
            raw[2] = 0.0  # these hidden states are compared by the guide
        inner = [shares.hidden, shares.attention, shares.relation]
        total = sum(raw) + sum(inner)
        if min(*raw, *inner) < 0 or total <= 0:
            raise Refused(f"loss weights {raw} (soft, hard, hidden) leave nothing to learn; one must be above 0")
        return cls(*(value / total for value in raw), 1 / total)


class Loss:
    """Weighted mean of the normalised terms; callable on a student's logits, its projected features and a batch.

    Rows behind those of train have no label and no part in any scale; they have every term but the hard one.
    """

    def __init__(self, task: Task, targets: TeacherTargets, settings: Mapping[str, Scalar]) -> None:
        self.weights = Weights.of(settings)
        self.temperature = float(settings.get("temperature", 1.0))
        self.labels = torch.from_numpy(task.labels("train"))
        self.class_weights = torch.from_numpy(task.class_weight_vector())
        self.teacher_logits = [torch.from_numpy(targets.learned_logits())]
        if targets.mirrored:
            self.teacher_logits.append(torch.from_numpy(targets.logits("train", MIRRORED)))
        self.soft_scale = soft_scale(torch.from_numpy(targets.logits("train")), self.temperature)
        self.hard_scale = hard_scale(self.labels, self.class_weights)
        self.hidden = HiddenTargets.of(targets) if self.weights.hidden > 0 else None

    def __call__(self, logits: torch.Tensor, projected: torch.Tensor | None, batch: Batch) -> torch.Tensor:
        total = logits.new_zeros(())
        if self.weights.soft > 0:
            teacher = _pick(self.teacher_logits, batch)
            total = total + self.weights.soft * soft_term(logits, teacher, self.temperature) / self.soft_scale
        if self.weights.hard > 0:
            total = total + self.weights.hard * self._hard(logits, batch.rows) / self.hard_scale
        if self.hidden is not None and projected is not None:
            total = total + self.weights.hidden * nn.functional.mse_loss(projected, self.hidden(batch))
        return total

    def _hard(self, logits: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """The weighted cross entropy of the labelled rows times their share of the batch.

        So a labelled row counts the same whatever it stands beside, and a batch without any adds nothing.
        """
        labelled = rows < len(self.labels)
        if not labelled.any():
            return 0.0 * logits.sum()  # a gradient all the same, where the hard term is the only one
        mean = nn.functional.cross_entropy(logits[labelled], self.labels[rows[labelled]], self.class_weights)
        return mean * labelled.float().mean()


def soft_term(logits: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """Mean Kullback-Leibler divergence from the teacher's to the student's softened probabilities, in nats."""
    student = nn.functional.log_softmax(logits / temperature, dim=1)
    wanted = nn.functional.log_softmax(teacher / temperature, dim=1)
    return nn.functional.kl_div(student, wanted, reduction="batchmean", log_target=True)


def soft_scale(teacher: torch.Tensor, temperature: float) -> float:
    """The soft term of the best constant answer: the mean divergence of the teacher's answers from their mean.

    It falls with 1 / temperature squared just as the term does, which is why no factor T^2 is needed.
    """
    log_wanted = nn.functional.log_softmax(teacher.double() / temperature, dim=1)
    wanted = log_wanted.exp()
    divergence = (wanted * (log_wanted - wanted.mean(0).log())).sum(1).mean()
    return max(float(divergence), 1e-8)


def hard_scale(labels: torch.Tensor, class_weights: torch.Tensor) -> float:
    """The weighted cross entropy of the best constant answer: the entropy of the weighted class shares, in nats."""
    counts = torch.bincount(labels, minlength=len(class_weights)).double() * class_weights.double()
    shares = counts[counts > 0] / counts.sum()
    return max(float(-(shares * shares.log()).sum()), 1e-8)


class HiddenTargets:
    """The teacher's pooled features, each standardised over train; a student that answers their mean scores 1."""

    def __init__(
        self, parts: Sequence[np.ndarray], mirrored: np.ndarray | None, mean: np.ndarray, std: np.ndarray
    ) -> None:
        self.parts, self.mirrored = parts, mirrored
        self.starts = np.cumsum([0, *(len(part) for part in parts)])
        self.alive = np.flatnonzero(std > 1e-4 * max(1.0, float(std.max())))  # a unit that never fires teaches nothing
        self.mean, self.std = mean[self.alive], std[self.alive]

    @classmethod
    def of(cls, targets: TeacherTargets) -> HiddenTargets:
        """Errors: Refused where the teacher shows no features."""
        parts = targets.learned_features()
        if parts is None:
            raise Refused("the teacher shows no pooled features to learn from; set distill.hidden_weight to 0")
        mirrored = targets.features("train", MIRRORED) if targets.mirrored else None
        return cls(parts, mirrored, parts[0].mean(0, dtype=np.float64), parts[0].std(0, dtype=np.float64))

    def __call__(self, batch: Batch) -> torch.Tensor:
        """float32 [B, D'] targets of a batch."""
        rows, mirrored = batch.rows.numpy(), batch.mirrored.numpy()
        picked = self._rows(rows)
        if self.mirrored is not None and mirrored.any():
            picked[mirrored] = self.mirrored[rows[mirrored]]
        return torch.from_numpy(((picked[:, self.alive].astype(np.float32) - self.mean) / self.std).astype(np.float32))

    def _rows(self, rows: np.ndarray) -> np.ndarray:
        # Put together in memory the parts would be large: 200,000 rows of width 768 are 300 MB.
        if len(self.parts) == 1:
            return self.parts[0][rows]
        picked = np.empty((len(rows), self.parts[0].shape[1]), self.parts[0].dtype)
        for part, start in zip(self.parts, self.starts, strict=False):
            here = (rows >= start) & (rows < start + len(part))
            picked[here] = part[rows[here] - start]
        return picked


def _pick(views: list[torch.Tensor], batch: Batch) -> torch.Tensor:
    """The view that each sample of the batch was shown in. Shifts are left out: the teacher hardly minds them."""
    if len(views) == 1:
        return views[0][batch.rows]
    return torch.where(batch.mirrored[:, None], views[1][batch.rows], views[0][batch.rows])
