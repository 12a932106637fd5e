"""Device figures before any training: what is over a budget is refused before its first epoch.

Structured shapes, scheme and runtime decide latency, energy, size and memory; weights do not. So an untrained twin is
measured, once for each shape on each device: the figures are kept for all searches.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hardware_targets import DeviceAway, Measurement
from pipeline import budget
from pipeline.artifact import OnnxArtifact
from pipeline.errors import Refused
from pipeline.judging import device_figures, device_metrics
from pipeline.making import build, export_student, pruned, quantized, rounding
from pipeline.record import read_json, write_json
from search_spaces.candidate import Candidate

if TYPE_CHECKING:
    from pipeline.workbench import Workbench

# Training changes no shape, so what is over its limit by more than this stays over it. The band covers the difference
# between two short measurements.
MARGIN = 0.05
# Of a shape: which layers of the teacher are taken decides weights, and of pruning the criterion does.
_WEIGHTS_ONLY = ("taken", "criterion", "recovery_epochs", "aware_epochs")


def screened(candidate: Candidate, bench: Workbench, folder: Path, found: dict[str, Any]) -> None:
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
    measurement, shipped = untrained_figures(candidate, bench, folder)
    metrics = device_metrics(measurement, shipped, bench)
    over = {name: value for name, value in budget.violations(limits, metrics).items() if value > MARGIN}
    if over:
        # Its quality is unknown, so a floor on quality is neither met nor missed: 0 teaches the sampler nothing.
        unknown = {name: 0.0 for name in bench.config.budget if name in bench.chance}
        raise Refused(
            f"over budget before training: {budget.sentence(bench.config.budget, metrics, over)}",
            violations={**budget.violations(limits, metrics), **unknown},
            metrics={**metrics, **bench.chance},
            measurement=measurement.to_json(),
        )


def untrained_figures(candidate: Candidate, bench: Workbench, folder: Path) -> tuple[Measurement, OnnxArtifact]:
    """Figures of the candidate's untrained twin, and its file's sizes; the file itself is gone afterwards.

    Read back where this shape is known on this device, as it is now, against this reference. What is unreliable is not
    kept, and what was measured before the device drifted is measured again: the ratio may have moved with it.
    """
    stored = bench.workspace.cache / "screened" / f"{device_key(candidate, bench)}.json"
    if stored.exists():
        known = read_json(stored)
        measurement = Measurement.from_json(known["measurement"])
        if measurement.conditions.qualified_at == bench.target.conditions().qualified_at:
            return measurement, OnnxArtifact.from_json(known["artifact"], folder / "untrained.onnx")
    twin = build(candidate, bench, inherited=False)
    if candidate.section("prune").get("ratio", 0):
        twin = pruned(twin, candidate, bench, trained=False)
    twin = rounding(twin, candidate, bench)
    shipped = quantized(export_student(twin, bench, folder), candidate, bench, folder / "untrained.onnx")
    try:
        measurement = device_figures(shipped, bench, "screen")
    finally:
        shipped.path.unlink(missing_ok=True)
    if not measurement.latency.unreliable:
        write_json(stored, {"measurement": measurement.to_json(), "artifact": shipped.to_json()})
    return measurement, shipped


def device_key(candidate: Candidate, bench: Workbench) -> str:
    """16 hex digits that change with all that the device figures of an untrained candidate hang on."""
    shape = bench.families[candidate.student].shape(candidate.section(candidate.student), bench.input)
    parts = [
        *({name: value for name, value in part.items() if name not in _WEIGHTS_ONLY}
          for part in (shape, candidate.section("prune"), candidate.section("quantize"))),
        bench.target.conditions().fingerprint,
        bench.config.target.model_dump(mode="json"),
        bench.reference.sha256,
        bench.task.fingerprint,
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
