"""A teacher made here: from scratch or fine-tuned, its best epoch kept, stored as transformers stores a model."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import hardware_targets
from pipeline.arrays import fresh
from pipeline.artifact import View
from pipeline.config import TeacherTraining
from pipeline.cpu_time import cpu_seconds
from pipeline.errors import Failed
from pipeline.quality import quality_with_intervals
from pipeline.record import write_json
from pipeline.tasks import Task
from pipeline.teacher import REPORT, kind_of
from pipeline.teacher_hub import load_model, save_model
from pipeline.training import Batch, check_precision, fit, logits_of


@dataclass(frozen=True)
class TeacherReport:
    """How a teacher was made and how good it is on validation; stored beside its weights."""

    place: str
    metrics: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    seconds: float
    cpu_seconds: float | None  # over all threads
    host: Mapping[str, Any]  # the machine that trained, as Conditions tell it
    parameters: int
    view: View
    data: str  # the task's fingerprint
    training: Mapping[str, Any]
    best_epoch: int  # the one that was kept, from 1
    curve: tuple[Mapping[str, float], ...]


def train_teacher(
    training: TeacherTraining,
    task: Task,
    out: Path,
    *,
    view: View,
    progress: Callable[[str], None] = lambda _: None,
    deadline: float | None = None,
) -> TeacherReport:
    """Train from scratch or fine-tune, and store the model, its preprocessing and its report in folder `out`.

    The epoch with the best validation metric is kept. `progress` is told one line per epoch. The folder appears whole
    or not at all. Errors: ConfigError, Failed.
    """
    kind, begin, used_before = kind_of(task), time.monotonic(), cpu_seconds()
    model = check_untrained(training, task, view)
    module = kind.bare(model)
    best = _Best(module, task, view, training, progress, begin)
    fit(
        module,
        task.batches("train", view, kind.augmentation(training), training.batch_size),
        _loss(module, task, training),
        epochs=training.epochs,
        learning_rate=training.learning_rate,
        weight_decay=training.weight_decay,
        seed=training.seed,
        on_epoch=best.after,
        deadline=deadline,
        precision=training.precision,
        words=kind.words(model),
    )
    logits = best.restored()
    metrics, intervals = quality_with_intervals(task.labels("validation"), logits)
    report = TeacherReport(
        place=str(out),
        metrics=metrics,
        intervals=intervals,
        seconds=round(time.monotonic() - begin, 1),
        cpu_seconds=_since(used_before),
        host=hardware_targets.host_conditions().to_json(),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        view=dict(view),
        data=task.fingerprint,
        training=training.model_dump(mode="json"),
        best_epoch=best.epoch,
        curve=tuple(best.curve),
    )
    with fresh(out) as beside:
        save_model(model, beside)
        kind.store(beside, task, view, training)
        write_json(beside / REPORT, asdict(report))
    return report


def check_untrained(training: TeacherTraining, task: Task, view: View) -> Any:
    """The model that training begins with, in evaluation mode, once it has read one input. Errors: ConfigError."""
    check_precision(training.precision)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        model = _beginning(training, task, view)
    kind = kind_of(task)
    kind.check_input(kind.bare(model).eval(), task, view, training.model_type or str(training.from_checkpoint))
    return model


def _since(used_before: float | None) -> float | None:
    used = cpu_seconds()
    return None if used is None or used_before is None else round(used - used_before, 3)


class _Best:
    """Looks at validation after every epoch, and keeps the weights of the best one (the first of equals)."""

    def __init__(
        self,
        module: nn.Module,
        task: Task,
        view: View,
        training: TeacherTraining,
        progress: Callable[[str], None],
        begin: float,
    ) -> None:
        self.module, self.task, self.training = module, task, training
        self.progress, self.begin = progress, begin
        self.held_out = task.batches("validation", view)
        self.curve: list[dict[str, float]] = []
        self.epoch, self.value = 0, -float("inf")
        self.weights: dict[str, torch.Tensor] = {}

    def after(self, epoch: int, loss: float) -> None:
        metric, seconds = self.task.metric, time.monotonic() - self.begin
        value = self.task.score(self.task.labels("validation"), logits_of(self.module, self.held_out))[metric]
        self.curve.append({"epoch": epoch + 1, "loss": loss, metric: value, "seconds": round(seconds, 1)})
        self.progress(
            f"teacher: epoch {epoch + 1} of {self.training.epochs}, loss {loss:.4f}, validation {metric} {value:.4f}, "
            f"{seconds:.0f} s"
        )
        if value > self.value:
            self.epoch, self.value = epoch + 1, value
            self.weights = {name: tensor.clone() for name, tensor in self.module.state_dict().items()}

    def restored(self) -> np.ndarray:
        """Put the best weights back; their answers on validation. Errors: Failed where they are not finite."""
        if self.weights:
            self.module.load_state_dict(self.weights)
        logits = logits_of(self.module, self.held_out)
        if not np.isfinite(logits).all():
            raise Failed("the trained teacher gives NaN or infinite outputs; lower `teacher.train.learning_rate`")
        return logits


def _loss(module: nn.Module, task: Task, training: TeacherTraining) -> Callable[[Batch], torch.Tensor]:
    labels, weights = torch.from_numpy(task.labels("train")), torch.from_numpy(task.class_weight_vector())

    def loss_fn(batch: Batch) -> torch.Tensor:
        logits = module(*batch.inputs).float()
        return nn.functional.cross_entropy(
            logits, labels[batch.rows], weights, label_smoothing=training.label_smoothing
        )

    return loss_fn


def _beginning(training: TeacherTraining, task: Task, view: View) -> Any:
    kind, names = kind_of(task), dict(enumerate(task.classes))
    heads = {
        "num_labels": len(names),
        "id2label": names,
        "label2id": {name: number for number, name in names.items()},
    }
    if training.from_checkpoint is not None:
        return load_model(kind.AUTO, kind.NOUN, training.from_checkpoint, new_head=True, **heads)
    return kind.untrained(training, task, view, heads)
