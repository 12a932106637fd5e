"""The journey of one candidate: build, distill, prune and recover, learn to round, export, quantize, measure, score.

Every figure of the record comes from the file that would ship. This room knows nothing of Optuna or MLflow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hardware_targets import DeviceAway, TargetError, this_worker
from pipeline.ancestor import Ancestor
from pipeline.artifact import TorchArtifact
from pipeline.at_rungs import Climb
from pipeline.errors import Failed, Refused, Stopped
from pipeline.judging import judge
from pipeline.lineage import Begun
from pipeline.making import build, export_student, pruned, quantized, rounding
from pipeline.memory import give_back
from pipeline.phases import Phases
from pipeline.record import UNPRUNED, TrialRecord
from pipeline.rungs import Peers
from pipeline.screening import compares, drifted, screened
from pipeline.stages.distill import distill, recover
from pipeline.student_files import load_student, save_student
from search_spaces.candidate import Candidate

if TYPE_CHECKING:
    from pipeline.workbench import Workbench

Step = Callable[[str], None]


def run_trial(
    number: int,
    candidate: Candidate,
    bench: Workbench,
    step: Step = lambda _: None,
    begun: Begun | None = None,
    peers: Peers | None = None,
    ancestor: Ancestor | None = None,
    lends: bool = False,
) -> TrialRecord:
    """Carry one candidate through to its record; a refusal or failure is a record too, never an exception.

    `begun` is the trained student of an earlier trial that this candidate begins with. `peers` are the search's trials
    so far, with which it is compared before training and at its rungs; None: it is trained to the end in any case.
    With an `ancestor` the training begins with the weights of that student. `lends`: others will begin with this one,
    so what it was before pruning is kept, too.
    """

    def travel(folder: Path, clock: Phases, found: dict[str, Any]) -> None:
        kept = folder / UNPRUNED if lends else None
        _travel(number, candidate, bench, folder, clock, step, found, begun, peers, ancestor, kept)

    return recorded(number, candidate, bench, travel, trained_by=None if begun is None else begun.number)


def recorded(
    number: int,
    candidate: Candidate,
    bench: Workbench,
    travel: Callable[[Path, Phases, dict[str, Any]], None],
    **more: Any,
) -> TrialRecord:
    """The record of whatever `travel(folder, clock, found)` comes to; it fills `found` as far as it gets.

    `more` are further fields of the record.
    """
    folder = bench.workspace.trial(number)
    folder.mkdir(parents=True, exist_ok=True)
    clock = Phases()
    started = _now()
    found: dict[str, Any] = {}
    try:
        travel(folder, clock, found)
        end, reason = "complete", None
    except Refused as error:
        end, reason = "refused", str(error)
        found["violations"] = error.violations
        found["metrics"] = error.metrics
        found["measurement"] = error.measurement
        if isinstance(error, Stopped):
            end, found["rung"], found["rung_accuracy"] = "stopped", error.rung, error.rung_accuracy
    except DeviceAway as error:
        # What was trained is kept: nothing is wrong with it, and the device may come back.
        end, reason = ("pending" if "artifact" in found else "failed"), str(error)
        found.pop("measurement", None)  # it went while the file was scored: both are done anew
    except (Failed, TargetError) as error:
        end, reason = "failed", str(error)
    give_back()
    return TrialRecord(
        number=number,
        candidate=candidate,
        end=end,  # type: ignore[arg-type]
        reason=reason,
        seconds=clock.seconds(),
        cpu_seconds=clock.cpu_seconds(),
        started=started,
        ended=_now(),
        teacher=bench.reference.sha256,
        test_seen=bench.workspace.test_file.exists(),
        **more,
        **found,
    )


def _travel(
    number: int,
    candidate: Candidate,
    bench: Workbench,
    folder: Path,
    clock: Phases,
    step: Step,
    found: dict[str, Any],
    begun: Begun | None,
    peers: Peers | None,
    ancestor: Ancestor | None,
    kept: Path | None,
) -> None:
    minutes = None if bench.in_full else bench.config.limits.trial_minutes  # a finalist may take what it takes
    deadline = None if minutes is None else this_worker().clock() + 60 * minutes
    if candidate.student == "identity":
        plain = bench.reference
    else:
        twin, climb = None, None
        if bench.config.budget or (peers and compares(bench.config.trials)):
            with clock("screen"):
                step("measuring untrained")
                twin = screened(candidate, bench, folder, found, peers)
        if bench.config.trials.rungs and peers is not None and begun is None:
            climb = Climb(number, candidate, bench, peers, twin)
        student, exported = _trained(candidate, bench, deadline, clock, step, found, begun, climb, ancestor, kept)
        save_student(folder, student)
        with clock("export"):
            step("exporting")
            plain = export_student(exported, bench, folder)
    with clock("quantize"):
        step("quantizing")
        shipped = quantized(plain, candidate, bench, folder / "model.onnx")
    found["artifact"] = shipped.to_json()
    if deadline is not None and this_worker().clock() > deadline:
        raise Failed(f"time limit of {minutes:g} minutes reached; raise limits.trial_minutes")
    judge(shipped, bench, folder, clock, step, found, "final" if bench.in_full else "trial")
    found["notes"] = (*found["notes"], *drifted(found, bench.config.objectives))


def _trained(
    candidate: Candidate,
    bench: Workbench,
    deadline: float | None,
    clock: Phases,
    step: Step,
    found: dict[str, Any],
    begun: Begun | None,
    climb: Climb | None,
    ancestor: Ancestor | None,
    kept: Path | None,
) -> tuple[TorchArtifact, TorchArtifact]:
    """The student, and what is exported: itself, or its twin that rounds, with the same parameters.

    A student that is trained here and pruned is `kept` as it was before, where others will begin with it.
    """
    curve: list[Mapping[str, float]] = [] if climb is None else climb.curve
    found["curve"] = tuple(curve)
    found["inherited_from"] = None if ancestor is None else ancestor.number
    if climb is not None:
        climb.judge_again()
    if begun is not None:
        student = load_student(begun.folder)
    else:
        with clock("inherit"):
            student = build(candidate, bench, ancestor=ancestor)

    def on_epoch(row: Mapping[str, float]) -> None:
        curve.append({**row, "epoch": len(curve) + 1})  # recovery goes on counting where distillation ended
        found["curve"] = tuple(curve)
        step(f"epoch {len(curve)}: validation {row['rung_accuracy']:.3f}")

    settings, seed = candidate.section("distill"), candidate.seed

    def relearn(student: TorchArtifact, epochs: Any, seed: int) -> TorchArtifact:
        return recover(
            student,
            bench.task,
            bench.targets,
            settings,
            epochs=int(epochs),
            seed=seed,
            teacher=bench.inner_teacher,
            rows=bench.rows,
            deadline=deadline,
            on_epoch=on_epoch,
        )[0]

    if begun is None:
        with clock("distill"):
            step("distilling")
            student, _ = distill(
                student,
                bench.task,
                bench.targets,
                settings,
                seed=seed,
                teacher=bench.inner_teacher,
                rows=bench.rows,
                deadline=deadline,
                on_epoch=on_epoch,
                begin=None if climb is None else climb.begin,
                between=None if climb is None else climb.between,
            )
    pruning = candidate.section("prune")
    if pruning.get("ratio", 0) and not (begun and begun.pruned):
        if kept is not None and begun is None:
            save_student(kept, student)
        with clock("prune"):
            step("pruning")
            student = pruned(student, candidate, bench)
        with clock("recover"):
            student = relearn(student, pruning["recovery_epochs"], seed)
    exported = rounding(student, candidate, bench)
    if exported is not student:
        with clock("aware"):
            step("learning with 8 bits")
            relearn(exported, candidate.section("quantize")["aware_epochs"], seed + 1)
    return student, exported


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
