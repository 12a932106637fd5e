"""What a family must know of a task: the kind of its inputs, and their sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class ImageInput:
    """Square images: colour channels, side in pixels that the task prepares by default, number of classes."""

    kind: ClassVar[str] = "image"

    channels: int
    size: int
    classes: int


@dataclass(frozen=True)
class TextInput:
    """Texts as pieces of the teacher's vocabulary, and the teacher's encoder, which a student can inherit from.

    `max_length` counts the pieces that the teacher is given at most, the special ones included. `vocabulary` are the
    pieces of its tokenizer, `used` those left when it is trimmed to what the training texts use. `token_types` is 1 for
    single texts and 2 for pairs. A head is width // heads wide; `ff` are the neurons of a feed-forward layer.
    """

    kind: ClassVar[str] = "text"

    classes: int
    max_length: int
    vocabulary: int
    used: int
    token_types: int
    layers: int
    width: int
    heads: int
    ff: int


TaskInput = ImageInput | TextInput
