"""Where models are measured. Knows neither search, training nor MLflow, and can be copied alone to a device.

A target takes a model file and folders of feeds and gives a `Measurement` or an error that is a sentence. It needs
numpy, PyYAML and the runtime of the device; `python -m hardware_targets doctor` says what it finds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hardware_targets import _parts
from hardware_targets._calibrating import calibrate_rows, calibrate_table
from hardware_targets._calibrating import lines as calibration_lines
from hardware_targets._calibrating import use as calibration_use
from hardware_targets._calibration import Row as MeteredRow
from hardware_targets._device_file import device_json, device_path
from hardware_targets._doubts import resolution_words
from hardware_targets._energy_model import DeviceModel
from hardware_targets._errors import BadModel, DeviceAway, DeviceFailure, TargetError, UnknownPart
from hardware_targets._feeds import Input, load_feeds, random_feeds, save_feeds
from hardware_targets._files import measure_file
from hardware_targets._host import host_conditions, host_energy
from hardware_targets._lock import Worker, this_worker
from hardware_targets._measurement import Conditions, Energy, Latency, Measurement, Unmeasured
from hardware_targets._options import options_of
from hardware_targets._parts import doctor
from hardware_targets._plan import PROTOCOL, Tier
from hardware_targets._roles import EnergyMeter, HardwareTarget, Runtime
from hardware_targets.meters.calibrated import Meter as CalibratedMeter

__all__ = [
    "PROTOCOL",
    "BadModel",
    "Conditions",
    "DeviceAway",
    "DeviceFailure",
    "DeviceModel",
    "Energy",
    "EnergyMeter",
    "HardwareTarget",
    "Input",
    "Latency",
    "Measurement",
    "MeteredRow",
    "Runtime",
    "TargetError",
    "Tier",
    "UnknownPart",
    "Unmeasured",
    "Worker",
    "available",
    "calibrate_rows",
    "calibrate_table",
    "calibrated",
    "calibration_lines",
    "calibration_use",
    "device_json",
    "device_path",
    "doctor",
    "host_conditions",
    "host_energy",
    "load",
    "load_feeds",
    "measure_file",
    "options_of",
    "random_feeds",
    "resolution_words",
    "save_feeds",
    "this_worker",
]


def available() -> list[str]:
    """Names of the targets; nothing is imported."""
    return _parts.names("target")


def load(name: str, **options: Any) -> HardwareTarget:
    """The target `name` with its options, e.g. `load("local_cpu", threads=2)`. Errors: UnknownPart, TargetError."""
    target: HardwareTarget = _parts.build("target", name, **options)
    return target


def calibrated(device: str | Path) -> CalibratedMeter:
    """The energy model of a device description: a name from the package, or a path. Errors: TargetError."""
    meter = CalibratedMeter(device)
    if reason := meter.unavailable():
        raise TargetError(reason)
    return meter
