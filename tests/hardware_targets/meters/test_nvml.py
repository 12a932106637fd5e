"""NVML by a stand-in for its library: what it cannot tell is a sentence, never 0."""

# ruff: noqa: ARG002 - a double takes what the real thing takes

from __future__ import annotations

import itertools
import os
from types import SimpleNamespace

import pytest

from hardware_targets._counters import MeterFault, PolledPower, StepCounter
from hardware_targets.meters.nvml import Meter


class Library:
    """The functions of nvidia-ml-py that the meter asks, for one GPU; `lacks` are those that it does not support."""

    NVML_DEVICE_MIG_ENABLE = 1
    NVML_FI_DEV_POWER_INSTANT = 186
    NVML_POWER_SCOPE_MODULE = 1
    NVML_CLOCK_SM = 1
    NVML_TEMPERATURE_GPU = 0

    class NVMLError(Exception):
        pass

    def __init__(self, *lacks: str, mig: int = 0, gpus: int = 1) -> None:
        self.lacks, self.mig, self.gpus = set(lacks), mig, gpus
        self.energy_mj = itertools.count(5_000_000, 700)
        self.own: int | None = os.getpid()  # as NVML numbers this process, which computes on the GPU
        self.others: list[int] = []
        self.reasons, self.mhz, self.celsius = 0, 1980, 50

    def _need(self, what: str) -> None:
        if what in self.lacks:
            raise self.NVMLError("Not Supported")

    def nvmlInit(self) -> None:
        self._need("driver")

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
        if index >= self.gpus:
            raise self.NVMLError("Invalid Argument")
        return f"handle {index}"

    def nvmlDeviceGetName(self, handle: str) -> bytes:
        return b"Test GPU"

    def nvmlSystemGetDriverVersion(self) -> str:
        return "600.1"

    def nvmlDeviceGetMigMode(self, handle: str) -> tuple[int, int]:
        self._need("mig")
        return self.mig, self.mig

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:
        self._need("energy")
        return next(self.energy_mj)

    def nvmlDeviceGetPowerUsage(self, handle: str) -> int:
        self._need("power")
        return 70_000

    def nvmlDeviceGetFieldValues(self, handle: str, fields: list[tuple[int, int]]) -> list[SimpleNamespace]:
        assert fields == [(186, 1)]
        return [SimpleNamespace(nvmlReturn=3 if "module" in self.lacks else 0)]

    def nvmlDeviceGetComputeRunningProcesses(self, handle: str) -> list[SimpleNamespace]:
        self._need("processes")
        return [SimpleNamespace(pid=pid) for pid in [*([self.own] if self.own else []), *self.others]]

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: str) -> int:
        self._need("reasons")
        return self.reasons

    def nvmlDeviceGetClockInfo(self, handle: str, kind: int) -> int:
        assert kind == self.NVML_CLOCK_SM
        self._need("clock")
        return self.mhz

    def nvmlDeviceGetMaxClockInfo(self, handle: str, kind: int) -> int:
        self._need("clock")
        return 1980

    def nvmlDeviceGetTemperature(self, handle: str, sensor: int) -> int:
        assert sensor == self.NVML_TEMPERATURE_GPU
        self._need("temperature")
        return self.celsius

    def nvmlDeviceGetPowerManagementLimit(self, handle: str) -> int:
        self._need("limit")
        return 700_000


def clock():
    ticks = itertools.count()
    return lambda: next(ticks) * 0.005


def test_the_counter_of_a_gpu() -> None:
    meter = Meter(library=Library("module", "mig"), clock=clock())
    assert meter.unavailable() is None
    assert (meter.boundary, meter.kind, meter.lag_s) == ("gpu board", "measured", 0.0)
    assert "total energy counter, GPU 0 (Test GPU), driver 600.1" in meter.source()
    reader = meter.open()
    assert isinstance(reader, StepCounter)
    assert [reader.joules(), reader.joules()] == pytest.approx([0.7, 1.4])


def test_power_where_there_is_no_counter_has_a_boundary_of_its_own() -> None:
    meter = Meter(library=Library("energy", "module"), clock=clock())
    assert meter.unavailable() is None
    assert meter.boundary == "gpu board, polled power"
    assert meter.lag_s == 1.0 and "added up" in meter.source()
    reader = meter.open()
    assert isinstance(reader, PolledPower)
    reader.close()


def test_what_is_not_supported_is_a_sentence() -> None:
    reason = Meter(library=Library("energy", "power", "module")).unavailable()
    assert reason is not None and "neither energy nor power" in reason and "jetson_ina" in reason
    with pytest.raises(MeterFault, match="neither"):
        Meter(library=Library("energy", "power")).open()
    assert "install NVIDIA's driver" in str(Meter(library=Library("driver")).unavailable())
    assert "no GPU 3" in str(Meter(gpu=3, library=Library()).unavailable())


def test_a_divided_gpu_is_refused_and_a_module_is_noticed() -> None:
    assert "divided by MIG" in str(Meter(library=Library(mig=1)).unavailable())
    assert Meter(library=Library()).boundary == "gpu or its module (NVML does not say)"


def test_a_counter_that_fails_or_goes_back_is_a_fault() -> None:
    library = Library("module")
    reader = Meter(library=library, clock=clock()).open()
    reader.joules()
    library.lacks.add("energy")
    with pytest.raises(MeterFault, match="did not answer"):
        reader.joules()
    library.lacks.clear()
    library.energy_mj = itertools.count(10)
    with pytest.raises(MeterFault, match="went back"):
        reader.joules()


def test_other_processes_and_held_clocks_are_noticed() -> None:
    library = Library()
    meter = Meter(library=library)
    assert meter.unavailable() is None
    ended = meter.watch()
    assert ended() is None
    library.reasons = 0x40
    assert "held its clocks down" in str(ended())
    library.others = [99_999_999]
    assert "another process computed on GPU 0 too" in str(ended())
    library.others, library.reasons = [], 0x4  # the power cap: what a GPU at work is always under
    assert ended() is None


def test_without_the_package_there_is_a_sentence() -> None:
    reason = Meter().unavailable()
    assert reason is None or "nvidia-ml-py" in reason or "NVML" in reason
