"""An NVIDIA GPU of this machine, through ONNX Runtime's CUDA provider, in a process of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hardware_targets import local_cpu
from hardware_targets._errors import TargetError
from hardware_targets._gpu import Gpu
from hardware_targets._measurement import Conditions, Measurement, Unmeasured

METER = "nvml"
_MEMORY = "the process's own memory tells nothing of the GPU's, which is not read yet; size_mb is what the file needs"


class Target(local_cpu.Target):
    """Measures on GPU `gpu`, numbered as nvidia-smi does; `threads` are those of the host, for what CUDA lacks.

    A call is timed until its outputs are in host memory. Energy is NVML's counter; without it there is none, since a
    model of processor threads knows nothing of a GPU. Another `meter` may be pinned, a calibrated one for instance.
    """

    name = "cuda_gpu"

    def __init__(
        self,
        threads: int = 1,
        seconds: float = local_cpu.SECONDS,
        gpu: int = 0,
        runtime: str = "onnxruntime_cuda",
        meter: str = METER,
        meter_options: Mapping[str, Any] | None = None,
    ) -> None:
        if isinstance(gpu, bool) or not isinstance(gpu, int) or gpu < 0:
            raise TargetError(f"gpu is {gpu!r}; give the number that nvidia-smi shows, from 0")
        given = {"gpu": gpu} if meter == METER and meter_options is None else meter_options
        self._gpu = gpu
        super().__init__(threads=threads, seconds=seconds, runtime=runtime, meter=meter, meter_options=given)

    def conditions(self) -> Conditions:
        """This machine as it is now, and its GPU where NVML tells of it."""
        gpu, found = Gpu(self._gpu), super().conditions()
        return found if gpu.unavailable else replace(found, gpu=gpu.describe())

    def measure(self, *files: Path, **limits: Any) -> Measurement:
        """Time `model` against `reference`, see `local_cpu`. Errors: TargetError."""
        return replace(super().measure(*files, **limits), peak_memory_mb=Unmeasured(_MEMORY))

    def _runtime_options(self) -> dict[str, Any]:
        return {"gpu": self._gpu}

    def _job(self, task: str, model: Path, feeds: Path | None = None) -> dict[str, Any]:
        # The host waits for the GPU: wall time without CPU time is no sign of an interruption.
        return {**super()._job(task, model, feeds), "waits": True, "gpu": self._gpu}
