"""The journey of one candidate: build, distill, prune and recover, learn to round, export, quantize, measure, score.

Every figure of the record comes from the file that would ship. This room knows nothing of Optuna or MLflow.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hardware_targets import DeviceAway, DeviceFailure, Measurement, TargetError, Tier, Unmeasured
from pipeline import budget
from pipeline.artifact import OnnxArtifact, TorchArtifact
from pipeline.cpu_time import cpu_seconds
from pipeline.errors import Failed, Refused
from pipeline.figures import device_metrics as figures_of
from pipeline.lineage import Begun
from pipeline.modelled import told
from pipeline.quality import quality_with_intervals
from pipeline.record import TrialRecord
from pipeline.stages.distill import distill, gradient_batches, recover
from pipeline.stages.export import Inputs, export
from pipeline.stages.inherit import inherit
from pipeline.stages.int8_aware import fake_quantized, tolerance_of
from pipeline.stages.prune import prune
from pipeline.stages.quantize import quantize
from pipeline.student_files import load_student, save_student
from search_spaces.candidate import Candidate
from search_spaces.compression import TRAINED_SCHEMES

if TYPE_CHECKING:
    from pipeline.workbench import Workbench

Step = Callable[[str], None]

# An untrained twin is measured before any epoch where a budget stands; training changes no shape, so what is over
# its limit by more than this stays over it. The band covers the difference between two short measurements.
SCREEN_MARGIN = 0.05
BLOCKS = "blocks.npz"


def run_trial(
    number: int,
    candidate: Candidate,
    bench: Workbench,
    step: Step = lambda _: None,
    begun: Begun | None = None,
) -> TrialRecord:
    """Carry one candidate through to its record; a refusal or failure is a record too, never an exception.

    `begun` is the trained student of an earlier trial that this candidate begins with.
    """
    folder = bench.workspace.trial(number)
    folder.mkdir(parents=True, exist_ok=True)
    clock = Phases()
    started = _now()
    found: dict[str, Any] = {}
    try:
        _travel(candidate, bench, folder, clock, step, found, begun)
        end, reason = "complete", None
    except Refused as error:
        end, reason = "refused", str(error)
        found["violations"] = error.violations
        found["metrics"] = error.metrics
        found["measurement"] = error.measurement
    except DeviceAway as error:
        # What was trained is kept: nothing is wrong with it, and the device may come back.
        end, reason = ("pending" if "artifact" in found else "failed"), str(error)
        found.pop("measurement", None)  # it went while the file was scored: both are done anew
    except (Failed, TargetError) as error:
        end, reason = "failed", str(error)
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
        trained_by=None if begun is None else begun.number,
        test_seen=bench.workspace.test_file.exists(),
        **found,
    )


def _travel(
    candidate: Candidate,
    bench: Workbench,
    folder: Path,
    clock: Phases,
    step: Step,
    found: dict[str, Any],
    begun: Begun | None,
) -> None:
    deadline = time.monotonic() + bench.config.limits.trial_minutes * 60
    if candidate.student == "identity":
        plain = bench.reference
    else:
        if bench.config.budget:
            with clock("screen"):
                step("measuring untrained")
                _screened(candidate, bench, folder, found)
        student, exported = _trained(candidate, bench, deadline, clock, step, found, begun)
        save_student(folder, student)
        with clock("export"):
            step("exporting")
            plain = export_student(exported, bench, folder)
    with clock("quantize"):
        step("quantizing")
        shipped = quantized(plain, candidate, bench, folder / "model.onnx")
    found["artifact"] = shipped.to_json()
    if time.monotonic() > deadline:
        raise Failed(f"time limit of {bench.config.limits.trial_minutes:g} minutes reached; raise limits.trial_minutes")
    judge(shipped, bench, folder, clock, step, found)


def judge(
    shipped: OnnxArtifact, bench: Workbench, folder: Path, clock: Phases, step: Step, found: dict[str, Any]
) -> None:
    """Measure and score the file that would ship. Errors: Failed, TargetError."""
    with clock("measure"):
        step("measuring")
        measurement = device_figures(shipped, bench, "final" if bench.in_full else "trial", folder / BLOCKS)
    found["measurement"] = measurement.to_json()
    with clock("score"):
        step("scoring")
        logits = bench.target.predict(shipped.path, bench.feeds("validation", shipped))
        np.save(folder / "predictions.npy", logits.argmax(1).astype(np.int32))
    told_before = found.get("notes", ())
    found.update(figures(measurement, shipped, logits, bench))
    found["notes"] = (*told_before, *found["notes"])
    found["violations"] = budget.violations(bench.config.budget, found["metrics"])
    _all_objectives(found["metrics"], bench)


def _trained(
    candidate: Candidate,
    bench: Workbench,
    deadline: float,
    clock: Phases,
    step: Step,
    found: dict[str, Any],
    begun: Begun | None,
) -> tuple[TorchArtifact, TorchArtifact]:
    """The student, and what is exported: itself, or its twin that rounds, with the same parameters."""
    student = build(candidate, bench) if begun is None else load_student(begun.folder)
    curve: list[Mapping[str, float]] = []
    found["curve"] = ()

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
            )
    pruning = candidate.section("prune")
    if pruning.get("ratio", 0) and not (begun and begun.pruned):
        with clock("prune"):
            step("pruning")
            student = _pruned(student, candidate, bench)
        with clock("recover"):
            student = relearn(student, pruning["recovery_epochs"], seed)
    exported = _rounding(student, candidate, bench)
    if exported is not student:
        with clock("aware"):
            step("learning with 8 bits")
            relearn(exported, candidate.section("quantize")["aware_epochs"], seed + 1)
    return student, exported


def build(candidate: Candidate, bench: Workbench, *, inherited: bool = True) -> TorchArtifact:
    """The untrained student of a candidate: drawn from the candidate's seed, then inherited where its family does."""
    import torch

    family = bench.families[candidate.student]
    architecture = candidate.section(candidate.student)
    shape = family.shape(architecture, bench.input)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(candidate.seed)
        module = family.build(shape)
        if family.inherits and inherited:
            _inherit(module, shape, str(architecture["init"]), bench)
    return TorchArtifact(module, family.name, shape)


def _inherit(module: Any, shape: Mapping[str, Any], how: str, bench: Workbench) -> None:
    teacher = bench.teacher.module
    inherit(
        module,
        shape,
        teacher.model,
        how=how,  # type: ignore[arg-type]
        importance=bench.importance() if how in ("importance", "projection") else None,
        kept_pieces=bench.task.kept_pieces(bench.task.view(shape)),
        order=teacher.order.tolist() if teacher.reordered else None,
    )


def _pruned(student: TorchArtifact, candidate: Candidate, bench: Workbench, trained: bool = True) -> TorchArtifact:
    settings = candidate.section("prune")
    # Local ratios fix the shape; which channels go decides accuracy only, so an untrained twin needs no gradients.
    criterion = str(settings["criterion"]) if trained else "magnitude"
    gradients = None
    if criterion == "taylor":
        distilling = candidate.section("distill")
        gradients = gradient_batches(bench.task, bench.targets, student, distilling, seed=candidate.seed)
    pruned, _ = prune(
        student,
        bench.families[student.family],
        ratio=float(settings["ratio"]),
        criterion=criterion,  # type: ignore[arg-type]
        round_to=int(settings["round_to"]),
        example=bench.example(student.shape),
        gradient_batches=gradients,
    )
    return pruned


def _rounding(student: TorchArtifact, candidate: Candidate, bench: Workbench) -> TorchArtifact:
    """The twin of a student that rounds as its 8-bit file will; the student itself where that is not learned."""
    if candidate.section("quantize")["scheme"] not in TRAINED_SCHEMES:
        return student
    return fake_quantized(student, bench.example(student.shape))


def export_student(student: TorchArtifact, bench: Workbench, folder: Path) -> OnnxArtifact:
    """The student as a 32-bit ONNX file, its outputs compared with torch's."""
    inputs = Inputs.of(bench.task, bench.task.view(student.shape))
    return export(student.module, inputs, folder / "float32.onnx", tolerance=tolerance_of(student.module))


def quantized(plain: OnnxArtifact, candidate: Candidate, bench: Workbench, out: Path) -> OnnxArtifact:
    """The file that would ship; static schemes are calibrated on training inputs."""
    settings = candidate.section("quantize")
    made = quantize(
        plain,
        out,
        str(settings["scheme"]),
        per_channel=bool(settings.get("per_channel", False)),
        calibration=bench.calibration(plain),
    )
    if plain.path != bench.reference.path and plain.path != out:
        plain.path.unlink(missing_ok=True)  # the 32-bit file is of no further use: torch weights are kept beside it
    return made


def device_figures(
    artifact: OnnxArtifact, bench: Workbench, tier: Tier = "trial", raw: Path | None = None
) -> Measurement:
    """Latency, energy and memory of a file on the target, interleaved with the study's frozen reference.

    Every timed block is kept in `raw`, where the target is on this machine.
    """
    found = bench.target.measure(
        artifact.path,
        bench.timing_feeds(artifact),
        bench.reference.path,
        bench.timing_feeds(bench.reference),
        seed=bench.config.seed,
        tier=tier,
        raw=raw,
    )
    return told(found, bench.energy, artifact.precision, artifact.macs)


def _screened(candidate: Candidate, bench: Workbench, folder: Path, found: dict[str, Any]) -> None:
    """Screen, unless the device is away: then the candidate is trained unscreened, for its budgets can wait."""
    try:
        screen(candidate, bench, folder)
    except DeviceAway as error:
        found["notes"] = (f"not screened before training: {error}",)


def screen(candidate: Candidate, bench: Workbench, folder: Path) -> None:
    """Refuse before the first epoch what its untrained twin shows to be over a device budget. Errors: Refused."""
    limits = {name: limit for name, limit in bench.config.budget.items() if name not in bench.chance}
    if not limits:
        return
    twin = build(candidate, bench, inherited=False)  # weights change no figure of the device
    if candidate.section("prune").get("ratio", 0):
        twin = _pruned(twin, candidate, bench, trained=False)
    twin = _rounding(twin, candidate, bench)
    shipped = quantized(export_student(twin, bench, folder), candidate, bench, folder / "untrained.onnx")
    try:
        measurement = device_figures(shipped, bench, "screen")
        metrics = device_metrics(measurement, shipped, bench)
    finally:
        shipped.path.unlink(missing_ok=True)
    over = {name: value for name, value in budget.violations(limits, metrics).items() if value > SCREEN_MARGIN}
    if over:
        # Its quality is unknown, so a floor on quality is neither met nor missed: 0 teaches the sampler nothing.
        unknown = {name: 0.0 for name in bench.config.budget if name in bench.chance}
        raise Refused(
            f"over budget before training: {budget.sentence(bench.config.budget, metrics, over)}",
            violations={**budget.violations(limits, metrics), **unknown},
            metrics={**metrics, **bench.chance},
            measurement=measurement.to_json(),
        )


def figures(measurement: Measurement, artifact: OnnxArtifact, logits: np.ndarray, bench: Workbench) -> dict[str, Any]:
    """`metrics` and `intervals` of a record."""
    labels = bench.task.labels("validation")
    if not np.isfinite(logits).all():
        raise Failed("the shipped file gives NaN or infinite outputs on validation rows; it is kept off the front")
    quality, intervals = quality_with_intervals(labels, logits)
    device = device_metrics(measurement, artifact, bench)
    latency = measurement.latency
    intervals["latency_ratio"] = (latency.ratio_low, latency.ratio_high)
    intervals["speedup"] = (1 / latency.ratio_high, 1 / latency.ratio_low)
    if not isinstance(measurement.energy, Unmeasured):
        intervals["energy_mj"] = (measurement.energy.mj_low, measurement.energy.mj_high)
    return {"metrics": {**quality, **device}, "intervals": intervals, "notes": tuple(measurement.warnings)}


def device_metrics(measurement: Measurement, artifact: OnnxArtifact, bench: Workbench) -> dict[str, float]:
    """Device figures of a trial's file, relative to this study's teacher."""
    return figures_of(
        measurement,
        artifact,
        ratio=measurement.latency.ratio,
        teacher_latency_ms=bench.teacher_latency_ms,
        preprocessing_ms=bench.preprocessing_ms(artifact),
    )


def _all_objectives(metrics: Mapping[str, float], bench: Workbench) -> None:
    missing = [name for name in bench.config.objectives if not math.isfinite(metrics.get(name, math.nan))]
    if missing:
        raise DeviceFailure(
            f"no figure for {', '.join(missing)} on {bench.target.name!r}, so the trial cannot be ranked"
        )


class Phases:
    """Seconds and processor time spent in each phase of a trial: `with clock("distill"): ...`."""

    def __init__(
        self, now: Callable[[], float] = time.monotonic, cpu: Callable[[], float | None] = cpu_seconds
    ) -> None:
        self._now, self._cpu = now, cpu
        self._spent: dict[str, float] = {}
        self._used: dict[str, float] = {}
        self._open: tuple[str, float, float | None] = ("", 0.0, None)

    def __call__(self, name: str) -> Phases:
        self._open = (name, self._now(), self._cpu())
        return self

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        name, since, used_before = self._open
        self._spent[name] = self._spent.get(name, 0.0) + self._now() - since
        used = self._cpu()
        if used is not None and used_before is not None:
            self._used[name] = self._used.get(name, 0.0) + used - used_before

    def seconds(self) -> dict[str, float]:
        return {name: round(value, 3) for name, value in self._spent.items()}

    def cpu_seconds(self) -> dict[str, float]:
        """Over all threads and the processes that were started; empty where the system does not say."""
        return {name: round(value, 3) for name, value in self._used.items()}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
