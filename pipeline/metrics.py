"""The one table of metrics: name, unit, direction, how to print it.

YAML objectives, budget keys, command-line flags, MLflow columns and error texts all use these names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """One measurable property of a trial; `direction` says which way is better."""

    name: str
    unit: str
    direction: Literal["maximize", "minimize"]
    digits: int  # significant digits worth printing
    means: str
    quality: bool = False  # computed from predictions, not from the device

    @property
    def maximize(self) -> bool:
        return self.direction == "maximize"

    def text(self, value: float | None) -> str:
        """The one formatter of figures: value with its unit, `-` where there is none."""
        if value is None:
            return "-"
        if self.quality:
            return f"{value:.4f}"
        number = f"{value:.{self.digits}g}"
        if "e" in number:
            number = f"{value:.0f}"
        return f"{number} {self.unit}".rstrip() if self.unit != "x" else f"{number}x"


_TABLE = (
    Metric("accuracy", "", "maximize", 4, "share of right answers", quality=True),
    Metric("balanced_accuracy", "", "maximize", 4, "mean recall over the classes", quality=True),
    Metric("macro_f1", "", "maximize", 4, "unweighted mean of the classes' F1", quality=True),
    Metric("mcc", "", "maximize", 4, "Matthews correlation coefficient", quality=True),
    Metric(
        "latency_p50_ms",
        "ms",
        "minimize",
        3,
        "median latency at batch 1: ratio to the teacher x the study's frozen teacher latency",
    ),
    Metric("latency_p90_ms", "ms", "minimize", 3, "90th percentile of single calls, the timed rows in turn"),
    Metric("latency_p95_ms", "ms", "minimize", 3, "95th percentile of single calls, the timed rows in turn"),
    Metric("latency_p99_ms", "ms", "minimize", 3, "99th percentile of single calls, the timed rows in turn"),
    Metric("latency_ratio", "", "minimize", 3, "time relative to the teacher, from interleaved blocks"),
    Metric("speedup", "x", "maximize", 3, "teacher's time over this model's, from interleaved blocks"),
    Metric(
        "latency_with_preprocessing_ms",
        "ms",
        "minimize",
        3,
        "median latency plus the median time of preprocessing one input, of texts the tokenization",
    ),
    Metric("energy_mj", "mJ", "minimize", 3, "energy of one inference; read with its kind and boundary"),
    Metric("cpu_ms", "ms", "minimize", 3, "CPU time of one inference, over all threads"),
    Metric("size_mb", "MB", "minimize", 3, "bytes of the shipped file / 10^6"),
    Metric("peak_memory_mb", "MB", "minimize", 3, "peak memory of the measuring process over a null model"),
    Metric("macs_m", "M", "minimize", 3, "multiply-accumulates of one inference / 10^6"),
    Metric("parameters_m", "M", "minimize", 3, "trained numbers in the model / 10^6"),
)

METRICS: dict[str, Metric] = {metric.name: metric for metric in _TABLE}
QUALITY = tuple(metric.name for metric in _TABLE if metric.quality)
PERCENTILES = ("latency_p90_ms", "latency_p95_ms", "latency_p99_ms")  # of single calls: never below their median
DEVICE = tuple(metric.name for metric in _TABLE if not metric.quality)


def yardstick(teacher: Mapping[str, float]) -> dict[str, float]:
    """The teacher's figures as units to count in: where a slow one had too few calls for a percentile, its median."""
    median = {name: teacher["latency_p50_ms"] for name in PERCENTILES if "latency_p50_ms" in teacher}
    return {**median, **teacher}


def known(end: str, metrics: Mapping[str, float]) -> dict[str, float]:
    """What of a trial's figures are its own: one that was not scored has a quality for the sampler only."""
    scored = end in ("complete", "duplicate")
    return {name: metrics[name] for name in METRICS if name in metrics and (scored or name not in QUALITY)}


def text(name: str, value: float | None) -> str:
    """`value` of metric `name` as every command prints it."""
    return METRICS[name].text(value)
