"""From a finished search to one folder: re-score the finalists, choose, write, register."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import tracking, workbench
from pipeline.artifact import view_of
from pipeline.budget import budget_alias
from pipeline.choose import Choice, choose
from pipeline.energy_words import energy_sentence
from pipeline.errors import ConfigError, NothingFits
from pipeline.findings import config_of, find, footprint_of
from pipeline.metrics import text
from pipeline.package import check_out, write_package
from pipeline.record import UNRELIABLE, TrialRecord, read_json
from pipeline.report import FrontReport
from pipeline.selection import rescore
from pipeline.spent import kept
from pipeline.workspace import Workspace, root_flag

# What the next command is shown with.
SAMPLE = {"image": "IMAGE.png", "text": '"A TEXT"'}


def pick(
    workspace: Workspace,
    out: Path,
    budget: Mapping[str, float],
    *,
    min_quality: float | None,
    knee: bool,
    trial: int | None,
) -> dict[str, Any]:
    """Errors: ConfigError, Unavailable, NothingFits with the nearest misses."""
    check_out(out)
    config = config_of(workspace)
    report = find(workspace, config)
    if min_quality is not None:
        budget = {**budget, config.task.metric: min_quality}
    if trial is not None:  # whatever the limits: so nothing says that it keeps them
        budget, knee = {}, False
    finalists = _finalists(report, workspace, trial)
    task, target = workbench.prepare_task(config, workspace), workbench.prepare_target(config)
    with workspace.lock(), kept(workspace, "pick"):
        metrics = rescore(workspace, finalists, task, target)
    choice = choose(
        finalists,
        metrics,
        budget,
        quality=report.quality,
        knee=knee,
        objectives=config.objectives,
        predictions={r.number: np.load(workspace.trial(r.number) / "selection_predictions.npy") for r in finalists},
        labels=np.load(workspace.folder / "teacher" / "selection_labels.npy"),
    )
    # The packaged record keeps the figures as measured; the selection slice's quality stands beside validation's.
    record = next(item for item in finalists if item.number == choice.record.number)
    folder = workspace.trial(record.number)
    view = view_of(record.artifact)
    sentence = energy_sentence(report.energy_kind, report.energy_boundary, report.energy_source)
    cost = footprint_of(workspace, report.records, record.number)
    alias = (
        budget_alias(budget, knee)
        if budget
        else ("knee" if knee else f"trial-{record.number}" if trial is not None else "best")
    )
    write_package(
        out,
        record=record,
        model=folder / "model.onnx",
        preprocessing=task.preprocessing(view),
        kind=task.task_input().kind,
        template=task.template,
        files=task.files(view),
        classes=list(task.classes),
        quality=report.quality,
        teacher=report.teacher,
        teacher_intervals=report.teacher_intervals,
        selection=read_json(folder / "selection.json"),
        budget=budget,
        choice={"ties": list(choice.ties), "fastest_tie": choice.fastest_tie, "knee": knee, "alias": alias},
        search=_search_facts(workspace, report, task),
        energy=sentence,
        reference=_reference(workspace),
        footprint=cost,
        test=_test_row(report, record.number),
    )
    version = tracking.register(workspace, workspace.name, folder / "model.onnx", alias, _tags(record, report, budget))
    return {
        "trial": record.number,
        "out": str(out),
        "alias": alias,
        "version": version,
        "ties": list(choice.ties),
        "metrics": dict(choice.metrics),
        "sentences": _sentences(choice, record, report, out, workspace, alias, version, task.task_input().kind, cost),
    }


def _finalists(report: FrontReport, workspace: Workspace, trial: int | None) -> list[TrialRecord]:
    if trial is not None:
        finals = [record for record in report.complete if record.final_of == trial]  # of several seeds the best ships
        named = finals or [record for record in report.complete if record.number == trial]
        if not named:
            raise ConfigError(f"search {report.name!r} has no complete trial {trial}; see niwaki front {report.name}")
        finalists = named
    else:
        finalists = list(report.front)
    if not finalists:
        raise NothingFits(f"search {report.name!r} has no front yet; go on with it")
    lost = [record.number for record in finalists if not (workspace.trial(record.number) / "model.onnx").exists()]
    if lost:
        raise ConfigError(
            f"the model file of trial {lost[0]} is gone; make it again: niwaki rerun {report.name} {lost[0]}"
        )
    return finalists


def _search_facts(workspace: Workspace, report: FrontReport, task: Any) -> dict[str, Any]:
    state = workspace.state() or {}
    data = state["config"]["task"]["data"]
    return {
        "name": report.name,
        "data": data.get("path") or data.get("name"),
        "rows": {split: task.rows(split) for split in ("train", "validation", "selection")},
        "trials": len(report.records),
        "target": report.target,
        "threads": state["config"]["target"]["threads"],
        "hardware": state.get("target", {}),
        "teacher": state["config"]["teacher"],
        "notes": state.get("notes", []),
    }


def _reference(workspace: Workspace) -> dict[str, Any]:
    frozen = read_json(workspace.folder / "teacher" / "figures.json")
    return {"sha256": frozen["sha256"], "measurement": frozen["measurement"]}


def _test_row(report: FrontReport, number: int) -> Mapping[str, Any] | None:
    if report.test is None or str(number) not in report.test["trials"]:
        return None
    test = report.test
    return {
        "rows": test["rows"],
        "date": test["created"],
        "metrics": test["trials"][str(number)],
        "teacher": test["teacher"],
    }


def _tags(record: TrialRecord, report: FrontReport, budget: Mapping[str, float]) -> dict[str, str]:
    figures = {name: f"{value:.6g}" for name, value in record.metrics.items()}
    limits = {f"budget.{name}": f"{limit:g}" for name, limit in budget.items()}
    energy = {"energy.kind": str(report.energy_kind or ""), "energy.boundary": str(report.energy_boundary or "")}
    return {"niwaki.trial_of_pick": str(record.number), **figures, **limits, **energy}


def _sentences(
    choice: Choice,
    record: TrialRecord,
    report: FrontReport,
    out: Path,
    workspace: Workspace,
    alias: str,
    version: str,
    kind: str,
    cost: Mapping[str, Any],
) -> list[str]:
    chosen = choice.metrics[report.quality]
    root = root_flag(workspace.root)
    lines = [
        f"trial {record.number}: {report.quality} {text(report.quality, chosen)} on the selection slice "
        f"({text(report.quality, record.metrics[report.quality])} on validation), "
        f"{text('speedup', record.metrics['speedup'])} as fast as the teacher, "
        f"{text('latency_p50_ms', record.metrics['latency_p50_ms'])}, {text('size_mb', record.metrics['size_mb'])}"
    ]
    if record.final_of is not None:
        lines.append(f"  it is trial {record.final_of} distilled in full (niwaki finals)")
    if record.unreliable:
        again = f"niwaki measure-pending {workspace.name}{root}"
        lines.append(f"  {UNRELIABLE}; once the machine is quiet, this times it again: {again}")
    for number in choice.ties:
        other = choice.rescored[number]
        fastest = ", and faster" if number == choice.fastest_tie else ""
        lines.append(
            f"  a paired test cannot tell trial {number} from it{fastest}: "
            f"{text(report.quality, other[report.quality])}, {text('latency_p50_ms', other['latency_p50_ms'])}"
        )
    return [
        *lines,
        energy_sentence(report.energy_kind, report.energy_boundary, report.energy_source),
        *cost["sentences"],
        f"written to {out}; registered in MLflow as {workspace.name} version {version}, alias {alias}",
        f"next: python {out}/predict.py {SAMPLE[kind]}, or niwaki front {workspace.name} --test{root}",
    ]
