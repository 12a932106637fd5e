"""The selection slice: rows held out of train that the search never saw, on which finalists are scored again."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from hardware_targets import HardwareTarget
from pipeline.artifact import view_of
from pipeline.quality import quality_with_intervals
from pipeline.record import TrialRecord, read_json, write_json
from pipeline.tasks import Task
from pipeline.workspace import Workspace


def rescore(
    workspace: Workspace, records: Iterable[TrialRecord], task: Task, target: HardwareTarget
) -> dict[int, dict[str, float]]:
    """Quality of each finalist's file on the selection slice, batch 1; computed once per file."""
    labels = task.labels("selection")
    np.save(workspace.folder / "teacher" / "selection_labels.npy", labels)
    found = {}
    for record in records:
        folder = workspace.trial(record.number)
        stored = folder / "selection.json"
        sha256 = (record.artifact or {}).get("sha256")
        if not (stored.exists() and read_json(stored)["sha256"] == sha256):
            logits = target.predict(folder / "model.onnx", task.feeds("selection", view_of(record.artifact)))
            np.save(folder / "selection_predictions.npy", logits.argmax(1).astype(np.int32))
            quality, intervals = quality_with_intervals(labels, logits)
            pairs = {name: list(pair) for name, pair in intervals.items()}
            write_json(stored, {"sha256": sha256, "rows": len(labels), "metrics": quality, "intervals": pairs})
        found[record.number] = dict(read_json(stored)["metrics"])
    return found
