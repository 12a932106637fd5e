"""A student learns from labels and the teacher's answers (`distill_loss`), encoders of texts also from its inside.

The inside is told by `encoder_guide`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import nn

from hardware_targets import this_worker
from pipeline.artifact import TorchArtifact
from pipeline.errors import Refused
from pipeline.stages.distill_loss import Loss
from pipeline.stages.encoder_guide import SCALE_BATCHES, Guide, Shares
from pipeline.tasks import Batches, Task
from pipeline.teacher_cache import TeacherTargets
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
