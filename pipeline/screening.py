"""Device figures before any training: what is over a budget, or certainly dominated, is refused before its first epoch.

Structured shapes, scheme and runtime decide latency, energy, size and memory; weights do not. So an untrained twin is
measured, once for each shape on each device: the figures are kept for all searches.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hardware_targets import PROTOCOL, Conditions, DeviceAway, Measurement, TargetError
from pipeline import budget
from pipeline.artifact import OnnxArtifact
from pipeline.budget import unknown_quality
from pipeline.dominated import DOMINATED, at_best, dominated, sentence
from pipeline.errors import Failed, Refused
from pipeline.judging import device_figures, device_metrics
from pipeline.making import build, export_student, pruned, quantized, rounding
from pipeline.metrics import PERCENTILES, text
from pipeline.modelled import told
from pipeline.record import TrialRecord, read_json, write_json
from pipeline.rungs import Peers
from search_spaces import IDENTITY
from search_spaces.candidate import Candidate

if TYPE_CHECKING:
    from pipeline.config import TrialsConfig
    from pipeline.workbench import Workbench

# Training changes no shape, so what is over its limit by more than this stays over it. The band covers the difference
# between two short measurements on a quiet machine; on another one the measurement's own interval is wider.
MARGIN = 0.05
ANYTHING = 1e6  # the share by which a figure may be off of which nothing is known; finite, as a figure must be
DISTURBED = "not refused by its times: its untrained twin was timed on a disturbed machine"
# Of a shape: which layers of the teacher are taken decides weights, and of pruning the criterion does.
_WEIGHTS_ONLY = ("taken", "criterion", "recovery_epochs", "aware_epochs")


@dataclass(frozen=True)
class Twin:
    """What a candidate's untrained twin showed: device figures as a trial has them, and the measurement as JSON."""

    metrics: Mapping[str, float]
    measurement: Mapping[str, Any]

    @property
    def unreliable(self) -> bool:
        """Timed on a disturbed machine. Nobody is refused by such a time, for a refusal is for good."""
        return bool(self.measurement["latency"].get("unreliable", False))


def screened(
    candidate: Candidate,
    bench: Workbench,
    folder: Path,
    found: dict[str, Any],
    peers: Peers | None = None,
) -> Twin | None:
    """Screen, unless the device is away: then the candidate is trained unscreened, for its budgets can wait.

    `peers`: whom it is compared with, where candidates are compared. Errors: Refused.
    """
    try:
        twin = screen(candidate, bench, folder, always=peers is not None and compares(bench.config.trials))
    except DeviceAway as error:
        found["notes"] = (f"not screened before training: {error}",)
        return None
    if twin is not None and twin.unreliable:
        found["notes"] = (DISTURBED,)
    if twin is not None:
        found["screened"] = twin.metrics
    if twin is not None and peers and bench.config.trials.refuse_dominated:
        refuse_dominated(candidate, bench, twin, peers.records)
    return twin


def _device_limits(bench: Workbench) -> dict[str, float]:
    return {name: limit for name, limit in bench.config.budget.items() if name not in bench.chance}


def compares(trials: TrialsConfig) -> bool:
    """Whether candidates are compared with others by device figures, before their training or during it."""
    return trials.refuse_dominated or bool(trials.rungs)


def drifted(found: Mapping[str, Any], objectives: Sequence[str]) -> list[str]:
    """A sentence where a figure of the shipped file differs from its untrained twin's by more than `MARGIN`."""
    before, after = found.get("screened", {}), found["metrics"]
    return [
        f"{name} is {text(name, after[name])} where the untrained twin had {text(name, before[name])}"
        for name in objectives
        if before.get(name) and name in after and abs(after[name] / before[name] - 1) > MARGIN
    ]


def screen(candidate: Candidate, bench: Workbench, folder: Path, *, always: bool = False) -> Twin | None:
    """Refuse before the first epoch what its untrained twin shows to be over a device budget. Errors: Refused.

    None where there is no such budget and figures are not wanted `always`.
    """
    limits = _device_limits(bench)
    if not limits and not always:
        return None
    measurement, shipped = untrained_figures(candidate, bench, folder)
    twin = Twin(device_metrics(measurement, shipped, bench), measurement.to_json())
    # A screen reads no counter, and has too few calls for some percentiles. These are the median at least; what else it
    # does not know, it does not judge.
    median = twin.metrics["latency_p50_ms"]
    figures = {**{name: median for name in PERCENTILES if name in limits}, **twin.metrics}
    limits = {name: limit for name, limit in limits.items() if name in figures}
    hoped = {name: at_best(name, value, noise(twin)) for name, value in figures.items()}
    hopeless = {name for name, value in budget.violations(limits, hoped).items() if value > 0}
    found = budget.violations(limits, figures)
    over = {name: value for name, value in found.items() if name in hopeless and value > MARGIN}
    if over:
        unknown = [name for name in over if name not in twin.metrics]
        told = [f"of {name} only the median is known, and it cannot be less" for name in unknown]
        why = f"over budget before training: {budget.sentence(limits, figures, over)}"
        raise _refused("; ".join([why, *told]), bench, twin, over)
    return twin


def surely_over(bench: Workbench) -> float | None:
    """The ratio to the teacher's time beyond which a budget is missed whatever the rest; None where none says so."""
    limits, teacher_ms = _device_limits(bench), bench.teacher_latency_ms
    ratios = [limit / teacher_ms for name, limit in limits.items() if name in ("latency_p50_ms", *PERCENTILES)]
    ratios += [limit for name, limit in limits.items() if name == "latency_ratio"]
    ratios += [1 / limit for name, limit in limits.items() if name == "speedup"]
    return (1 + MARGIN) * min(ratios) if ratios else None


def noise(twin: Twin) -> float:
    """By what share a timed figure may be better than it came out: at the good end of the ratio's interval."""
    latency = twin.measurement["latency"]
    if twin.unreliable or latency["ratio_low"] <= 0:
        return ANYTHING
    return max(MARGIN, float(latency["ratio"] / latency["ratio_low"] - 1))


def refuse_dominated(candidate: Candidate, bench: Workbench, twin: Twin, peers: Sequence[TrialRecord]) -> None:
    """Refuse what a finished trial certainly dominates, under a constraint of its own. Errors: Refused."""
    objectives, margin = bench.config.objectives, bench.config.trials.dominated_margin
    found = dominated(
        candidate,
        twin.metrics,
        twin.measurement,
        peers,
        objectives=objectives,
        teacher=bench.teacher_metrics,
        nested=bench.families[candidate.student].nested,
        margin=margin,
        noise=noise(twin),
    )
    if found is not None:
        raise _refused(sentence(found, objectives, margin), bench, twin, {DOMINATED: found.excess})


def _refused(why: str, bench: Workbench, twin: Twin, more: Mapping[str, float] | None = None) -> Refused:
    return Refused(
        why,
        violations={**unknown_quality(bench.config.budget, twin.metrics), **(more or {})},
        metrics={**twin.metrics, **bench.chance},
        measurement=dict(twin.measurement),
    )


def untrained_figures(candidate: Candidate, bench: Workbench, folder: Path) -> tuple[Measurement, OnnxArtifact]:
    """Figures of the candidate's untrained twin, and its file's sizes; the file itself is gone afterwards.

    Nobody asks how far it is over the budget, so the measurement may end there.

    Read back where this shape is known on this device, as it is now, against this reference. What is unreliable is not
    kept, and what was measured before the device drifted is measured again: the ratio may have moved with it. So is
    what was left when it was over another search's limit.
    """
    over = surely_over(bench)
    stored = _folder(bench) / f"{device_key(candidate, bench)}.json"
    if stored.exists():
        measurement, artifact, left = _read(stored, folder, bench)
        if _holds(measurement, bench.target.conditions()) and _tells(measurement, left, over):
            return measurement, artifact
    twin = build(candidate, bench, inherited=False)
    if candidate.section("prune").get("ratio", 0):
        twin = pruned(twin, candidate, bench, trained=False)
    twin = rounding(twin, candidate, bench)
    shipped = quantized(export_student(twin, bench, folder), candidate, bench, folder / "untrained.onnx")
    try:
        measurement = device_figures(shipped, bench, "screen", over=over)
    finally:
        shipped.path.unlink(missing_ok=True)
    if not measurement.latency.unreliable:
        write_json(stored, {"measurement": measurement.to_json(), "artifact": shipped.to_json(), "over": over})
    return measurement, shipped


def learned(candidate: Candidate, bench: Workbench, folder: Path) -> bool:
    """Measure a candidate untrained, to choose among several; whether its figures are known now.

    What cannot be made, or measured at present, says so when it is tried.
    """
    try:
        measurement, _ = untrained_figures(candidate, bench, folder)
    except (Refused, Failed, TargetError):
        return False
    return not measurement.latency.unreliable


def known_figures(candidates: Sequence[Candidate], bench: Workbench) -> list[dict[str, float] | None]:
    """Device metrics of each candidate whose shape was measured before on this device, as it is now; None elsewhere.

    None of all where the device does not say how it is.
    """
    if not _folder(bench).is_dir():
        return [None] * len(candidates)
    found = dict[str | None, dict[str, float] | None]()
    try:
        now = bench.target.conditions()
        keys = [None if one.student == IDENTITY else device_key(one, bench, now.fingerprint) for one in candidates]
        over = surely_over(bench)
        for key in dict.fromkeys(keys):  # many differ in their training only
            found[key] = None if key is None else _known(key, bench, now, over)
    except TargetError:  # it is away: a choice can do without, and what is trained meanwhile waits for it
        return [None] * len(candidates)
    return [found[key] for key in keys]


def _known(key: str, bench: Workbench, now: Conditions, over: float | None) -> dict[str, float] | None:
    stored = _folder(bench) / f"{key}.json"
    if not stored.exists():
        return None
    measurement, artifact, left = _read(stored, stored.parent, bench)
    holds = _holds(measurement, now) and _tells(measurement, left, over)
    return device_metrics(measurement, artifact, bench) if holds else None


def _tells(measurement: Measurement, left: float | None, over: float | None) -> bool:
    """Whether it says what is asked now: one that could be left where it was over a limit says no more than that."""
    return left is None or measurement.latency.ratio <= left or (over is not None and over <= left)


def _holds(measurement: Measurement, now: Conditions) -> bool:
    """Whether the device has not drifted since: the ratio may have moved with it."""
    return measurement.conditions.qualified_at == now.qualified_at


def _folder(bench: Workbench) -> Path:
    return bench.workspace.cache / "screened"


def _read(stored: Path, folder: Path, bench: Workbench) -> tuple[Measurement, OnnxArtifact, float | None]:
    """A measurement, its file's description, and the ratio from which on it could be left as it was."""
    known = read_json(stored)
    artifact = OnnxArtifact.from_json(known["artifact"], folder / "untrained.onnx")
    # another search may model energy otherwise, or better by now
    measurement = told(Measurement.from_json(known["measurement"]), bench.energy, artifact.precision, artifact.macs)
    return measurement, artifact, known.get("over")


def device_key(candidate: Candidate, bench: Workbench, fingerprint: str | None = None) -> str:
    """16 hex digits that change with all that the device figures of an untrained candidate hang on."""
    shape = bench.families[candidate.student].shape(candidate.section(candidate.student), bench.input)
    parts = [
        *({name: value for name, value in part.items() if name not in _WEIGHTS_ONLY}
          for part in (shape, candidate.section("prune"), candidate.section("quantize"))),
        PROTOCOL,
        fingerprint or bench.target.conditions().fingerprint,
        bench.config.target.model_dump(mode="json"),
        bench.reference.sha256,
        bench.task.fingerprint,
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
