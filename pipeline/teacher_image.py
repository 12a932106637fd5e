"""What is particular to teachers of images: normalisation, side of the input, preprocessor_config.json."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pipeline.artifact import View
from pipeline.config import TeacherTraining
from pipeline.errors import ConfigError
from pipeline.record import write_json
from pipeline.teacher_files import first_line, processor_size, read_processor, rescaling
from pipeline.teacher_hub import file_of, new_model

AUTO = "AutoModelForImageClassification"
NOUN = "an image classifier"


class TeacherModule(nn.Module):
    """forward(pixels normalised as the task does, float32 [N, C, S, S]) -> logits [N, K] in the task's class order.

    Where the model was trained on another normalisation or class order, both are put right in here, so that teacher
    and students read the very same inputs.
    """

    def __init__(
        self,
        model: nn.Module,
        order: Sequence[int] | None = None,
        rescale: tuple[Sequence[float], Sequence[float]] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.reordered = order is not None
        self.rescaled = rescale is not None
        scale, shift = rescale or ([1.0], [0.0])
        self.register_buffer("order", torch.tensor(list(order or [])), persistent=False)
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32).view(-1, 1, 1), persistent=False)
        self.register_buffer("shift", torch.tensor(shift, dtype=torch.float32).view(-1, 1, 1), persistent=False)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        if self.rescaled:
            pixels = pixels * self.scale + self.shift
        logits: torch.Tensor = self.model(pixel_values=pixels).logits
        return logits.index_select(1, self.order) if self.reordered else logits


def view_for_training(task: Any, size: int | None) -> View:
    """How a teacher that is made here reads an image; `size` is the user's."""
    return {"input_size": size or task.size}


def wrapped(
    model: Any, order: Sequence[int] | None, task: Any, place: str, size: int | None
) -> tuple[TeacherModule, View, tuple[str, ...]]:
    """A loaded model for the task's pixels, its view and notes. Errors: ConfigError, Unavailable.

    The side defaults to its processor's, then its configuration's, then the task's.
    """
    processor = read_processor(file_of(place, "preprocessor_config.json"))
    rescale, notes = rescaling(processor, task)
    side = size or processor_size(processor) or _config_size(model.config) or task.size
    return TeacherModule(model, order, rescale).eval(), {"input_size": side}, notes


def untrained(training: TeacherTraining, task: Any, view: View, heads: dict[str, Any]) -> Any:
    """A model of the model type asked for, its weights random. Errors: ConfigError."""
    sizes = {"image_size": view["input_size"], "num_channels": task.channels, **heads}
    return new_model(AUTO, NOUN, str(training.model_type), sizes, training.config)


def bare(model: Any) -> TeacherModule:
    """A model in training, on the task's own pixels and classes."""
    return TeacherModule(model)


def words(model: Any) -> None:  # noqa: ARG001 - a model of images reads no words
    return None


def augmentation(training: TeacherTraining) -> str:
    return training.augment


def check_input(module: nn.Module, task: Any, view: View, place: str) -> None:
    """Errors: ConfigError where the model cannot read what the task gives."""
    size, channels = view["input_size"], task.channels
    try:
        with torch.inference_mode():
            module(torch.zeros(1, channels, size, size))
    except Exception as error:  # whatever its layers say about shapes
        raise ConfigError(
            f"teacher {place!r} cannot read {channels} x {size} x {size} inputs: {first_line(error)}; "
            "set `teacher.size` and `task.channels` to what it was made for"
        ) from error


def store(folder: Path, task: Any, view: View, training: TeacherTraining) -> None:  # noqa: ARG001 - as for texts
    """Write how its inputs are prepared, as transformers reads it."""
    write_json(
        folder / "preprocessor_config.json",
        {
            "image_processor_type": "ViTImageProcessor",  # transformers' plain resize, rescale, normalise
            "do_resize": True,
            "size": {"height": view["input_size"], "width": view["input_size"]},
            "resample": 2,  # Pillow's number for bilinear
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": list(task.mean),
            "image_std": list(task.std),
        },
    )


def _config_size(config: Any) -> int | None:
    size = getattr(config, "image_size", None)
    return size if isinstance(size, int) else None
