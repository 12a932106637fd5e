"""`niwaki measure-pending`: measure and score the trials that were trained while their device was away.

A pending trial has its model file and its place in the study; what it lacks is what the device tells. The order is that
of every trial's end: record, study, MLflow, front. Whatever dies in between, the same command or the next search goes
on from the records.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from hardware_targets import DeviceAway, TargetError
from pipeline import workbench
from pipeline.artifact import OnnxArtifact, sha256_of
from pipeline.config import SearchConfig
from pipeline.errors import Failed
from pipeline.findings import find, write_front
from pipeline.judging import judge
from pipeline.phases import Phases
from pipeline.preflight import whole
from pipeline.record import TrialRecord, read_records, write_record
from pipeline.search import study as studies
from pipeline.search.loop import Progress
from pipeline.tracking import Tracker
from pipeline.workbench import Workbench
from pipeline.workspace import Workspace


@dataclass(frozen=True)
class Settled:
    """What became of the pending trials: `done` by their new records, `left` by why each is still waiting."""

    done: tuple[TrialRecord, ...]
    left: dict[int, str]


def measure_pending(
    config: SearchConfig,
    workspace: Workspace,
    progress: Progress,
    *,
    prepare: Callable[..., Workbench] = workbench.prepare,
) -> Settled:
    """Measure every pending trial; where the device goes away again, the rest stay pending. Errors: as of a search."""
    with ExitStack() as stack:
        stack.enter_context(workspace.lock())
        whole(workspace)
        records = {record.number: record for record in read_records(workspace.folder)}
        waiting = [record for record in records.values() if record.end == "pending"]
        if not waiting:
            return Settled((), {})
        bench = prepare(config, workspace, progress.step)
        study = studies.open_study(config, workspace.study_url)
        tracker = Tracker(workspace, config, progress.say)
        stack.enter_context(tracker.running())
        tracker.repair(records.values())
        done, left = list[TrialRecord](), dict[int, str]()
        for record in waiting:
            progress.begin(record.number, record.candidate)
            if reason := _lost(record, workspace):
                left[record.number] = reason
                continue
            try:
                new = measured(record, bench, progress.step)
            except DeviceAway as error:
                left |= {item.number: str(error) for item in waiting[waiting.index(record) :]}
                break
            write_record(workspace.folder, new)
            records[new.number] = new
            studies.settle(study, new, config)
            tracker.replace(new)
            done.append(new)
            progress.end(new, find(workspace, config, list(records.values()), paired=False))
        report = find(workspace, config, list(records.values()))
        tracker.show_front(report, write_front(report, workspace, None))
        return Settled(tuple(done), left)


def measured(record: TrialRecord, bench: Workbench, step: Callable[[str], None]) -> TrialRecord:
    """The record with what the device tells of its file. Errors: DeviceAway, and then nothing has changed."""
    folder, clock = bench.workspace.trial(record.number), Phases()
    shipped = OnnxArtifact.from_json(record.artifact or {}, folder / "model.onnx")
    found: dict[str, Any] = {"notes": (*record.notes, f"trained by {record.ended}, measured later: {record.reason}")}
    try:
        judge(shipped, bench, folder, clock, step, found)
        end, reason = "complete", None
    except DeviceAway:
        raise
    except (Failed, TargetError) as error:
        end, reason = "failed", str(error)
    seconds = {**record.seconds, **{name: record.seconds.get(name, 0.0) + s for name, s in clock.seconds().items()}}
    ended = datetime.now(UTC).isoformat(timespec="seconds")
    return record.with_(end=end, reason=reason, seconds=seconds, ended=ended, **found)


def sentences(settled: Settled, name: str, root: str) -> list[str]:
    """What was measured, what still waits and why, and what to type next."""
    if not settled.done and not settled.left:
        return [f"no trial of {name} is pending; next: niwaki front {name}{root}"]
    lines = [f"trial {record.number}: {record.end}" + _because(record.reason) for record in settled.done]
    lines += [f"trial {number} is still pending: {reason}" for number, reason in settled.left.items()]
    lines.append(f"{len(settled.done)} measured, {len(settled.left)} pending")
    verb = "measure-pending" if settled.left else "front"
    return [*lines, f"next: niwaki {verb} {name}{root}"]


def _because(reason: str | None) -> str:
    return f", {reason}" if reason else ""


def _lost(record: TrialRecord, workspace: Workspace) -> str | None:
    """Why there is nothing to measure: the file is gone, or is another than the one that was trained."""
    path, number = workspace.trial(record.number) / "model.onnx", record.number
    if not path.exists():
        return f"{path} is gone; make it again: niwaki rerun {workspace.name} {number}"
    if sha256_of(path) != (record.artifact or {}).get("sha256"):
        return f"{path} is not the file that was trained; remove it, and type: niwaki rerun {workspace.name} {number}"
    return None
