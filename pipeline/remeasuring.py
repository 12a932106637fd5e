"""Trials that were timed on a disturbed machine, timed again: the same file, and nothing is trained.

A file's answers do not depend on who else used the machine, so quality stays as it was scored. The figure of the
session with fewer void rounds stays; where that is the new one, the old is kept beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from hardware_targets import DeviceAway, Latency, Measurement, TargetError
from pipeline import budget
from pipeline.artifact import OnnxArtifact, sha256_of
from pipeline.config import SearchConfig
from pipeline.errors import Failed
from pipeline.judging import BLOCKS, all_objectives, device_figures, device_intervals, device_metrics
from pipeline.metrics import QUALITY
from pipeline.phases import Phases, added
from pipeline.preflight import REMEASURING
from pipeline.record import TrialRecord, write_json
from pipeline.search import study as studies
from pipeline.workbench import Workbench
from pipeline.workspace import Workspace, root_flag

Step = Callable[[str], None]

# After so many trials in a row that found the machine no quieter, the rest is left for another hour.
MOST_BUSY = 3


def doubtful(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Complete trials whose figures are of a disturbed machine."""
    return [record for record in records if record.end == "complete" and record.unreliable]


def measure_again(
    records: Mapping[int, TrialRecord],
    config: SearchConfig,
    bench: Workbench,
    step: Step,
    keep: Callable[[TrialRecord], None],
) -> tuple[dict[int, TrialRecord], dict[int, str]]:
    """Time every doubtful trial again; the new records of those that became better, and why others are left.

    `keep` writes a record and its views but for the study, which is told at the end, however that comes about: a
    finished trial of Optuna's cannot be changed, so that all are put in anew. `records` holds what `keep` wrote.
    """
    better, left, busy = dict[int, TrialRecord](), dict[int, str](), 0
    marker = bench.workspace.folder / REMEASURING
    todo = doubtful(records.values())
    try:
        for place, record in enumerate(todo):
            if busy == MOST_BUSY:
                words = f"not tried: {busy} trials in a row found the machine no quieter than before"
                left |= {item.number: words for item in todo[place:]}
                break
            if reason := lost(record, bench.workspace):
                left[record.number] = reason
                continue
            try:
                new, still = timed_again(record, bench, step)
            except DeviceAway as error:
                left |= {item.number: str(error) for item in todo[place:]}
                break
            except (Failed, TargetError) as error:
                left[record.number] = str(error)
                continue
            busy = busy + 1 if still else 0
            if still:
                left[record.number] = still
            if new is not record:
                write_json(marker, {"command": command(bench.workspace)})
                better[record.number] = new
                for item in (new, *_copies(new, records)):
                    keep(item)
    finally:
        if marker.exists():
            studies.rebuild(config, bench.workspace.study_url, records.values(), bench.space.trained())
            marker.unlink()
    return better, left


def timed_again(record: TrialRecord, bench: Workbench, step: Step) -> tuple[TrialRecord, str | None]:
    """The record with the better of both figures, and what still speaks against it; the same record if it stays.

    Errors: DeviceAway, TargetError, and then nothing has changed.
    """
    folder, clock = bench.workspace.trial(record.number), Phases()
    shipped = OnnxArtifact.from_json(record.artifact or {}, folder / "model.onnx")
    raw = folder / f"again-{BLOCKS}"
    try:
        with clock("measure"):
            step("measuring again")
            found = device_figures(shipped, bench, "trial" if record.final_of is None else "final", raw)
        new = record
        if _void(found.latency) < _void(Latency.from_json((record.measurement or {})["latency"])):
            new = _with(record, found, shipped, bench, clock.seconds())
            if raw.exists():
                raw.replace(folder / BLOCKS)
    finally:
        raw.unlink(missing_ok=True)
    latency = found.latency
    still = f"{latency.voided_rounds} of {latency.rounds} rounds were void ({', '.join(latency.void_reasons)})"
    return new, still if latency.unreliable else None


def lost(record: TrialRecord, workspace: Workspace) -> str | None:
    """Why there is nothing to measure: the file is gone, or is another than the one that was trained."""
    path, number = workspace.trial(record.number) / "model.onnx", record.number
    if not path.exists():
        return f"{path} is gone; make it again: niwaki rerun {workspace.name} {number}"
    if sha256_of(path) != (record.artifact or {}).get("sha256"):
        return f"{path} is not the file that was trained; remove it, and type: niwaki rerun {workspace.name} {number}"
    return None


def command(workspace: Workspace) -> str:
    """What finishes a measuring that was cut off."""
    return f"niwaki measure-pending {workspace.name}{root_flag(workspace.root)}"


def _void(latency: Latency) -> float:
    return latency.voided_rounds / latency.rounds


def _with(
    record: TrialRecord, found: Measurement, shipped: OnnxArtifact, bench: Workbench, seconds: Mapping[str, float]
) -> TrialRecord:
    """The record with these device figures, the old ones in `earlier_timing`. Errors: DeviceFailure."""
    device = {name: value for name, value in record.metrics.items() if name not in QUALITY}
    quality = {name: value for name, value in record.metrics.items() if name in QUALITY}
    intervals = {name: pair for name, pair in record.intervals.items() if name in QUALITY}
    metrics = {**quality, **device_metrics(found, shipped, bench)}
    all_objectives(metrics, bench)
    now, old = datetime.now(UTC).isoformat(timespec="seconds"), record.measurement or {}
    notes = [note for note in record.notes if note not in old.get("warnings", ())]
    notes += [*found.warnings, f"timed again on {now[:10]}: before, {_words(Latency.from_json(old['latency']))}"]
    return record.with_(
        metrics=metrics,
        intervals={**intervals, **device_intervals(found)},
        violations=budget.violations(bench.config.budget, metrics),
        measurement=found.to_json(),
        seconds=added(record.seconds, seconds),
        notes=tuple(notes),
        earlier_timing=(*record.earlier_timing, {"measurement": dict(old), "metrics": device, "until": now}),
    )


def _words(latency: Latency) -> str:
    return f"{latency.voided_rounds} of {latency.rounds} rounds were void"


def _copies(record: TrialRecord, records: Mapping[int, TrialRecord]) -> list[TrialRecord]:
    """Repetitions of a trial bear its figures."""
    names = ("metrics", "intervals", "violations", "measurement", "earlier_timing")
    figures: dict[str, Any] = {name: getattr(record, name) for name in names}
    return [item.with_(**figures) for item in records.values() if item.same_as == record.number]
