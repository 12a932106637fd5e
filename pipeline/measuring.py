"""`niwaki measure`: one model file on one target, and the figures in words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hardware_targets
from hardware_targets import Measurement
from pipeline.energy_words import energy_sentence
from pipeline.errors import ConfigError, NiwakiError, Unavailable
from pipeline.metrics import text


def measure(
    model: Path,
    *,
    against: Path | None,
    target: str,
    options: Mapping[str, Any],
    feeds: Path | None,
    threads: int,
    seconds: float,
    seed: int,
) -> dict[str, Any]:
    """The measurement, in the tier `final`, as plain data with `sentences`. Errors: ConfigError, Unavailable."""
    try:
        device = hardware_targets.load(target, threads=threads, seconds=seconds, **options)
        check_target(device, target)
        found = hardware_targets.measure_file(device, model, against, feeds=feeds, seed=seed, seconds=seconds)
    except hardware_targets.TargetError as error:
        raise as_ours(error) from None
    head = f"{model}: {found.latency.median_ms:.4g} ms per inference, batch 1, {threads} thread(s), on {target}"
    return {**found.to_json(), "sentences": [head, *_lines(found, against or model)]}


def check_target(device: hardware_targets.HardwareTarget, name: str) -> None:
    """Errors: ConfigError where its options are wrong on any device, Unavailable where it cannot be used now."""
    mistaken = getattr(device, "mistaken", None)  # a target says so where its options may be incomplete
    if mistaken is not None and (reason := mistaken()):
        raise ConfigError(f"target {name!r} cannot be used: {reason}")
    if reason := device.unavailable():
        raise Unavailable(f"target {name!r} cannot be used: {reason}")


def as_ours(error: hardware_targets.TargetError) -> NiwakiError:
    """A target's error with the exit code that it has there."""
    return (ConfigError if error.exit_code == ConfigError.exit_code else Unavailable)(str(error))


def _lines(found: Measurement, other: Path) -> list[str]:
    latency, energy = found.latency, found.energy.to_json()
    lines = [
        f"  {1 / latency.ratio:.4g}x as fast as {other} "
        f"[{1 / latency.ratio_high:.4g}, {1 / latency.ratio_low:.4g}], 95 %",
        f"  single calls at one input: p90 {text('latency_p90_ms', latency.p90_ms)}, "
        f"p99 {text('latency_p99_ms', latency.p99_ms)}; "
        f"CPU {text('cpu_ms', latency.cpu_seconds and latency.cpu_seconds * 1000)}",
    ]
    lines += [f"  {sentence}" for sentence in hardware_targets.resolution_words(latency)]
    if "mj" in energy:
        lines.append(f"  {text('energy_mj', energy['mj'])} per inference")
    told = energy_sentence(energy.get("kind"), energy.get("boundary"), energy.get("source") or energy.get("unmeasured"))
    return [*lines, f"  {told}", *(f"  {warning}" for warning in found.warnings)]
