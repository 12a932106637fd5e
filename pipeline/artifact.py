"""What the stages hand to each other: a torch model with its shape, then an ONNX file with its hash."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

View = Mapping[str, Any]  # how a model reads a row, see pipeline.tasks.Task


@dataclass(frozen=True)
class TorchArtifact:
    """A student in torch; `shape` is the plain description that its family rebuilds it from."""

    module: torch.nn.Module
    family: str
    shape: Mapping[str, Any]


@dataclass(frozen=True)
class OnnxArtifact:
    """A file that could ship. `macs` and `parameters` count the torch model it came from."""

    path: Path
    inputs: tuple[str, ...]  # names, in order
    view: View
    parameters: int
    macs: int
    precision: str  # the quantization scheme: none, fp16, dynamic_int8, ..., see stages/quantize.py
    exporter: str
    sha256: str
    size_bytes: int

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "path": self.path.name, "inputs": list(self.inputs), "view": dict(self.view)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], path: Path) -> OnnxArtifact:
        """What `to_json` gave, of the file now at `path`."""
        known = {item.name for item in fields(cls)} & data.keys() - {"path"}
        inputs = tuple(data["inputs"]) if "inputs" in data else (data["input_name"],)
        values = {name: data[name] for name in known}
        return cls(**{**values, "path": path, "inputs": inputs, "view": view_of(data)})


def view_of(artifact: Mapping[str, Any] | None) -> View:
    """The view of an artifact as JSON; records of images written before there were texts hold a shape instead."""
    found = artifact or {}
    return dict(found["view"]) if "view" in found else {"input_size": int(found["input_shape"][-1])}


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
