"""Each file by the runtime that it was written for, so that files of two runtimes can be timed in turn."""

from __future__ import annotations

from pathlib import Path

from hardware_targets._errors import BadModel
from hardware_targets._roles import Runtime as Role
from hardware_targets._roles import Session
from hardware_targets.runtimes import onnxruntime, openvino


class Runtime:
    """OpenVINO for its own .xml files, ONNX Runtime for everything else; OpenVINO is needed for the former only."""

    name = "by_suffix"

    def __init__(self) -> None:
        self._xml: Role = openvino.Runtime()
        self._onnx: Role = onnxruntime.Runtime()

    def unavailable(self) -> str | None:
        return self._onnx.unavailable()

    def version(self) -> str:
        there = [runtime for runtime in (self._onnx, self._xml) if runtime.unavailable() is None]
        return ", ".join(f"{runtime.name} {runtime.version()}" for runtime in there)

    def load(self, model: Path, threads: int) -> Session:
        """A session for a model file. Errors: BadModel."""
        if model.suffix != ".xml":
            return self._onnx.load(model, threads)
        if reason := self._xml.unavailable():
            raise BadModel(f"{model} is OpenVINO's file, but {reason}")
        return self._xml.load(model, threads)
