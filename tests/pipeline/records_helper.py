"""Synthetic trial records for tests: numbers go in, a complete record comes out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pipeline.record import TrialRecord
from pipeline.report import FrontReport
from search_spaces.candidate import Candidate

TEACHER = {
    "accuracy": 0.95,
    "macro_f1": 0.948,
    "latency_p50_ms": 20.0,
    "latency_ratio": 1.0,
    "speedup": 1.0,
    "energy_mj": 90.0,
    "size_mb": 40.0,
    "macs_m": 55.0,
    "parameters_m": 10.0,
}


def make_record(
    number: int,
    accuracy: float | None = 0.9,
    latency: float | None = 5.0,
    energy: float | None = None,
    *,
    student: str = "convnet",
    scheme: str = "none",
    kind: str | None = "modelled-generic",
    boundary: str = "package",
    size: float = 1.0,
    end: str = "complete",
    reason: str | None = None,
    metrics: Mapping[str, float] | None = None,
    violations: Mapping[str, float] | None = None,
    parameters: Mapping[str, Any] | None = None,
    intervals: bool = True,
) -> TrialRecord:
    """A trial of `latency` ms against a teacher of 20 ms; its energy is 4.5 mJ per ms unless given."""
    found: dict[str, float] = {"size_mb": size}
    spans: dict[str, tuple[float, float]] = {}
    if accuracy is not None:
        found |= {"accuracy": accuracy, "macro_f1": accuracy - 0.002}
        spans["accuracy"] = (max(accuracy - 0.01, 0), min(accuracy + 0.01, 1))
    if latency is not None:
        ratio = latency / TEACHER["latency_p50_ms"]
        found |= {"latency_p50_ms": latency, "latency_ratio": ratio, "speedup": 1 / ratio}
        spans["latency_ratio"] = (0.98 * ratio, 1.02 * ratio)
    energy = energy if energy is not None or latency is None else 4.5 * latency
    measurement = None
    if kind is not None and energy is not None:
        found["energy_mj"] = energy
        source = "10 W per busy core, a textbook's figure"
        parts = {"mj": energy, "mj_low": energy / 2, "mj_high": 2 * energy, "kind": kind, "boundary": boundary}
        measurement = {
            "energy": {**parts, "meter": "busy_core", "source": source},
            "conditions": {"cpu_model": "Example CPU 1000", "threads": 1, "runtime": "onnxruntime", "governor": None},
        }
    flat = {"student": student, "quantize.scheme": scheme, "trial.tag": number, **(parameters or {})}
    return TrialRecord(
        number=number,
        candidate=Candidate.of(flat, seed=number),
        end=end,  # type: ignore[arg-type]
        reason=reason,
        metrics={**found, **(metrics or {})},
        intervals=spans if intervals else {},
        violations=violations or {},
        measurement=measurement,
        artifact={"path": "model.onnx", "sha256": f"{number:064x}", "size_bytes": int(size * 1e6), "precision": scheme},
    )


def make_search(count: int = 40, seed: int = 0) -> list[TrialRecord]:
    """Records that look like a search over two families and five schemes, with refusals and failures."""
    random = np.random.default_rng(seed)
    schemes = ("none", "fp16", "dynamic_int8", "static_int8", "weight_int8")
    records = []
    for number in range(count):
        student = "identity" if number < 5 else ("convnet", "transformer")[number % 2]
        scheme = schemes[number % 5]
        speed = {"none": 1, "fp16": 0.95, "dynamic_int8": 0.6, "static_int8": 0.5, "weight_int8": 0.9}[scheme]
        latency = (20 if student == "identity" else float(10 ** random.uniform(-0.7, 1.0))) * speed
        skill = 0.95 - 0.09 / (1 + latency) - (0.004 if "int8" in scheme else 0) - float(random.exponential(0.012))
        extra = {"convnet.width": int(2 ** random.integers(3, 7))} if student == "convnet" else {}
        if student != "identity":
            extra |= {
                "distill.temperature": round(float(10 ** random.uniform(0, 1)), 3),
                "distill.learning_rate": float(10 ** random.uniform(-4, -2)),
                "distill.augment": ("none", "shift")[int(random.integers(2))],
                "prune.ratio": (0.0, 0.25, 0.5)[int(random.integers(3))],
            }
        end, reason = "complete", None
        if number % 11 == 10:
            end, reason = "refused", "over budget before training: latency_p50_ms 14 ms (40 % over 10)"
        elif number % 13 == 12:
            end, reason = "failed", "the loss is not a number at epoch 2"
        records.append(
            make_record(
                number,
                skill,
                latency,
                student=student,
                scheme=scheme,
                size=latency / 4,
                parameters=extra,
                end=end,
                reason=reason,
            )
        )
    return records


def make_report(records: list[TrialRecord] | None = None, **changes: Any) -> FrontReport:
    """A report over `records` with the objectives accuracy, latency and energy."""
    from pipeline.pareto import front

    records = make_search() if records is None else records
    objectives = ("accuracy", "latency_p50_ms", "energy_mj")
    numbers = tuple(record.number for record in front(records, objectives))
    values: dict[str, Any] = {
        "name": "digits",
        "objectives": objectives,
        "quality": "accuracy",
        "records": tuple(records),
        "front_numbers": numbers,
        "teacher": TEACHER,
        "teacher_intervals": {"accuracy": (0.941, 0.957)},
        "target": "local_cpu",
        "energy_kind": "modelled-generic",
        "energy_boundary": "package",
        "energy_source": "10 W per busy core, a textbook's figure",
        "indistinguishable": {numbers[0]: numbers[1:3]} if len(numbers) > 2 else {},
        "test": None,
        "created": "2026-11-23T10:00:00+00:00",
    }
    return FrontReport(**{**values, **changes})
