"""What can be said of a teacher's files before, and without, loading them into a model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import ConfigError

# Files whose loading can run code that they contain.
EXECUTABLE = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.pickle", "*.ckpt", "*.h5", "*.msgpack")


def local_folder(place: str) -> Path | None:
    """The folder that `place` means, None for a hub name. Errors: ConfigError where it can be neither."""
    path = Path(place).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise ConfigError(f"teacher {place!r} is a file; give the folder that holds config.json and model.safetensors")
    if place.startswith((".", "/", "~")) or place.count("/") > 1 or place.endswith("/"):
        raise ConfigError(f"there is no folder {place!r}; give one, or a hub name such as owner/model, as the teacher")
    return None


def check_files(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise ConfigError(
            f"teacher folder {str(folder)!r} has no config.json, so nobody can say what its weights mean; "
            "give a folder that save_pretrained() wrote"
        )
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        risky = sorted(path.name for pattern in EXECUTABLE for path in folder.glob(pattern))
        if risky:
            raise ConfigError(
                f"teacher folder {str(folder)!r} holds {', '.join(risky)} but no .safetensors file. Loading such files "
                "can execute code hidden in it, so it is not opened. Convert it where you trust it: "
                "model.save_pretrained(folder, safe_serialization=True)"
            )
        raise ConfigError(f"teacher folder {str(folder)!r} holds no weights; model.safetensors should be there")
    for path in weights:
        _check_safetensors(path)


def _check_safetensors(path: Path) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            file.keys()
    except (SafetensorError, OSError) as error:
        raise ConfigError(
            f"{path} is not a whole safetensors file: {first_line(error)}; copy it again from where it came from"
        ) from error


def class_order(config: Any, classes: list[str], place: str) -> tuple[list[int] | None, tuple[str, ...]]:
    """For each class of the task its output of the model, None when they agree already."""
    names = [str(config.id2label[number]) for number in range(config.num_labels)]
    if names == classes:
        return None, ()
    if len(names) == len(classes) and all(name == f"LABEL_{number}" for number, name in enumerate(names)):
        return None, ("the teacher names no classes; its outputs are taken in the task's order",)
    plain = [name.casefold().strip() for name in names]
    wanted = [name.casefold().strip() for name in classes]
    if sorted(plain) == sorted(wanted) and len(set(plain)) == len(plain):
        order = [plain.index(name) for name in wanted]
        if order == list(range(len(order))):
            return None, ()
        return order, ("the teacher has the task's classes in another order; its outputs are put in the task's",)
    raise ConfigError(
        f"the teacher's labels are not the task's. Teacher {place!r} ({len(names)}): {_list(names)}. "
        f"Task ({len(classes)}): {_list(classes)}. Give the task these names in `task.labels`, or another teacher"
    )


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")


def read_processor(path: Path | None) -> dict[str, Any]:
    """The model's preprocessor_config.json; {} where it has none. Errors: ConfigError."""
    if path is None:
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON: {error}; restore it, or remove it to use the task's values") from None


def rescaling(processor: Mapping[str, Any], task: Any) -> tuple[Any, tuple[str, ...]]:
    """Scale and shift per channel from the task's normalisation to the model's, None where they agree."""
    if "image_mean" not in processor or processor.get("do_normalize") is False:
        return None, ()
    mean, std = np.atleast_1d(processor["image_mean"]), np.atleast_1d(processor["image_std"])
    if len(mean) != task.channels:
        raise ConfigError(
            f"the teacher reads {len(mean)} channels but `task.channels` is {task.channels}; "
            f"write `channels: {len(mean)}` (images are converted)"
        )
    ours_mean, ours_std = np.array(task.mean), np.array(task.std)
    if np.allclose(mean, ours_mean, atol=1e-5) and np.allclose(std, ours_std, atol=1e-5):
        return None, ()
    scale, shift = ours_std / std, (ours_mean - mean) / std
    note = "the teacher was trained on another normalisation; its file turns the task's into its own"
    return (scale.tolist(), shift.tolist()), (note,)


def processor_size(processor: Mapping[str, Any]) -> int | None:
    for key in ("crop_size", "size"):
        value = processor.get(key)
        if isinstance(value, Mapping):
            value = value.get("height") or value.get("shortest_edge")
        if isinstance(value, int) and value > 0:
            return value
    return None


def first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")
