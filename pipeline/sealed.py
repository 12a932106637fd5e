"""The test split, scored once: the figures are sealed with hashes and a date, and later calls read them back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np

from hardware_targets import HardwareTarget
from pipeline.artifact import View, sha256_of, view_of
from pipeline.config import SearchConfig
from pipeline.errors import ConfigError, NothingFits
from pipeline.findings import best_int8, find
from pipeline.quality import quality_with_intervals
from pipeline.record import TrialRecord, read_json, write_json
from pipeline.report import FrontReport
from pipeline.seal import sealed, unsealed
from pipeline.statistics import retention_low
from pipeline.tasks import Task
from pipeline.workspace import Workspace


def sealed_test(
    workspace: Workspace,
    config: SearchConfig,
    open_task: Callable[[], Task],
    open_target: Callable[[], HardwareTarget],
    say: Callable[[str], None],
) -> Mapping[str, Any]:
    """Score teacher, its 8-bit files and the front on test, once. Errors: ConfigError when the seal is broken."""
    if workspace.test_file.exists():
        return unsealed(workspace)
    report = find(workspace, config)
    if not report.front_numbers:
        raise NothingFits("the front is empty, so there is nothing to score; let the search run longer")
    finals = [record.number for record in report.complete if record.final_of is not None]
    numbers = list(dict.fromkeys([*report.front_numbers, *best_int8(report.records, report.quality), *finals]))
    records = {record.number: record for record in report.records}
    missing = [number for number in numbers if not (workspace.trial(number) / "model.onnx").exists()]
    if missing:
        raise ConfigError(
            f"the model files of trials {', '.join(map(str, missing))} are gone; make them again: niwaki rerun "
            f"{config.name} {missing[0]}"
        )
    task, target = open_task(), open_target()
    say(f"scoring {len(numbers) + 1} files on {task.rows('test')} test rows, batch 1, once")
    teacher = _score(workspace.folder / "teacher", None, task, target)
    rows = {str(number): _score(workspace.trial(number), records[number], task, target) for number in numbers}
    seal = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "rows": task.rows("test"),
        "trials_before": len(report.records),
        "front": list(report.front_numbers),
        "teacher": teacher,
        "trials": rows,
        "finals": _finals(workspace, report, rows, teacher, task),
    }
    write_json(workspace.test_file, sealed(seal))
    return unsealed(workspace)


def _score(folder: Path, record: TrialRecord | None, task: Task, target: HardwareTarget) -> dict[str, Any]:
    path = folder / "model.onnx"
    digest = sha256_of(path)
    expected = None if record is None else (record.artifact or {}).get("sha256")
    if expected is not None and digest != expected:
        raise ConfigError(
            f"{path} is not the file that was measured (its SHA-256 differs); niwaki rerun makes it again"
        )
    logits = target.predict(path, task.feeds("test", _view(folder, record)))
    np.save(folder / "test_predictions.npy", logits.argmax(1).astype(np.int32))
    quality, intervals = quality_with_intervals(task.labels("test"), logits)
    return {"sha256": digest, "metrics": quality, "intervals": {name: list(pair) for name, pair in intervals.items()}}


def _finals(
    workspace: Workspace, report: FrontReport, rows: Mapping[str, Any], teacher: Mapping[str, Any], task: Task
) -> dict[str, Any]:
    """By finalist: its finals, mean and spread of their quality, and the mean over the teacher's."""
    labels, found = task.labels("test"), {}
    for number, (finals, _, _) in report.finals.items():
        values = [rows[str(final)]["metrics"][report.quality] for final in finals]
        whole = teacher["metrics"][report.quality]
        found[str(number)] = {
            "trials": finals,
            "mean": fmean(values),
            "sd": stdev(values) if len(values) > 1 else None,
            "of_teacher": fmean(values) / whole,
        }
        if report.quality == "accuracy":
            answers = [np.load(workspace.trial(final) / "test_predictions.npy") for final in finals]
            own = np.load(workspace.folder / "teacher" / "test_predictions.npy")
            found[str(number)]["of_teacher_low"] = retention_low(labels, own, answers)
    return found


def _view(folder: Path, record: TrialRecord | None) -> View:
    return view_of(read_json(folder / "figures.json")["artifact"] if record is None else record.artifact)
