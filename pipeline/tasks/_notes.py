"""What should be known of a task's data and options before its figures are trusted, a sentence each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pipeline.config import TaskConfig

# Keys of `task` that only one kind of input reads.
OWN = {
    "image": ("image", "size", "channels", "augmentations"),
    "text": ("text", "text_pair", "tokenizer", "max_length"),
}
Row = tuple[tuple[str, ...], Any]  # a row's one or two texts, and its label


def unread(config: TaskConfig) -> tuple[str, ...]:
    """A sentence where options were given that this kind of task does not read."""
    (other,) = OWN.keys() - {config.input_kind}
    fields = TaskConfig.model_fields
    given = [f"`task.{key}`" for key in OWN[other] if getattr(config, key) != fields[key].get_default()]
    if not given:
        return ()
    return (f"{', '.join(given)} {'is' if len(given) == 1 else 'are'} for {other}s and not read by {config.kind}",)


def blank(split: str, texts: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """A sentence where texts are empty or nothing but white space."""
    rows = [not all(text.strip() for text in row) for row in texts]
    if sum(rows):
        yield (
            f"{sum(rows)} of {len(rows)} rows of {split} hold an empty text; a model sees nothing but the tokenizer's "
            "special pieces there"
        )


def repeated(train: Iterable[Row], validation: Iterable[Row]) -> Iterator[str]:
    """Sentences where one text has two labels in train, and where texts of validation are in train too."""
    labels: dict[int, set[Any]] = {}  # by the hash of the texts: a large set of them would fill the memory
    for texts, label in train:
        labels.setdefault(hash(texts), set()).add(label)
    torn = sum(len(found) > 1 for found in labels.values())
    if torn:
        yield f"{torn} of {len(labels)} different texts of train have more than one label; nothing can learn both"
    seen = [hash(texts) in labels for texts, _ in validation]
    if sum(seen):
        yield (
            f"{sum(seen)} of {len(seen)} rows of validation are in train too, word for word; what is learned by heart "
            "counts as known there"
        )
