"""OpenVINO on the CPU; reads ONNX files, and OpenVINO's own .xml with its .bin."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hardware_targets._errors import BadModel
from hardware_targets._feeds import Input

_DTYPES = {"f16": "float16", "f32": "float32", "f64": "float64", "boolean": "bool"} | {
    f"{sign}{bits}": f"{name}{bits}" for sign, name in (("i", "int"), ("u", "uint")) for bits in (8, 16, 32, 64)
}


class Runtime:
    """Loads model files for one stream; one call at a time, on a fixed number of threads."""

    name = "openvino"

    def unavailable(self) -> str | None:
        if importlib.util.find_spec("openvino") is None:
            return "the package openvino is not installed here; pip install openvino"
        return None

    def version(self) -> str:
        return str(_openvino().__version__)

    def load(self, model: Path, threads: int) -> Session:
        """A session for a model file. Errors: BadModel."""
        core = _openvino().Core()
        settings = {
            "NUM_STREAMS": "1",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": str(threads),
            "ENABLE_CPU_PINNING": "NO",  # cores are chosen by whoever started this process
            # By default a processor with bfloat16 units rounds float32 models to it: not the model that was shipped.
            "INFERENCE_PRECISION_HINT": "f32",
        }
        try:
            compiled = core.compile_model(core.read_model(str(model)), "CPU", settings)
        except Exception as error:  # the runtime raises RuntimeError and its own
            reason = _reason(error)
            raise BadModel(f"openvino does not load {model}: {reason}; give a valid ONNX or OpenVINO file") from error
        return Session(model, compiled)


class Session:
    """A compiled model and its one inference request."""

    def __init__(self, model: Path, compiled: Any) -> None:
        self._model, self._request = model, compiled.create_infer_request()
        self._inputs = tuple(Input(_name(port), _dtype(port), _shape(port)) for port in compiled.inputs)
        self._dtypes = {item.name: item.dtype for item in self._inputs}
        self._outputs = range(len(compiled.outputs))

    @property
    def inputs(self) -> tuple[Input, ...]:
        """Names, dtypes and shapes, in the model's order; an open size is None."""
        return self._inputs

    def run(self, feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Every output, in the model's order. Errors: BadModel where the feed does not fit."""
        # OpenVINO takes a feed that lacks an input (and uses the last call's), names an output, or has another dtype.
        if feed.keys() != self._dtypes.keys() or any(feed[name].dtype != kind for name, kind in self._dtypes.items()):
            given = ", ".join(f"{name} {value.dtype}" for name, value in feed.items()) or "nothing"
            raise BadModel(f"{self._model} fails on a feed of {given}; {self._wanted()}")
        try:
            self._request.infer(dict(feed), share_inputs=True)
            # Copied: the request writes the next outputs to the same place.
            return [self._request.get_output_tensor(place).data.copy() for place in self._outputs]
        except Exception as error:  # the runtime raises RuntimeError and its own
            raise BadModel(f"{self._model} fails on a feed: {_reason(error)}; {self._wanted()}") from error

    def _wanted(self) -> str:
        return "its inputs are: " + ", ".join(f"{item.name} {item.dtype} {list(item.shape)}" for item in self._inputs)


def _openvino() -> Any:
    return importlib.import_module("openvino")  # an extra that need not be installed where types are checked


def _name(port: Any) -> str:
    return str(port.get_any_name())


def _dtype(port: Any) -> str:
    name = str(port.get_element_type().get_type_name())
    return _DTYPES.get(name, name)


def _shape(port: Any) -> tuple[int | None, ...]:
    return tuple(None if size.is_dynamic else int(size.get_length()) for size in port.get_partial_shape())


def _reason(error: Exception) -> str:
    """The last line: the lines before it say where in OpenVINO's source it was noticed."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[-1].rstrip(".")
