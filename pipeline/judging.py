"""What a file is worth: device figures on the target, quality by the very calls that are timed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hardware_targets import DeviceFailure, Measurement, Tier, Unmeasured
from pipeline import budget
from pipeline.artifact import OnnxArtifact
from pipeline.errors import Failed
from pipeline.figures import device_metrics as figures_of
from pipeline.modelled import told
from pipeline.phases import Phases
from pipeline.quality import quality_with_intervals

if TYPE_CHECKING:
    from pipeline.workbench import Workbench

Step = Callable[[str], None]

BLOCKS = "blocks.npz"


def judge(
    shipped: OnnxArtifact,
    bench: Workbench,
    folder: Path,
    clock: Phases,
    step: Step,
    found: dict[str, Any],
    tier: Tier = "trial",
) -> None:
    """Measure and score the file that would ship. Errors: Failed, TargetError."""
    with clock("measure"):
        step("measuring")
        measurement = device_figures(shipped, bench, tier, folder / BLOCKS)
    found["measurement"] = measurement.to_json()
    with clock("score"):
        step("scoring")
        logits = bench.target.predict(shipped.path, bench.feeds("validation", shipped))
        np.save(folder / "predictions.npy", logits.argmax(1).astype(np.int32))
    told_before = found.get("notes", ())
    found.update(figures(measurement, shipped, logits, bench))
    found["notes"] = (*told_before, *found["notes"])
    found["violations"] = budget.violations(bench.config.budget, found["metrics"])
    all_objectives(found["metrics"], bench)


def device_figures(
    artifact: OnnxArtifact,
    bench: Workbench,
    tier: Tier = "trial",
    raw: Path | None = None,
    over: float | None = None,
) -> Measurement:
    """Latency, energy and memory of a file on the target, interleaved with the study's frozen reference.

    A screen may end once the ratio is surely far above `over`. Every timed block is kept in `raw`, where the target is
    on this machine.
    """
    found = bench.target.measure(
        artifact.path,
        bench.timing_feeds(artifact),
        bench.reference.path,
        bench.timing_feeds(bench.reference),
        seed=bench.config.seed,
        tier=tier,
        raw=raw,
        over=over,
    )
    return told(found, bench.energy, artifact.precision, artifact.macs)


def figures(measurement: Measurement, artifact: OnnxArtifact, logits: np.ndarray, bench: Workbench) -> dict[str, Any]:
    """`metrics` and `intervals` of a record."""
    labels = bench.task.labels("validation")
    if not np.isfinite(logits).all():
        raise Failed("the shipped file gives NaN or infinite outputs on validation rows; it is kept off the front")
    quality, intervals = quality_with_intervals(labels, logits)
    intervals |= device_intervals(measurement)
    metrics = {**quality, **device_metrics(measurement, artifact, bench)}
    return {"metrics": metrics, "intervals": intervals, "notes": tuple(measurement.warnings)}


def device_metrics(measurement: Measurement, artifact: OnnxArtifact, bench: Workbench) -> dict[str, float]:
    """Device figures of a trial's file, relative to this study's teacher."""
    return figures_of(
        measurement,
        artifact,
        ratio=measurement.latency.ratio,
        teacher_latency_ms=bench.teacher_latency_ms,
        preprocessing_ms=bench.preprocessing_ms(artifact),
    )


def device_intervals(measurement: Measurement) -> dict[str, tuple[float, float]]:
    """95 % intervals of the device figures that have one; energy's is its band."""
    latency, energy = measurement.latency, measurement.energy
    found = {
        "latency_ratio": (latency.ratio_low, latency.ratio_high),
        "speedup": (1 / latency.ratio_high, 1 / latency.ratio_low),
    }
    return found if isinstance(energy, Unmeasured) else {**found, "energy_mj": (energy.mj_low, energy.mj_high)}


def all_objectives(metrics: Mapping[str, float], bench: Workbench) -> None:
    """Errors: DeviceFailure where a figure that ranks is missing."""
    missing = [name for name in bench.config.objectives if not math.isfinite(metrics.get(name, math.nan))]
    if missing:
        raise DeviceFailure(
            f"no figure for {', '.join(missing)} on {bench.target.name!r}, so the trial cannot be ranked"
        )
