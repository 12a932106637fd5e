"""A student learns from labels and from the teacher: soft targets (Hinton, Vinyals and Dean 2015, arXiv 1503.02531),
hidden states through a learned projection (Romero et al. 2014, FitNets, arXiv 1412.6550), and, for encoders of texts,
the inner terms of `encoder_guide`.

Every term of the loss is divided by what a student scores that ignores its input, so that each is 1 at the start of
learning and a weight means the same at any temperature, number of classes and feature size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import nn

from hardware_targets import this_worker
from pipeline.artifact import TorchArtifact
from pipeline.errors import Refused
from pipeline.stages.encoder_guide import SCALE_BATCHES, Guide, Shares
from pipeline.tasks import Batches, Task
from pipeline.teacher_cache import MIRRORED, TeacherTargets
from pipeline.training import Batch, Between, fit, logits_of
from pipeline.training_state import TrainingState

Scalar = bool | int | float | str
Row = Mapping[str, float]
WEIGHT_DECAY = 0.02
RECOVERY_RATE = 0.3  # of the distillation's learning rate: the weights are nearly right already


@dataclass(frozen=True)
class Begin:
    """A training that was left between two epochs: its state, and the rows of its curve until there."""

    state: TrainingState
    curve: Sequence[Row]


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


def distill(
    artifact: TorchArtifact,
    task: Task,
    targets: TeacherTargets,
    settings: Mapping[str, Scalar],
    *,
    seed: int,
    teacher: Callable[[], nn.Module] | None = None,
    rows: float = 1.0,
    deadline: float | None = None,
    on_epoch: Callable[[Row], None] = lambda _: None,
    begin: Begin | None = None,
    between: Between | None = None,
) -> tuple[TorchArtifact, list[Row]]:
    """Train the student in place for `settings["epochs"]`; returns it and its curve.

    `teacher()` is the teacher in a module of the student's own kind; it is asked for only where an inner term is
    wanted. `rows` is the share of the training rows to learn from, the same ones in every trial. A row of the curve:
    epoch (from 1), loss, rung_accuracy (the torch model on validation), seconds since the start without those waited
    for a measurement. `on_epoch(row)` may raise to stop; so may `between`, which `pipeline.training.fit` calls between
    two epochs with their state. `begin` is where an equal training was left. Errors: Refused where a term cannot be
    had; Failed on divergence or time limit.
    """
    epochs, rate = int(settings["epochs"]), float(settings["learning_rate"])
    return _learn(
        artifact, task, targets, settings, epochs, rate, seed, deadline, on_epoch, teacher, rows, begin, between
    )


def recover(
    artifact: TorchArtifact,
    task: Task,
    targets: TeacherTargets,
    settings: Mapping[str, Scalar],
    *,
    epochs: int,
    seed: int,
    teacher: Callable[[], nn.Module] | None = None,
    rows: float = 1.0,
    deadline: float | None = None,
    on_epoch: Callable[[Row], None] = lambda _: None,
) -> tuple[TorchArtifact, list[Row]]:
    """The same learning after pruning, or with rounding put in, for `epochs` at a lower rate; 0 epochs do nothing."""
    if epochs == 0:
        return artifact, []
    rate = RECOVERY_RATE * float(settings["learning_rate"])
    settings = {name: value for name, value in settings.items() if name != "first_stage"}
    return _learn(artifact, task, targets, settings, epochs, rate, seed + 1, deadline, on_epoch, teacher, rows)


def gradient_batches(
    task: Task,
    targets: TeacherTargets,
    artifact: TorchArtifact,
    settings: Mapping[str, Scalar],
    *,
    seed: int,
    batches: int = 8,
) -> Callable[[nn.Module], None]:
    """A function that adds to a module's gradients those of the soft and hard terms on a few training batches.

    It is what the Taylor criterion of pruning reads. The other terms are left out: their projections are gone by then.
    """
    kept = {name: settings[name] for name in ("temperature", "soft_weight", "hard_weight") if name in settings}
    if not any(float(kept.get(name, 0)) > 0 for name in ("soft_weight", "hard_weight")):
        kept["soft_weight"] = 1.0
    loss = Loss(task, targets, kept)
    served = _batches(artifact, task, "train")

    def accumulate(module: nn.Module) -> None:
        generator = torch.Generator().manual_seed(seed)
        for _, batch in zip(range(batches), served.epoch(generator), strict=False):
            with this_worker().step():
                loss(module(*batch.inputs).float(), None, batch).backward()

    return accumulate


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


class _Learner(nn.Module):
    """The student, and the projections that are trained with it and thrown away."""

    def __init__(self, student: nn.Module, features: int | None, guide: Guide | None) -> None:
        super().__init__()
        self.student, self.guide = student, guide
        self.projection = nn.Linear(student.classifier.in_features, features) if features else None

    def forward(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """Logits, projected features where they are a term, and the inner terms where there are any."""
        if self.guide is not None:
            states = self.student.states(*batch.inputs)
            pooled, inner = states.pooled, self.guide(states, batch)
            return states.logits.float(), self.projection and self.projection(pooled).float(), inner
        if self.projection is None:
            return self.student(*batch.inputs).float(), None, None
        pooled = self.student.features(*batch.inputs)
        return self.student.classifier(pooled).float(), self.projection(pooled).float(), None


def _learn(
    artifact: TorchArtifact,
    task: Task,
    targets: TeacherTargets,
    settings: Mapping[str, Scalar],
    epochs: int,
    learning_rate: float,
    seed: int,
    deadline: float | None,
    on_epoch: Callable[[Row], None],
    teacher: Callable[[], nn.Module] | None,
    rows: float,
    begun: Begin | None = None,
    between: Between | None = None,
) -> tuple[TorchArtifact, list[Row]]:
    augment = str(settings.get("augment", "none"))
    if augment == "flip_shift" and not targets.mirrored:
        raise Refused("augmentation flip_shift needs the teacher's mirrored answers; add it to task.augmentations")
    loss = Loss(task, targets, settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        guide = _guide(artifact, task, settings, teacher, targets)
        learner = _Learner(artifact.module, len(loss.hidden.alive) if loss.hidden else None, guide)
    # TinyBERT's two stages: what is inside first, the answers after it
    first = round(float(settings.get("first_stage", 0.0)) * epochs) if guide is not None else 0
    held_out, labels = _batches(artifact, task, "validation"), task.labels("validation")
    curve = [] if begun is None else list(begun.curve)
    worker = this_worker()
    begin = worker.clock() - (curve[-1]["seconds"] if curve else 0.0)

    def loss_fn(batch: Batch) -> torch.Tensor:
        logits, projected, inner = learner(batch)
        if inner is None or (first and len(curve) >= first):
            return loss(logits, projected, batch)
        inner = loss.weights.inner * inner
        return inner if first else inner + loss(logits, projected, batch)

    def after(epoch: int, mean_loss: float) -> None:
        right = logits_of(artifact.module, held_out).argmax(1) == labels
        seconds = round(worker.clock() - begin, 2)
        row = {"epoch": epoch + 1, "loss": mean_loss, "rung_accuracy": float(right.mean()), "seconds": seconds}
        curve.append(row)
        on_epoch(row)

    fit(
        learner,
        _batches(artifact, task, "train", augment, rows),
        loss_fn,
        epochs=epochs,
        learning_rate=learning_rate,
        weight_decay=WEIGHT_DECAY,
        seed=seed,
        on_epoch=after,
        deadline=deadline,
        begin=None if begun is None else begun.state,
        between=between,
        worker=worker,
        words=getattr(artifact.module, "word", None),
    )
    return artifact, curve


def _guide(
    artifact: TorchArtifact,
    task: Task,
    settings: Mapping[str, Scalar],
    teacher: Callable[[], nn.Module] | None,
    targets: TeacherTargets,
) -> Guide | None:
    shares = Shares.of(settings)
    if not shares.any:
        return None
    if teacher is None or "taken" not in artifact.shape:
        raise Refused("hidden states, attention and relations are taught to encoders of texts only; set them to 0")
    taken, train = artifact.shape["taken"], _batches(artifact, task, "train")
    shown = islice(train.epoch(torch.Generator().manual_seed(0)), SCALE_BATCHES)
    layers, held = shares.held_layers(taken, len(teacher().layers) - 1), None
    if layers and targets.states is not None:
        held = targets.states.of(teacher, train, task.preprocessing(task.view(artifact.shape)), layers)
    return Guide(artifact.module, teacher(), taken, shares, shown, held)


def _batches(artifact: TorchArtifact, task: Task, split: str, augment: str = "none", rows: float = 1.0) -> Batches:
    return task.batches(split, task.view(artifact.shape), augment, share=rows)


def _pick(views: list[torch.Tensor], batch: Batch) -> torch.Tensor:
    """The view that each sample of the batch was shown in. Shifts are left out: the teacher hardly minds them."""
    if len(views) == 1:
        return views[0][batch.rows]
    return torch.where(batch.mirrored[:, None], views[1][batch.rows], views[0][batch.rows])
