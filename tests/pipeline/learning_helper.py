"""Small tasks, tables and modules for the tests of the learning side."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import nn

from pipeline import tasks
from pipeline.artifact import TorchArtifact
from pipeline.config import TaskConfig
from pipeline.tasks._tokens import TokenTable
from pipeline.teacher_cache import MIRRORED, PLAIN, TeacherTargets

torch.set_num_threads(1)
SHARED = Path(__file__).parents[2].parent / "shared" / "data"


def digits(cache: Path, rows: int = 300, **changes: Any) -> tasks.Task:
    """scikit-learn's digits as a task, 8 x 8, limited to `rows` from which all splits are cut."""
    fields: dict[str, Any] = {
        "data": {"source": "sklearn", "name": "digits"},
        "size": 8,
        "channels": 1,
        "limit_rows": {"train": rows},
        "augmentations": ["none", "shift", "flip_shift"],
    }
    return tasks.load(TaskConfig(**{**fields, **changes}), cache)


def folder_task(folder: Path, cache: Path, **changes: Any) -> tasks.Task:
    """A task over the files in `folder`."""
    fields: dict[str, Any] = {"data": {"source": "folder", "path": str(folder)}, "size": 8, "channels": 1}
    return tasks.load(TaskConfig(**{**fields, **changes}), cache)


def tokens(rows: int, pieces: int, seed: int = 0) -> TokenTable:
    """Rows of 3 to 12 pieces drawn from so many."""
    random = np.random.default_rng(seed)
    lengths = random.integers(3, 13, rows)
    ids = random.integers(0, pieces, int(lengths.sum())).astype(np.int32)
    return TokenTable(ids, np.cumsum([0, *lengths]), None, 0)


def png(value: int, size: int = 6) -> bytes:
    """A grey square of one value with a black corner, as an encoded file."""
    pixels = np.full((size, size), value, dtype=np.uint8)
    pixels[0, 0] = 0
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def write_table(path: Path, labels: Sequence[Any], images: Sequence[Any] | None = None, **names: Any) -> None:
    """A Parquet file of images and labels; `image=`, `label=` rename the columns."""
    if images is None:
        images = [{"bytes": png(20 * (row % 12)), "path": None} for row in range(len(labels))]
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {names.get("image", "image"): pa.array(images), names.get("label", "label"): pa.array(labels)}
    pq.write_table(pa.table(columns), path)


class TinyNet(nn.Module):
    """Two convolutions: `forward`, `features`, `classifier`, as every student has them."""

    def __init__(self, channels: int = 1, classes: int = 10, width: int = 12) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, 2, 1),
            nn.ReLU(),
        )
        self.classifier = nn.Linear(2 * width, classes)

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.body(pixels).mean((2, 3))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(pixels))


def tiny_student(seed: int = 0, input_size: int = 8, **kinds: int) -> TorchArtifact:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = TinyNet(**kinds)
    return TorchArtifact(module, "tiny", {"family": "tiny", "input_size": input_size, "channels": 1})


def made_targets(task: tasks.Task, features: int | None = 6, mirrored: bool = True) -> TeacherTargets:
    """Answers of a teacher that is nearly always right, without a teacher."""
    rng = np.random.default_rng(0)

    def answers(split: str) -> tuple[np.ndarray, np.ndarray | None]:
        labels, classes = task.labels(split), len(task.classes)
        logits = (4 * np.eye(classes)[labels] + rng.normal(size=(len(labels), classes))).astype(np.float32)
        if features is None:
            return logits, None
        hidden = logits @ np.linspace(-1, 1, classes * features).reshape(classes, features) + 3.0
        return logits, hidden.astype(np.float16)

    views = {("train", PLAIN): answers("train"), ("validation", PLAIN): answers("validation")}
    if mirrored:
        views["train", MIRRORED] = answers("train")
    return TeacherTargets(views)
