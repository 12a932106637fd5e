"""Energy that is modelled, not measured: by the model of the study's target, or by the one that `rescore` pinned.

A target times a file without knowing what it holds; the pipeline knows its precision and its multiply-accumulates, and
a calibrated model says more, and in a narrower band, for being told.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Protocol

import hardware_targets
from hardware_targets import Conditions, Energy, HardwareTarget, Latency, Measurement, Unmeasured
from pipeline.errors import ConfigError
from pipeline.workspace import Workspace

PINNED = "energy_model.yaml"  # a device description in the search's folder


class EnergyModel(Protocol):
    """Energy of one inference; None where a counter tells it, or where nobody here knows the model."""

    def __call__(
        self, latency: Latency, conditions: Conditions, *, precision: str | None = None, macs_m: float | None = None
    ) -> Energy | Unmeasured | None: ...


def energy_model(workspace: Workspace, target: HardwareTarget) -> EnergyModel:
    """The model that energy of this study comes from. Errors: ConfigError where the pinned one is damaged."""
    pinned = workspace.folder / PINNED
    return of_device(pinned) if pinned.exists() else getattr(target, "energy_of", no_model)


def of_device(path: str | Path) -> EnergyModel:
    """The model of a device description. Errors: ConfigError."""
    try:
        return hardware_targets.calibrated(path).energy
    except hardware_targets.TargetError as error:
        raise ConfigError(str(error)) from None


def no_model(
    latency: Latency,  # noqa: ARG001
    conditions: Conditions,  # noqa: ARG001
    *,
    precision: str | None = None,  # noqa: ARG001
    macs_m: float | None = None,  # noqa: ARG001
) -> None:
    """Nothing is known; the figure that the target gave stays."""
    return


def told(measurement: Measurement, model: EnergyModel, precision: str, macs: int) -> Measurement:
    """The measurement with its energy modelled for what is known of the file; a counter's figure stays."""
    found = model(measurement.latency, measurement.conditions, precision=precision, macs_m=macs / 1e6 or None)
    return measurement if found is None else replace(measurement, energy=found)
