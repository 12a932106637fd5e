"""A search without training: a real space, study, store and front around made-up but plausible records.

For tests of the loop and for the benchmark of orchestration; figures follow a simple rule, so fronts look like fronts.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

import search_spaces
from pipeline.config import SearchConfig
from pipeline.config_file import parse_config
from pipeline.record import TrialRecord, write_json
from pipeline.workspace import Workspace
from search_spaces import ImageInput
from search_spaces.candidate import Candidate

ROWS = 400
MOMENT = "2026-11-23T10:00:00+00:00"


def config(trials: int, /, **changes: Any) -> SearchConfig:
    data = {
        "name": "synthetic",
        "task": {"data": {"source": "sklearn", "name": "digits"}, "size": 16, "channels": 1},
        "teacher": {"path": "nowhere"},
        "energy": "modelled",
        "limits": {"trials": trials},
        **changes,
    }
    return parse_config(data, "synthetic")


def record(number: int, candidate: Candidate, bench: Any, _step: Callable[[str], None], **_: Any) -> TrialRecord:
    """Bigger students are better and slower; 8 bits are faster and slightly worse; the seed adds noise."""
    chance = random.Random(f"{candidate.key}{number}")
    flat = candidate.flat()
    size = 60.0
    if candidate.student != "identity":
        numbers = [
            float(value)
            for key, value in flat.items()
            if key.startswith(candidate.student) and not isinstance(value, str | bool)
        ]
        size = math.prod(max(value, 1.0) for value in numbers) ** 0.5 / 10 + 0.2
        size *= 1 - float(flat.get("prune.ratio", 0))
    ratio = size / 60 * (0.45 if "int8" in str(flat["quantize.scheme"]) else 1.0) * chance.uniform(0.97, 1.03)
    accuracy = 0.95 - 0.08 / (1 + size) - 0.03 * chance.random()
    folder = bench.workspace.trial(number)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(b"x" * 1000)
    right = np.random.default_rng(number).random(ROWS) < accuracy
    np.save(folder / "predictions.npy", np.where(right, bench.labels, (bench.labels + 1) % 10).astype(np.int32))
    metrics = {
        "accuracy": accuracy, "latency_p50_ms": ratio * 2, "latency_ratio": ratio, "speedup": 1 / ratio,
        "energy_mj": ratio * 8, "size_mb": ratio * 10, "cpu_ms": ratio * 2,
    }  # fmt: skip
    return TrialRecord(
        number=number,
        candidate=candidate,
        end="complete",
        metrics=metrics,
        intervals={"accuracy": (accuracy - 0.01, accuracy + 0.01), "latency_ratio": (ratio * 0.99, ratio * 1.01)},
        measurement={"energy": {"kind": "modelled-generic", "boundary": "server share", "mj": ratio * 8}},
        artifact={"path": "model.onnx", "sha256": "0" * 64, "size_bytes": 1000, "view": {"input_size": 16}},
        curve=tuple({"epoch": float(epoch), "loss": 1 / epoch, "rung_accuracy": accuracy} for epoch in range(1, 5)),
        seconds={"distill": 10.0, "measure": 3.0},
        started=MOMENT,
        ended=MOMENT,
        teacher="t",
    )


def bench(settings: SearchConfig, workspace: Workspace, _step: Any = None, _say: Any = None) -> Any:
    """What `pipeline.workbench.prepare` would give, without data, teacher or device."""
    shape = ImageInput(channels=1, size=settings.task.size, classes=10)
    labels = np.random.default_rng(0).integers(0, 10, ROWS)
    teacher = workspace.folder / "teacher"
    teacher.mkdir(parents=True, exist_ok=True)
    np.save(teacher / "validation_labels.npy", labels)
    figures = {
        "accuracy": 0.95,
        "latency_p50_ms": 2.0,
        "speedup": 1.0,
        "energy_mj": 8.0,
        "size_mb": 10.0,
        "latency_ratio": 1.0,
    }
    measurement = {"energy": {"kind": "modelled-generic", "boundary": "server share", "source": "a table"}}
    write_json(teacher / "figures.json", {"metrics": figures, "intervals": {}, "measurement": measurement})
    conditions = SimpleNamespace(to_json=dict)
    return SimpleNamespace(
        config=settings,
        workspace=workspace,
        labels=labels,
        space=search_spaces.load(settings.space, input=shape, augmentations=["none", "shift"]),
        target=SimpleNamespace(conditions=lambda: conditions, name="scripted"),
        teacher_metrics=figures,
        chance={"accuracy": 0.1},
        notes=(),
        teacher_spent={"trained": False, "here": False},
    )


def workspace(root: Path, settings: SearchConfig) -> Workspace:
    return Workspace(root, settings.name)
