"""The GPU target on a double of onnxruntime-gpu: no GPU was at hand. The double is a module that the child imports."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hardware_targets import DeviceFailure, TargetError, Unmeasured
from hardware_targets._null_model import write_null_model
from hardware_targets._parts import build
from hardware_targets.cuda_gpu import Target
from hardware_targets.runtimes import onnxruntime_cuda
from hardware_targets.runtimes.onnxruntime_cuda import CUDA, Runtime

# Gives back what it is given, remembers what it was asked for, and serves as NIWAKI_TEST_SERVES says.
DOUBLE = """
import json, os
__version__ = "1.0-double"
def get_available_providers():
    return os.environ.get("NIWAKI_TEST_BUILT", "CUDAExecutionProvider,CPUExecutionProvider").split(",")
class GraphOptimizationLevel:
    ORT_ENABLE_ALL = 99
class SessionOptions:
    def add_session_config_entry(self, key, value): pass
class _Input:
    name, type, shape = "x", "tensor(float)", [1]
class InferenceSession:
    def __init__(self, path, options, providers):
        open(path, "rb").close()
        seen = {name: os.environ.get(name) for name in ("CUDA_DEVICE_ORDER", "CUDA_VISIBLE_DEVICES")}
        with open(os.environ["NIWAKI_TEST_ASKED"], "a") as file:
            file.write(json.dumps({"providers": providers, **seen}) + "\\n")
    def get_providers(self):
        return os.environ.get("NIWAKI_TEST_SERVES", "CUDAExecutionProvider,CPUExecutionProvider").split(",")
    def get_inputs(self):
        return [_Input()]
    def run(self, names, feed):
        return [feed["x"] + 0]
"""


# As much of nvidia-ml-py as is asked for: a divided GPU on which somebody else works, and which tells no heat.
NVML = """
import os
NVML_DEVICE_MIG_ENABLE, NVML_CLOCK_SM, NVML_TEMPERATURE_GPU = 1, 1, 0
class NVMLError(Exception): pass
class _Process:
    def __init__(self, pid): self.pid = pid
def nvmlInit():
    if os.environ.get("NIWAKI_TEST_NVML") != "there": raise NVMLError("Driver Not Loaded")
def nvmlDeviceGetHandleByIndex(index): return index
def nvmlDeviceGetName(handle): return f"Double {handle}"
def nvmlSystemGetDriverVersion(): return "600.1"
def nvmlDeviceGetMigMode(handle): return (1, 1)
def nvmlDeviceGetComputeRunningProcesses(handle): return [_Process(os.getpid()), _Process(1)]
def nvmlDeviceGetClockInfo(handle, kind): return 1500
"""


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The double in the place of onnxruntime, here and in children; a file of what its sessions were asked for."""
    place = tmp_path / "double"
    place.mkdir()
    (place / "onnxruntime.py").write_text(DOUBLE, encoding="utf-8")
    (place / "pynvml.py").write_text(NVML, encoding="utf-8")
    monkeypatch.syspath_prepend(place)
    monkeypatch.setenv("PYTHONPATH", str(place))
    monkeypatch.setenv("NIWAKI_TEST_ASKED", str(tmp_path / "asked"))
    for name in ("CUDA_DEVICE_ORDER", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.setenv(name, "as it was")  # `load` sets them; this puts them back
    for name in ("onnxruntime", "pynvml"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield tmp_path / "asked"
    for name in ("onnxruntime", "pynvml"):
        sys.modules.pop(name, None)  # the doubles; what was there before comes back


def test_a_session_is_asked_for_on_the_gpu_that_nvml_counts(asked: Path, tmp_path: Path) -> None:
    session = Runtime(gpu=2).load(write_null_model(tmp_path)[0], threads=1)
    found = json.loads(asked.read_text())
    assert found["providers"] == [[CUDA, {"device_id": 0}], "CPUExecutionProvider"]
    assert (found["CUDA_DEVICE_ORDER"], found["CUDA_VISIBLE_DEVICES"]) == ("PCI_BUS_ID", "2")
    assert session.providers[0] == CUDA


@pytest.mark.parametrize("serves", ["CPUExecutionProvider", "CPUExecutionProvider,CUDAExecutionProvider"])
def test_a_silent_fallback_is_refused(
    asked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, serves: str
) -> None:
    monkeypatch.setenv("NIWAKI_TEST_SERVES", serves)
    with pytest.raises(DeviceFailure, match=r"GPU 0 was asked for but CPUExecutionProvider serves null\.onnx"):
        Runtime().load(write_null_model(tmp_path)[0], threads=1)
    assert asked.exists()


@pytest.mark.parametrize(
    ("installed", "said"),
    [
        ({"onnxruntime"}, "onnxruntime-gpu takes its place"),
        ({"onnxruntime", "onnxruntime-gpu"}, "the first hides the second"),
    ],
)
@pytest.mark.usefixtures("asked")
def test_the_package_of_its_own_is_explained(monkeypatch: pytest.MonkeyPatch, installed: set[str], said: str) -> None:
    monkeypatch.setenv("NIWAKI_TEST_BUILT", "CPUExecutionProvider")
    monkeypatch.setattr(onnxruntime_cuda, "_installed", lambda: installed)
    reason = str(Target().unavailable())
    assert said in reason and "pip install onnxruntime-gpu" in reason


@pytest.mark.usefixtures("asked")
def test_it_is_available_where_the_provider_is_built_in() -> None:
    assert Target().unavailable() is None


def test_without_the_package_doctor_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime_cuda.importlib.util, "find_spec", lambda _: None)
    assert "pip install onnxruntime-gpu" in str(build("target", "cuda_gpu").unavailable())


def test_it_measures_in_a_child_and_claims_no_more_than_it_read(asked: Path, tmp_path: Path) -> None:
    model, feeds = write_null_model(tmp_path)
    found = Target(seconds=1, gpu=1, meter_options={"gpu": 99}).measure(model, feeds, model, feeds, seed=0)
    assert found.conditions.runtime == "onnxruntime_cuda" and found.conditions.runtime_version == "1.0-double"
    assert isinstance(found.energy, Unmeasured) and isinstance(found.peak_memory_mb, Unmeasured)
    assert 0.5 < found.latency.ratio < 2 and found.latency.interrupted_blocks == 0
    lines = [json.loads(line) for line in asked.read_text().splitlines()]
    assert {line["CUDA_VISIBLE_DEVICES"] for line in lines} == {"1"}
    assert found.conditions.gpu is None and not any("GPU" in reason for reason in found.latency.void_reasons)
    assert any("its heat were not watched: NVML finds no GPU 1" in warning for warning in found.warnings)


@pytest.mark.usefixtures("asked")
def test_the_gpu_is_watched_while_it_is_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIWAKI_TEST_NVML", "there")
    model, feeds = write_null_model(tmp_path)
    found = Target(seconds=1, gpu=1, meter_options={"gpu": 1}).measure(model, feeds, model, feeds, seed=0)
    assert found.conditions.gpu == "Double 1, driver 600.1, divided by MIG"
    assert Target(gpu=1).conditions().fingerprint == found.conditions.fingerprint
    assert Target(gpu=0).conditions().fingerprint != found.conditions.fingerprint
    assert any(reason.startswith("foreign GPU process: ") for reason in found.latency.void_reasons)
    assert found.latency.unreliable, "the other process was there all the while"
    assert any("GPU 1 is divided by MIG: the figures are of the part" in warning for warning in found.warnings)
    assert isinstance(found.energy, Unmeasured) and "divided by MIG" in found.energy.reason


def test_a_fallback_in_the_child_reaches_the_user(asked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIWAKI_TEST_SERVES", "CPUExecutionProvider")
    with pytest.raises(DeviceFailure, match="CPUExecutionProvider serves"):
        Target().predict(*write_null_model(tmp_path))
    assert asked.exists()


def test_its_meter_is_that_of_its_gpu_and_no_processor_model() -> None:
    target = Target(gpu=3)
    assert target.meter == "nvml" and target._meter_options == {"gpu": 3}
    assert target.energy_kind() in ("measured", "unmeasured")
    assert target._job("inputs", Path(__file__))["waits"]


@pytest.mark.parametrize(
    ("options", "said"), [({"gpu": -1}, "gpu is -1"), ({"gpu": True}, "gpu is True"), ({"runtime": "openvino"}, "gpu")]
)
def test_odd_options(options: dict, said: str) -> None:
    with pytest.raises(TargetError, match=said):
        Target(**options)
