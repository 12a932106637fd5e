"""ONNX Runtime on the CPU; what it does on another provider is in the file of that provider."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hardware_targets._errors import BadModel
from hardware_targets._feeds import Input

_DTYPES = {"float": "float32", "double": "float64", "float16": "float16", "bool": "bool"} | {
    f"{sign}int{bits}": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}


Providers = Sequence[str | tuple[str, Mapping[str, Any]]]  # as onnxruntime takes them, the first one first


class Runtime:
    """Loads ONNX files with full graph optimisation; one call at a time, on a fixed number of threads."""

    name = "onnxruntime"
    providers: Providers = ("CPUExecutionProvider",)

    def unavailable(self) -> str | None:
        if importlib.util.find_spec("onnxruntime") is None:
            return "the package onnxruntime is not installed here; pip install onnxruntime"
        return None

    def version(self) -> str:
        import onnxruntime

        return str(onnxruntime.__version__)

    def load(self, model: Path, threads: int) -> Session:
        """A session for a model file. Errors: BadModel."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        # Waiting threads spin, as they do by default: without it each call pays for waking them up.
        options.add_session_config_entry("session.intra_op.allow_spinning", "1" if threads > 1 else "0")
        options.log_severity_level = 3
        try:
            native = onnxruntime.InferenceSession(str(model), options, providers=list(self.providers))
        except Exception as error:  # the runtime's own exceptions share no other base
            reason = _first_line(error)
            raise BadModel(f"onnxruntime does not load {model}: {reason}; give a valid ONNX file") from error
        return Session(model, native)


class Session:
    """A loaded model."""

    def __init__(self, model: Path, native: Any) -> None:
        self._model, self._native = model, native

    @property
    def providers(self) -> tuple[str, ...]:
        """What really serves the model, the first one first; onnxruntime falls back without an error."""
        return tuple(self._native.get_providers())

    @property
    def inputs(self) -> tuple[Input, ...]:
        """Names, dtypes and shapes, in the model's order."""
        return tuple(Input(item.name, _dtype(item.type), tuple(item.shape)) for item in self._native.get_inputs())

    def run(self, feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Every output, in the model's order. Errors: BadModel where the feed does not fit."""
        try:
            outputs: list[np.ndarray] = self._native.run(None, feed)
        except Exception as error:  # the runtime's own exceptions share no other base
            wanted = ", ".join(f"{item.name} {item.dtype} {list(item.shape)}" for item in self.inputs)
            raise BadModel(f"{self._model} fails on a feed: {_first_line(error)}; its inputs are: {wanted}") from error
        return outputs


def _dtype(onnx_type: str) -> str:
    """`tensor(float)` -> `float32`; what numpy has no plain number for stays as it is."""
    return _DTYPES.get(onnx_type.removeprefix("tensor(").removesuffix(")"), onnx_type)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
