"""What is particular to teachers of texts: their longest text, and the tokenizer's files beside the weights."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pipeline.artifact import View
from pipeline.config import TeacherTraining
from pipeline.errors import ConfigError
from pipeline.teacher_files import first_line
from pipeline.teacher_hub import file_of

AUTO = "AutoModelForSequenceClassification"
NOUN = "a text classifier"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")


class TeacherModule(nn.Module):
    """forward(input_ids [N, T], attention_mask=None, token_type_ids=None) -> logits [N, K] in the task's class order.

    Without a mask nothing is masked: batch 1, unpadded, which is what is exported and timed.
    """

    def __init__(self, model: nn.Module, order: Sequence[int] | None = None) -> None:
        super().__init__()
        self.model = model
        self.reordered = order is not None
        self.register_buffer("order", torch.tensor(list(order or [])), persistent=False)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
    ) -> torch.Tensor:
        # Some kinds of model know no token types; they are not asked with any. A mask that is None makes no mask.
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        logits: torch.Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask, **types).logits
        return logits.index_select(1, self.order) if self.reordered else logits


def view_for_training(task: Any, size: int | None) -> View:  # noqa: ARG001 - a text has no side
    """How a teacher reads a text: as long as the task gives it, in its whole vocabulary."""
    return {"max_length": task.task_input().max_length, "vocabulary": "full"}


def wrapped(
    model: Any,
    order: Sequence[int] | None,
    task: Any,
    place: str,  # noqa: ARG001 - its tokenizer is the task's affair
    size: int | None,
) -> tuple[TeacherModule, View, tuple[str, ...]]:
    """A loaded model, its view and notes."""
    return TeacherModule(model, order).eval(), view_for_training(task, size), ()


def untrained(training: TeacherTraining, *_: Any) -> Any:
    """Errors: ConfigError: nobody makes a teacher of texts from nothing on data of this size."""
    raise ConfigError(
        f"a teacher of texts is fine-tuned, not made from nothing (`model_type: {training.model_type}`); "
        "give `teacher: {train: {from_checkpoint: FOLDER_OR_HUB_NAME}}`"
    )


def bare(model: Any) -> TeacherModule:
    """A model in training, on the task's own classes."""
    return TeacherModule(model)


def words(model: Any) -> nn.Embedding | None:
    """The table that input ids are looked up in."""
    table = model.get_input_embeddings()
    return table if isinstance(table, nn.Embedding) else None


def augmentation(training: TeacherTraining) -> str:  # noqa: ARG001 - shifts and mirrors are for images
    return "none"


def check_input(module: nn.Module, task: Any, view: View, place: str) -> None:
    """Errors: ConfigError where the model cannot read what the task gives."""
    length, pairs = int(view["max_length"]), task.task_input().token_types > 1
    pieces = torch.zeros(1, length, dtype=torch.int64)
    try:
        with torch.inference_mode():
            module(pieces, None, torch.ones_like(pieces) if pairs else None)
    except Exception as error:  # whatever its layers say about positions and token types
        what = "pairs of texts" if pairs else "texts"
        raise ConfigError(
            f"teacher {place!r} cannot read {what} of {length} pieces: {first_line(error)}; "
            "lower `task.max_length`, or give another teacher"
        ) from error


def store(folder: Path, task: Any, view: View, training: TeacherTraining) -> None:  # noqa: ARG001 - as for images
    """Copy the tokenizer's files beside the weights, so that the folder is whole."""
    for name in TOKENIZER_FILES:
        source = file_of(str(task.config.tokenizer or training.from_checkpoint), name)
        if source is not None:
            shutil.copyfile(source, folder / name)
