"""What is known of a search at any moment, read from its records alone: the front, the teacher's row, what ties."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config import SearchConfig
from pipeline.config_file import parse_config
from pipeline.errors import ConfigError
from pipeline.finalists import finalists
from pipeline.footprint import footprint, trial_sentences
from pipeline.pareto import front
from pipeline.record import UNPRUNED, TrialRecord, read_json, read_records, write_json
from pipeline.report import FrontReport, write_report
from pipeline.seal import unsealed
from pipeline.statistics import tell_apart
from pipeline.workspace import Workspace, root_flag

KEPT = 0.97  # of a quality: below it a file is of no use beside one that has it
FILES_TO_RUN = ("model.onnx", "float32.onnx", "untrained.onnx")
MODEL_FILES = (*FILES_TO_RUN, "student.safetensors", f"{UNPRUNED}/student.safetensors")


def config_of(workspace: Workspace) -> SearchConfig:
    """The configuration that a search was run with."""
    state = workspace.state()
    assert state is not None
    return parse_config(state["config"], str(workspace.state_file))


def find(
    workspace: Workspace,
    config: SearchConfig | None = None,
    records: Sequence[TrialRecord] | None = None,
    *,
    paired: bool = True,
) -> FrontReport:
    """The report of a search as it stands.

    `paired=False`, for who only looks on, leaves out the paired tests between its points, and the footprint.
    """
    config = config or config_of(workspace)
    records = read_records(workspace.folder) if records is None else records
    points = front(records, config.objectives)
    numbers = tuple(record.number for record in points)
    frozen: Mapping[str, Any] = read_json(workspace.folder / "teacher" / "figures.json")
    energy = frozen["measurement"].get("energy") or {}
    test, void = _test(workspace)
    return FrontReport(
        name=config.name,
        objectives=tuple(config.objectives),
        quality=config.task.metric,
        records=tuple(records),
        front_numbers=numbers,
        teacher=frozen["metrics"],
        teacher_intervals={name: (pair[0], pair[1]) for name, pair in frozen["intervals"].items()},
        target=config.target.name,
        energy_kind=energy.get("kind"),
        energy_boundary=energy.get("boundary"),
        energy_source=energy.get("source") or energy.get("unmeasured"),
        indistinguishable=ties(workspace, numbers, config.task.metric) if paired else {},
        test=test,
        test_void=void,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        budget=config.budget,
        footprint=footprint(workspace, config, records, numbers, frozen["measurement"]) if paired else {},
    )


def footprint_of(workspace: Workspace, records: Sequence[TrialRecord], number: int) -> dict[str, Any]:
    """What one trial cost and saves, the search's own energy, the grid, and sentences on the trial."""
    frozen = read_json(workspace.folder / "teacher" / "figures.json")["measurement"]
    whole = footprint(workspace, config_of(workspace), records, [number], frozen)
    found = whole["trials"][str(number)]
    search = {name: value for name, value in whole["search"].items() if name != "trials"}
    grid = {name: value for name, value in whole["carbon"].items() if name != "search"}
    lines = trial_sentences(found, whole["search"], whole["carbon"])
    return {**found, "search": search, "carbon": grid, "sentences": lines}


def _test(workspace: Workspace) -> tuple[Mapping[str, Any] | None, str | None]:
    """The sealed figures, if there are any; and why they are void, if they are."""
    if not workspace.test_file.exists():
        return None, None
    try:
        sealed = unsealed(workspace)
    except ConfigError as error:
        return None, str(error)
    trials = {number: row["metrics"] for number, row in sealed["trials"].items()}
    told = {
        "created": sealed["date"],
        "rows": sealed["rows"],
        "teacher": sealed["teacher"]["metrics"],
        "trials": trials,
        "finals": sealed.get("finals", {}),
    }
    return told, None


def ties(
    workspace: Workspace, numbers: Sequence[int], metric: str, split: str = "validation"
) -> dict[int, tuple[int, ...]]:
    """For each trial, the others whose quality a paired test on `split` cannot tell from its own."""
    labels = _answers(workspace.folder / "teacher" / f"{split}_labels.npy")
    name = "predictions.npy" if split == "validation" else f"{split}_predictions.npy"
    answers = {number: _answers(workspace.trial(number) / name) for number in numbers}
    known = [number for number in numbers if answers[number] is not None]
    if labels is None:
        return {}
    found: dict[int, list[int]] = {number: [] for number in numbers}
    for place, a in enumerate(known):
        for b in known[place + 1 :]:
            if not tell_apart(metric, labels, answers[a], answers[b]):
                found[a].append(b)
                found[b].append(a)
    return {number: tuple(others) for number, others in found.items()}


def finalists_of(workspace: Workspace, config: SearchConfig) -> list[int]:
    """The students of this search that deserve to be distilled in full. Errors: ConfigError where there is none."""
    labels = _answers(workspace.folder / "teacher" / "validation_labels.npy")

    def same_quality(a: TrialRecord, b: TrialRecord) -> bool:
        answers = [_answers(workspace.trial(record.number) / "predictions.npy") for record in (a, b)]
        known = labels is not None and all(given is not None for given in answers)
        return known and not tell_apart(config.task.metric, labels, *answers)

    found = finalists(read_records(workspace.folder), config.objectives, same_quality)
    if not found:
        raise ConfigError(
            f"search {config.name!r} has no student on its front, so none can be distilled in full; "
            f"let it run on first: niwaki search FILE{root_flag(workspace.root)}"
        )
    return found


def _answers(path: Path) -> Any:
    return np.load(path, allow_pickle=False) if path.exists() else None


def write_front(
    report: FrontReport, workspace: Workspace, mattered: Mapping[str, Mapping[str, float]] | None
) -> list[Path]:
    """front.json, .csv, .png and .html, and `mattered.json` where it is given. Returns their paths."""
    files = write_report(report, workspace.folder)
    if mattered is not None:
        files.append(workspace.folder / "mattered.json")
        write_json(files[-1], {name: dict(ranks) for name, ranks in mattered.items()})
    return files


def drop_models(
    report: FrontReport, workspace: Workspace, lending: Collection[int] = (), dry_run: bool = False
) -> list[Path]:
    """Delete the models of trials off the front (`keep: front`), not the teacher's own 8-bit files.

    Finals stay, and what was timed too badly to be ranked, or not yet; and the students of `lending`, by number, with
    which further trials may begin. Returns paths.
    """
    others = {
        record.number
        for record in report.records
        if record.final_of is not None or record.unreliable or record.end == "pending"
    }
    kept = set(report.front_numbers) | set(best_int8(report.records, report.quality)) | others
    gone = [
        path
        for record in report.records
        if record.number not in kept
        for name in (MODEL_FILES if record.number not in lending else FILES_TO_RUN)
        if (path := workspace.trial(record.number) / name).exists()
    ]
    if not dry_run:
        for path in gone:
            path.unlink()
    return gone


def best_int8(records: Sequence[TrialRecord], quality: str) -> list[int]:
    """The teacher's own 8-bit files, the honest rivals of every student: the fastest first, but for those that broke.

    One that keeps less than `KEPT` of the best one's quality is none.
    """
    own = [
        record
        for record in records
        if record.candidate.student == "identity" and record.end == "complete" and "int8" in record.precision
    ]
    best = max((record.metrics.get(quality, 0.0) for record in own), default=0.0)
    own = [record for record in own if record.metrics.get(quality, 0.0) >= KEPT * best]
    own.sort(key=lambda record: (-record.metrics.get("speedup", 0.0), -record.metrics.get(quality, 0.0)))
    return [record.number for record in own]
