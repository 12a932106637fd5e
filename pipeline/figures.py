"""Device figures under the names of `pipeline.metrics`; what was not obtained is left out, never 0."""

from __future__ import annotations

from hardware_targets import Measurement, Unmeasured
from pipeline.artifact import OnnxArtifact


def device_metrics(
    measurement: Measurement,
    artifact: OnnxArtifact,
    *,
    ratio: float,
    teacher_latency_ms: float,
    preprocessing_ms: float,
) -> dict[str, float]:
    """Figures of one file; `latency_p50_ms` is the interleaved ratio times the study's frozen teacher latency.

    Percentiles are brought to the same frozen teacher, so that a slow hour does not show in them; what was read off the
    clock stands unchanged in the record's `measurement`.
    """
    latency, energy, memory = measurement.latency, measurement.energy, measurement.peak_memory_mb
    to_frozen = teacher_latency_ms / latency.reference_median_ms
    p50 = ratio * teacher_latency_ms
    found: dict[str, float | None] = {
        "latency_p50_ms": p50,
        "latency_p90_ms": _times(latency.p90_ms, to_frozen),
        "latency_p95_ms": _times(latency.p95_ms, to_frozen),
        "latency_p99_ms": _times(latency.p99_ms, to_frozen),
        "latency_ratio": ratio,
        "speedup": 1 / ratio,
        "latency_with_preprocessing_ms": p50 + preprocessing_ms,
        "energy_mj": None if isinstance(energy, Unmeasured) else energy.mj,
        "cpu_ms": _times(latency.cpu_seconds, 1000),
        "size_mb": artifact.size_bytes / 1e6,
        "peak_memory_mb": None if isinstance(memory, Unmeasured) else memory,
        "macs_m": artifact.macs / 1e6,
        "parameters_m": artifact.parameters / 1e6,
    }
    return {name: float(value) for name, value in found.items() if value is not None}


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor
