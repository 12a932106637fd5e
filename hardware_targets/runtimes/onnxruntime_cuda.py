"""ONNX Runtime on an NVIDIA GPU, through its CUDA provider, which comes in a package of its own: onnxruntime-gpu."""

from __future__ import annotations

import importlib
import importlib.util
import os
from importlib.metadata import distributions
from pathlib import Path

from hardware_targets._errors import DeviceFailure
from hardware_targets.runtimes import onnxruntime as on_cpu

CUDA = "CUDAExecutionProvider"
PACKAGES = ("onnxruntime", "onnxruntime-gpu")  # both install the module `onnxruntime`


class Runtime(on_cpu.Runtime):
    """Loads ONNX files onto GPU number `gpu`, in the order of NVML and nvidia-smi.

    Where CUDA or cuDNN cannot be loaded, onnxruntime goes on with the CPU and says nothing that a program would hear;
    so the provider of every session is asked for. Single operators that CUDA lacks still run on the CPU, and copies
    between them count: that is how the file would be served. A call returns when its outputs are in host memory, so
    that it is timed whole, both copies included.
    """

    name = "onnxruntime_cuda"

    def __init__(self, gpu: int = 0) -> None:
        self._gpu = gpu
        self.providers = ((CUDA, {"device_id": 0}), "CPUExecutionProvider")

    def unavailable(self) -> str | None:
        if importlib.util.find_spec("onnxruntime") is None:
            return "the package onnxruntime-gpu is not installed here; pip install onnxruntime-gpu"
        if CUDA in importlib.import_module("onnxruntime").get_available_providers():
            return None
        if set(PACKAGES) <= _installed():
            return (
                "onnxruntime and onnxruntime-gpu are both installed, and the first hides the second; pip uninstall "
                "-y onnxruntime onnxruntime-gpu, and then: pip install onnxruntime-gpu"
            )
        return (
            "this onnxruntime was built without CUDA; the package onnxruntime-gpu takes its place, on the CPU too: pip "
            "uninstall -y onnxruntime, and then: pip install onnxruntime-gpu"
        )

    def load(self, model: Path, threads: int) -> on_cpu.Session:
        """A session on the GPU. Errors: BadModel; DeviceFailure where another provider serves it."""
        # CUDA counts the fastest first by default, NVML by slots; what is seen here is the one GPU, as number 0.
        os.environ |= {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": str(self._gpu)}
        session = super().load(model, threads)
        if session.providers[:1] != (CUDA,):
            served = session.providers[0] if session.providers else "nothing"
            raise DeviceFailure(
                f"GPU {self._gpu} was asked for but {served} serves {model.name}: onnxruntime could not load CUDA or "
                "cuDNN, or found no such GPU. Compare their versions with those that onnxruntime-gpu asks for "
                "(nvidia-smi shows the driver's), or measure on local_cpu"
            )
        return session


def _installed() -> set[str]:
    return {str(item.metadata["Name"]).lower() for item in distributions() if item.metadata["Name"]}
