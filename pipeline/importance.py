"""The importance of the teacher's parts, measured once and kept beside its answers for every search to inherit by."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from pipeline.arrays import fresh
from pipeline.artifact import TorchArtifact
from pipeline.stages.inherit import Importance, measure_importance
from pipeline.tasks import Task, View
from pipeline.teacher import Teacher

BATCHES, BATCH_SIZE = 32, 32  # training rows on which it is measured
SEED = 0


def stored_importance(teacher: Teacher, task: Task, cache: Path) -> Importance:
    """Measured on 1024 training rows, shuffled; read back where it is known for this teacher and these data."""
    identity = [
        teacher.sha256,
        task.fingerprint,
        task.preprocessing(teacher.view),
        BATCHES,
        BATCH_SIZE,
        SEED,
        "moments",
    ]
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    path = cache / "importance" / f"{key}.npz"
    if not path.exists():
        found = _measured(teacher.module.model, task, teacher.view)
        with fresh(path) as beside, beside.open("wb") as file:
            np.savez(file, **{item.name: np.asarray(getattr(found, item.name)) for item in fields(found)})
    with np.load(path, allow_pickle=False) as stored:
        return Importance(**{item.name: stored[item.name] for item in fields(Importance)})


def importance_of(student: TorchArtifact, task: Task) -> Importance:
    """That of a trained student's parts, on the same training rows."""
    return _measured(student.module, task, task.view(student.shape))


def _measured(module: torch.nn.Module, task: Task, view: View) -> Importance:
    served = task.batches("train", view, batch_size=BATCH_SIZE)
    rows = islice(served.epoch(torch.Generator().manual_seed(SEED)), BATCHES)
    return measure_importance(module, rows, None)
