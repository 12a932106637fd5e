"""The teacher's answers, computed once and memory-mapped: every trial, and every later search, reads the same files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from hardware_targets import this_worker
from pipeline.arrays import fresh, mapped
from pipeline.errors import ConfigError
from pipeline.tasks import Task
from pipeline.teacher import Teacher
from pipeline.teacher_states import TeacherStates
from pipeline.training import Batch, in_row_order

PLAIN, MIRRORED = "plain", "mirrored"


@dataclass(frozen=True)
class TeacherTargets:
    """Logits and pooled features of the teacher, row by row as `task.labels(split)` has them."""

    views: Mapping[tuple[str, str], tuple[np.ndarray, np.ndarray | None]]  # (split, view) -> logits, features
    extra: tuple[str, ...] = ()  # rows without labels, numbered behind those of train in this order
    states: TeacherStates | None = None  # hidden states, of layers as they are asked for

    def learned_logits(self) -> np.ndarray:
        """float32 [N + E, K], of train and of the rows behind it."""
        train = self.logits("train")
        return np.concatenate([train, *(self.logits(name) for name in self.extra)]) if self.extra else train

    def learned_features(self) -> tuple[np.ndarray, ...] | None:
        """float16 [N, D] of train and of each part behind it; None where this teacher shows none."""
        found = [self.features(name) for name in ("train", *self.extra)]
        known = tuple(features for features in found if features is not None)
        return known or None

    def logits(self, split: str, view: str = PLAIN) -> np.ndarray:
        """float32 [N, K]."""
        return self.views[split, view][0]

    def features(self, split: str, view: str = PLAIN) -> np.ndarray | None:
        """float16 [N, D], None where this teacher shows none."""
        return self.views[split, view][1]

    @property
    def mirrored(self) -> bool:
        """Whether the mirrored training images were answered too."""
        return ("train", MIRRORED) in self.views


def teacher_targets(
    teacher: Teacher,
    task: Task,
    cache: Path,
    *,
    states_gb: float = 0.0,
    progress: Callable[[str], None] = lambda _: None,
) -> TeacherTargets:
    """Answers on train and validation, and on mirrored train where the task's augmentations mirror.

    Also on the rows without labels that the task brings. Kept below `cache` under the hash of teacher, data and
    preprocessing; `states_gb` is what hidden states may take there. `progress` is told one line per computed view.
    Errors: ConfigError when the teacher's answers are not finite.
    """
    wanted = [("train", PLAIN), ("validation", PLAIN)]
    if "flip_shift" in task.augmentations:
        wanted.append(("train", MIRRORED))
    task.make_extra(progress)
    extra = task.extra
    wanted += [(name, PLAIN) for name in extra]
    identity = [teacher.sha256, teacher.classes, task.fingerprint, task.preprocessing(teacher.view)]
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    views = {}
    for split, view in wanted:
        folder = cache / "answers" / key / "-".join((split, *([extra[split]] if split in extra else []), view))
        if not (folder / "logits.npy").exists():
            progress(f"the teacher answers {task.rows(split)} {view} {split} rows")
            _compute(teacher, task, split, view, folder)
        features = folder / "features.npy"
        views[split, view] = (mapped(folder / "logits.npy"), mapped(features) if features.exists() else None)
    told = (teacher.sha256, task.fingerprint)
    states = TeacherStates(cache / "states", states_gb * 1e9, told, progress) if states_gb else None
    return TeacherTargets(views, tuple(extra), states)


def _compute(teacher: Teacher, task: Task, split: str, view: str, folder: Path) -> None:
    logits, features, rows = [], [], []
    teacher.module.to(memory_format=torch.channels_last)
    for batch in task.batches(split, teacher.view).in_order():
        with this_worker().step():
            answers, pooled = teacher.outputs(*_shown(batch, view))
        rows.append(batch.rows.numpy())
        logits.append(answers.float().numpy())
        if pooled is not None:
            # Half precision suffices for a target that is standardised; its largest number is 65504.
            features.append(pooled.float().clamp(-65504, 65504).half().numpy())
    teacher.module.to(memory_format=torch.contiguous_format)
    answers_all = in_row_order(logits, rows)
    if not np.isfinite(answers_all).all():
        raise ConfigError(f"the teacher {teacher.place!r} gives NaN or infinite outputs on {split} rows; use another")
    with fresh(folder) as beside:
        beside.mkdir()
        np.save(beside / "logits.npy", answers_all.astype(np.float32))
        if features:
            np.save(beside / "features.npy", in_row_order(features, rows))


def _shown(batch: Batch, view: str) -> tuple[torch.Tensor, ...]:
    """A batch's inputs, mirrored where that is the view; only images are, so they are the only input then."""
    inputs = tuple(tensor.flip(-1) for tensor in batch.inputs) if view == MIRRORED else batch.inputs
    return tuple(t.contiguous(memory_format=torch.channels_last) if t.ndim == 4 else t for t in inputs)
