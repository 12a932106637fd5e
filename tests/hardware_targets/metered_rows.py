"""Invented metered rows with a known truth, for the tests of the energy model."""

from __future__ import annotations

import math
import random

from hardware_targets._calibration import Row

FAMILIES = ("alpha", "beta", "gamma", "delta")


def rows(
    *,
    noise: float = 0.02,
    watts: tuple[tuple[str, float], ...] = (("fp32", 20.0), ("int8", 16.0)),
    rate_power: float = 0.2,
    per_family: int = 12,
    families: tuple[str, ...] = FAMILIES,
    runtime: str = "onnxruntime",
    threads: int | None = 1,
    macs: bool = True,
    seed: int = 0,
) -> list[Row]:
    """Watts x rate ** rate_power x latency, with normal noise on the logarithm; twins share their `model`."""
    drawn, found = random.Random(seed), []
    for family in families:
        for index in range(per_family):
            macs_m = math.exp(drawn.uniform(math.log(10), math.log(1000)))
            for precision, power in watts:
                rate = math.exp(drawn.uniform(math.log(5), math.log(40)))
                latency = macs_m / rate
                energy = power * (rate / 15) ** rate_power * latency * math.exp(drawn.gauss(0, noise))
                known = macs_m if macs else None
                found.append(Row(runtime, threads, precision, family, latency, energy, known, f"{family}-{index}"))
    return found
