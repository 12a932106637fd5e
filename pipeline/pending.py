"""`niwaki measure-pending`: measure the trials whose device was away, and again those that it timed while disturbed.

A pending trial has its model file and its place in the study; what it lacks is what the device tells. The order is that
of every trial's end: record, study, MLflow, front. Whatever dies in between, the same command or the next search goes
on from the records. The second kind is the affair of `remeasuring`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from hardware_targets import DeviceAway, TargetError
from pipeline import workbench
from pipeline.artifact import OnnxArtifact
from pipeline.config import SearchConfig
from pipeline.errors import Failed
from pipeline.findings import find, write_front
from pipeline.judging import judge
from pipeline.metrics import text
from pipeline.phases import Phases, added
from pipeline.preflight import REMEASURING, whole
from pipeline.record import TrialRecord, read_records, write_record
from pipeline.remeasuring import doubtful, lost, measure_again
from pipeline.search import study as studies
from pipeline.search.loop import Progress
from pipeline.spent import kept
from pipeline.tracking import Tracker
from pipeline.workbench import Workbench
from pipeline.workspace import Workspace


@dataclass(frozen=True)
class Settled:
    """What became of the pending trials: `done` by their new records, `left` by why each is still waiting.

    `again`: records of unreliable trials that a quieter session has bettered; `unquiet`: why others are unreliable yet.
    """

    done: tuple[TrialRecord, ...]
    left: dict[int, str]
    again: tuple[TrialRecord, ...] = ()
    unquiet: Mapping[int, str] = field(default_factory=dict)


def measure_pending(
    config: SearchConfig,
    workspace: Workspace,
    progress: Progress,
    *,
    prepare: Callable[..., Workbench] = workbench.prepare,
) -> Settled:
    """Measure what waits, then again what was timed on a disturbed machine. Errors: as of a search.

    Where the device goes away again, the rest stay as they are.
    """
    with ExitStack() as stack:
        stack.enter_context(workspace.lock())
        whole(workspace, remeasures=True)
        records = {record.number: record for record in read_records(workspace.folder)}
        waiting = [record for record in records.values() if record.end == "pending"]
        cut_off = (workspace.folder / REMEASURING).exists()
        if not (waiting or doubtful(records.values()) or cut_off):
            return Settled((), {})
        ledger = stack.enter_context(kept(workspace, "measure-pending"))
        bench = prepare(config, workspace, progress.step)
        ledger.prepared(bench.teacher_spent)
        tracker = Tracker(workspace, config, progress.say)
        stack.enter_context(tracker.running())
        tracker.repair(records.values())
        study = studies.open_study(config, workspace.study_url)

        def keep(new: TrialRecord, tell: bool = True) -> None:
            write_record(workspace.folder, new)
            records[new.number] = new
            if tell:
                studies.settle(study, new, config)
            tracker.replace(new)
            ledger.note()
            progress.end(new, find(workspace, config, list(records.values()), paired=False))

        done, left = _first(waiting, bench, progress, keep)
        again, unquiet = measure_again(records, config, bench, progress.step, lambda new: keep(new, tell=False))
        report = find(workspace, config, list(records.values()))
        tracker.show_front(report, write_front(report, workspace, None))
        return Settled(tuple(done), left, tuple(again.values()), unquiet)


def _first(
    waiting: Sequence[TrialRecord], bench: Workbench, progress: Progress, keep: Callable[[TrialRecord], None]
) -> tuple[list[TrialRecord], dict[int, str]]:
    """What was never measured: the new records, and why others still wait."""
    done, left = list[TrialRecord](), dict[int, str]()
    for record in waiting:
        progress.begin(record.number, record.candidate)
        if reason := lost(record, bench.workspace):
            left[record.number] = reason
            continue
        try:
            new = measured(record, bench, progress.step)
        except DeviceAway as error:
            left |= {item.number: str(error) for item in waiting[waiting.index(record) :]}
            break
        keep(new)
        done.append(new)
    return done, left


def measured(record: TrialRecord, bench: Workbench, step: Callable[[str], None]) -> TrialRecord:
    """The record with what the device tells of its file. Errors: DeviceAway, and then nothing has changed."""
    folder, clock = bench.workspace.trial(record.number), Phases()
    shipped = OnnxArtifact.from_json(record.artifact or {}, folder / "model.onnx")
    found: dict[str, Any] = {"notes": (*record.notes, f"trained by {record.ended}, measured later: {record.reason}")}
    try:
        judge(shipped, bench, folder, clock, step, found, "trial" if record.final_of is None else "final")
        end, reason = "complete", None
    except DeviceAway:
        raise
    except (Failed, TargetError) as error:
        end, reason = "failed", str(error)
    seconds = added(record.seconds, clock.seconds())
    ended = datetime.now(UTC).isoformat(timespec="seconds")
    return record.with_(end=end, reason=reason, seconds=seconds, ended=ended, **found)


def sentences(settled: Settled, name: str, root: str) -> list[str]:
    """What was measured, what still waits and why, and what to type next."""
    if settled == Settled((), {}):
        return [f"no trial of {name} is pending or unreliable; next: niwaki front {name}{root}"]
    lines = [f"trial {record.number}: {record.end}" + _because(record.reason) for record in settled.done]
    lines += [f"trial {number} is still pending: {reason}" for number, reason in settled.left.items()]
    lines += [_both(record) for record in settled.again]
    lines += [f"trial {number} is still unreliable: {reason}" for number, reason in settled.unquiet.items()]
    lines.append(f"{len(settled.done)} measured, {len(settled.left)} pending")
    if settled.again or settled.unquiet:
        lines[-1] += f"; {len(settled.again)} measured again, {len(settled.unquiet)} unreliable"
    verb = "measure-pending" if settled.left or settled.unquiet else "front"
    return [*lines, f"next: niwaki {verb} {name}{root}"]


def _both(record: TrialRecord) -> str:
    """The figure that stood before, and the one that stands now."""
    before, now = record.earlier_timing[-1]["metrics"], record.metrics
    name = "latency_p50_ms"
    return f"trial {record.number}: measured again, {text(name, now.get(name))} (before {text(name, before.get(name))})"


def _because(reason: str | None) -> str:
    return f", {reason}" if reason else ""
