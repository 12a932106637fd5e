"""What a part promises: a target measures, a runtime runs a model file, a meter tells energy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from hardware_targets._feeds import Input
from hardware_targets._measurement import Conditions, Energy, Latency, Measurement


class HardwareTarget(Protocol):
    """A device. Errors of every method: TargetError and its subclasses."""

    name: str
    threads: int

    def unavailable(self) -> str | None:
        """Why nothing can be measured here, or None."""

    def conditions(self) -> Conditions:
        """The device as it is now."""

    def inputs(self, model: Path) -> tuple[Input, ...]:
        """The inputs of a model file."""

    def measure(
        self,
        model: Path,
        feeds: Path,
        reference: Path,
        reference_feeds: Path,
        *,
        seed: int,
        seconds: float | None = None,
        time_limit_s: float | None = None,
    ) -> Measurement:
        """Time `model` against `reference`, batch 1, on the same rows of both feed folders.

        It takes at most `seconds` (None: what the target was loaded with), or until the ratio is precise enough.
        """

    def predict(self, model: Path, feeds: Path, *, time_limit_s: float = 600.0) -> np.ndarray:
        """The first output for every row, [rows, ...], by the very calls that `measure` times."""


class Session(Protocol):
    """A loaded model."""

    @property
    def inputs(self) -> Sequence[Input]: ...

    def run(self, feed: Mapping[str, np.ndarray]) -> list[np.ndarray]: ...


class Runtime(Protocol):
    """Something that runs model files."""

    name: str

    def unavailable(self) -> str | None: ...

    def version(self) -> str: ...

    def load(self, model: Path, threads: int) -> Session: ...


class EnergyMeter(Protocol):
    """Something that knows energy; `kind` and `boundary` as in `Energy`."""

    kind: str
    boundary: str

    def unavailable(self) -> str | None: ...

    def energy(self, latency: Latency, conditions: Conditions) -> Energy: ...
