"""A trained student on disk: its shape as JSON beside its numbers as safetensors, nothing that could run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pipeline.arrays import fresh, save_tensors
from pipeline.artifact import TorchArtifact
from pipeline.errors import ConfigError
from pipeline.record import read_json, write_json
from search_spaces import SpaceError, load_family

SHAPE = "shape.json"
WEIGHTS = "student.safetensors"


def save_student(folder: Path, artifact: TorchArtifact) -> None:
    """Write `shape.json` and `student.safetensors` into `folder`; each file is whole or not there."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in artifact.module.state_dict().items()}
    with fresh(folder / WEIGHTS) as beside:
        save_tensors(tensors, beside)
    write_json(folder / SHAPE, dict(artifact.shape))


def stored(folder: Path) -> bool:
    """Whether `folder` holds a student."""
    return all((folder / name).is_file() for name in (SHAPE, WEIGHTS))


def load_student(folder: Path) -> TorchArtifact:
    """The student that `save_student` wrote, in evaluation mode, with identical outputs.

    Errors: ConfigError when a file is missing, damaged, of another kind (a pickle), or does not fit the other one.
    """
    shape = _shape(folder / SHAPE)
    module = _empty(shape, folder / SHAPE)
    tensors = _tensors(folder / WEIGHTS)
    fault = _fault(module.state_dict(), tensors)
    if fault:
        raise ConfigError(f"{folder / WEIGHTS} does not fit {SHAPE} beside it: {fault}; copy both from the same run")
    # the loaded tensors are windows into the file; copies outlive its replacement
    module.load_state_dict({name: tensor.clone() for name, tensor in tensors.items()}, strict=True, assign=True)
    return TorchArtifact(module.eval(), str(shape["family"]), shape)


def _shape(path: Path) -> dict[str, Any]:
    try:
        shape = read_json(path)
    except FileNotFoundError:
        raise ConfigError(f"there is no {path}; give a folder that holds {SHAPE} and {WEIGHTS}") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as JSON: {error}; save the student again") from None
    if not isinstance(shape, dict) or "family" not in shape:
        raise ConfigError(f"{path} names no student family; save the student again")
    return shape


def _empty(shape: Mapping[str, Any], path: Path) -> nn.Module:
    # built without memory: a damaged shape can ask for more than the machine has
    try:
        with torch.device("meta"):
            return load_family(str(shape["family"])).build(shape)
    except SpaceError as error:
        raise ConfigError(f"{path}: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, ArithmeticError) as error:
        raise ConfigError(f"{path} describes no {shape['family']}: {error!r}; save the student again") from None


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except FileNotFoundError:
        raise ConfigError(f"there is no {path}; give a folder that holds {SHAPE} and {WEIGHTS}") from None
    except (OSError, SafetensorError) as error:
        raise ConfigError(
            f"{path} is not a safetensors file ({error}); pickled or damaged files are never loaded, "
            "save the student again"
        ) from None


def _fault(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str | None:
    missing = sorted(set(wanted) ^ set(given))
    if missing:
        return f"{missing[0]!r} is in only one of them"
    for name, tensor in wanted.items():
        if tensor.shape != given[name].shape or tensor.dtype != given[name].dtype:
            return f"{name!r} is {_text(given[name])}, not {_text(tensor)}"
    return None


def _text(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
