"""What a model card says differently of images and of texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Words:
    """The hub's name of the task, what is classified, and how the folder is used."""

    tag: str
    title: str
    one: str  # "image"
    a_classifier: str
    says: str  # what one does
    packages: str  # that predict.py needs
    argument: Callable[[Mapping[str, Any]], str]  # on the command line, from preprocessor.json
    call: Callable[[Mapping[str, Any]], str]  # in Python, likewise
    comment: str
    prepares: Callable[[Mapping[str, Any]], str]  # what predict.py does, from preprocessor.json


def _images(said: Mapping[str, Any]) -> str:
    mode = "grey (Pillow's mode L)" if said["channels"] == 1 else "RGB"
    return (
        f"converts the image to {mode}, resizes it to {said['size']} x {said['size']} pixels (bilinear, only where the "
        "size differs),\nscales it to 0..1 and normalises each channel with the figures in `preprocessor.json`"
    )


def _texts(said: Mapping[str, Any]) -> str:
    trimmed = ", which has only the pieces left that the training texts use" if said["vocabulary"] == "used" else ""
    return (
        f"cuts the text into pieces by `tokenizer.json`{trimmed},\nand keeps the first {said['max_length']} of them, "
        "the special ones included"
    )


def _quoted(said: Mapping[str, Any]) -> tuple[str, ...]:
    return ('"a text"',) if said["texts"] == 1 else ('"a text"', '"another"')


WORDS = {
    "image": Words(
        tag="image-classification",
        title="Image Classification",
        one="image",
        a_classifier="An image classifier",
        says="shows",
        packages="onnxruntime numpy pillow",
        argument=lambda _: "image.png",
        call=lambda _: '"image.png"',
        comment="a path or a PIL image",
        prepares=_images,
    ),
    "text": Words(
        tag="text-classification",
        title="Text Classification",
        one="text",
        a_classifier="A text classifier",
        says="says",
        packages="onnxruntime numpy tokenizers",
        argument=lambda said: " ".join(_quoted(said)),
        call=lambda said: ", ".join(_quoted(said)),
        comment="a str each",
        prepares=_texts,
    ),
}
