"""What the stages hand to each other: a torch model with its shape, then an ONNX file with its hash."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


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
    input_name: str
    input_shape: tuple[int, ...]  # batch 1: (1, channels, size, size)
    parameters: int
    macs: int
    precision: str  # the quantization scheme: none, fp16, dynamic_int8, static_int8, weight_int8
    exporter: str
    sha256: str
    size_bytes: int

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "path": self.path.name, "input_shape": list(self.input_shape)}


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
