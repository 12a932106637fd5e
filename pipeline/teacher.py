"""The large model: loaded from a folder or the hub. What differs between images and texts is in `teacher_KIND.py`."""

from __future__ import annotations

import hashlib
import importlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pipeline.artifact import View
from pipeline.config import TeacherTraining
from pipeline.tasks import Task
from pipeline.teacher_files import class_order
from pipeline.teacher_hub import load_model, sha256_of_model

REPORT = "niwaki_teacher.json"  # beside a teacher that was trained here


@dataclass(frozen=True)
class Teacher:
    """A model in eval mode with what students need of it; `view` is how it reads a row.

    `module` has forward(*inputs of a batch) -> logits [N, K] in the task's class order; `module.model` is the library's
    own, and `module.order` says which of its outputs each class is where `module.reordered`.
    """

    module: nn.Module
    view: View
    classes: list[str]
    sha256: str  # of its weights and configuration
    place: str
    notes: tuple[str, ...] = ()

    def logits(self, *inputs: torch.Tensor) -> torch.Tensor:
        """float32 [N, K], of a batch's inputs."""
        return self.outputs(*inputs)[0]

    def features(self, *inputs: torch.Tensor) -> torch.Tensor | None:
        """float32 [N, D]: the pooled hidden state that its classifier reads; None where it is not to be had."""
        return self.outputs(*inputs)[1]

    def outputs(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Logits and features from one pass."""
        head = _head(self.module.model, len(self.classes))
        seen: list[torch.Tensor] = []
        hook = head.register_forward_pre_hook(lambda _, given: seen.append(given[0])) if head is not None else None
        try:
            with torch.no_grad():
                logits = self.module(*inputs)
        finally:
            if hook is not None:
                hook.remove()
        pooled = seen[-1] if seen and seen[-1].ndim == 2 else None
        return logits, pooled


def kind_of(task: Task) -> Any:
    """The file for teachers of what the task gives."""
    return importlib.import_module(f"pipeline.teacher_{task.task_input().kind}")


def teacher_folder(root: Path, name: str, training: TeacherTraining, fingerprint: str, view: View) -> Path:
    """Where a teacher so made from these data is kept, so that it is trained once."""
    # Images were first: their folders keep the names that they have.
    reads = view["input_size"] if "input_size" in view else dict(view)
    recipe = json.dumps([training.model_dump(mode="json"), fingerprint, reads], sort_keys=True)
    key = hashlib.sha256(recipe.encode()).hexdigest()[:8]
    # a search of another name has perhaps trained the very same one
    there = sorted(path.parent for path in (root / "teachers").glob(f"*-{key}/{REPORT}"))
    return there[0] if there else root / "teachers" / f"{name}-{key}"


def load_teacher(place: str, task: Task, *, size: int | None = None, trust_remote_code: bool = False) -> Teacher:
    """A trained classifier from a local folder or the hub, safetensors only.

    `size` is the side of an image, where it is not to be its own. Errors: ConfigError where files, labels or shapes do
    not fit; Unavailable when the hub cannot be reached.
    """
    kind = kind_of(task)
    model = load_model(kind.AUTO, kind.NOUN, place, trust_remote_code=trust_remote_code)
    order, notes = class_order(model.config, task.classes, place)
    module, view, more = kind.wrapped(model, order, task, place, size)
    kind.check_input(module, task, view, place)
    return Teacher(module, view, list(task.classes), sha256_of_model(model), place, (*notes, *more))


def _head(model: nn.Module, classes: int) -> nn.Linear | None:
    """The last linear layer with one output per class."""
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear) and layer.out_features == classes]
    return layers[-1] if layers else None
