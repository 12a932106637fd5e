"""What a part promises: a target measures, a runtime runs a model file, a meter tells energy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeGuard

import numpy as np

from hardware_targets._feeds import Input
from hardware_targets._measurement import Conditions, Energy, Latency, Measurement
from hardware_targets._plan import Tier


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
        tier: Tier = "trial",
        raw: Path | None = None,
        over: float | None = None,
    ) -> Measurement:
        """Time `model` against `reference`, batch 1, on the same rows of both feed folders.

        It takes at most `seconds` (None: what the tier allows), or until the ratio is precise enough. A screen may end
        as soon as the ratio is surely far above `over`. Where the blocks are timed on this machine they are written to
        `raw`, an .npz file.
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
    """A model of energy: it tells figures from a latency; `kind` and `boundary` as in `Energy`."""

    kind: str
    boundary: str

    def unavailable(self) -> str | None: ...

    def energy(self, latency: Latency, conditions: Conditions) -> Energy: ...


class Reader(Protocol):
    """An open counter."""

    @property
    def poll_s(self) -> float:
        """It must be read at least this often."""

    def joules(self) -> float:
        """Joules since it was opened, wraps undone. Errors: MeterFault, whose message is a sentence."""

    def close(self) -> None: ...


class Counter(Protocol):
    """A sensor that is read while models run; `kind` and `boundary` as in `Energy`."""

    name: str
    window_s: float  # the shortest stretch of time whose energy it can tell

    @property
    def kind(self) -> str: ...

    @property
    def boundary(self) -> str: ...

    @property
    def period_s(self) -> float:
        """How often its figure changes."""

    @property
    def lag_s(self) -> float:
        """How long the past is that a reading averages over; 0 for a counter of joules."""

    def unavailable(self) -> str | None: ...

    def source(self) -> str:
        """What exactly is read, for the figure's source."""

    def open(self) -> Reader:
        """Start counting. Errors: MeterFault."""


def is_counter(meter: EnergyMeter | Counter) -> TypeGuard[Counter]:
    """Whether a meter is read while models run, rather than computed afterwards."""
    return hasattr(meter, "open")
