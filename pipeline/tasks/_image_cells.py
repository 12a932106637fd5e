"""Images as tables and scikit-learn hold them: encoded files in cells, decoded one by one."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from pipeline.config import DataConfig, TaskConfig
from pipeline.errors import ConfigError, near
from pipeline.tasks._columns import Cells, first_line, holds

KINDS = ("struct<bytes", "binary", "large_binary", "string", "large_string")


def image_cells(table: Any, split: str, config: TaskConfig, folder: Path) -> Cells:
    """Encoded image files of column `task.image`; paths in it are relative to `folder`. Errors: ConfigError."""
    holds(table, split, "image", config.image, KINDS, "images; images are encoded files or their paths")
    plain = table.select_columns([config.image]).with_format("arrow")

    def cells(rows: np.ndarray) -> Iterator[bytes | None]:
        for batch in plain.select(rows).iter(512):
            for value in batch.column(config.image).to_pylist():
                yield _file_bytes(value, folder)

    return cells


def _file_bytes(value: Any, folder: Path) -> bytes | None:
    """The image file in one cell: its bytes, a path relative to the table's folder, or a mapping with either."""
    if isinstance(value, dict):
        value = value["bytes"] if value.get("bytes") is not None else value.get("path")
    if value is None or isinstance(value, bytes):
        return value
    try:
        return (folder / value).read_bytes()
    except OSError as error:
        raise ConfigError(
            f"image {value!r} cannot be read from {folder}: {error.strerror}; "
            "paths in the image column are relative to the file that holds them"
        ) from None


def decoded(value: bytes | np.ndarray | None, row: int, split: str) -> Image.Image:
    """One cell as an image of 8 bits per channel. Errors: ConfigError naming the row."""
    if value is None:
        raise ConfigError(f"row {row} of {split} has no image: the cell is empty; drop the row or add its image")
    if isinstance(value, np.ndarray):
        return Image.fromarray(value)
    try:
        image = Image.open(io.BytesIO(value))
        image.load()
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError) as error:
        raise ConfigError(
            f"the image in row {row} of {split} cannot be decoded: {first_line(error)}; mend the file or drop the row"
        ) from error
    if image.mode.startswith(("I", "F")):  # Pillow would clip these to white
        raise ConfigError(
            f"the image in row {row} of {split} has more than 8 bits per channel (Pillow mode {image.mode!r}); "
            "store it with 8 bits, scaled as you want it"
        )
    return image


def digits(data: DataConfig) -> tuple[Sequence[int], Sequence[str], Cells]:
    """Labels, names and images of scikit-learn's bundled handwritten digits, 1797 of 8 x 8 pixels.

    Their 17 grey levels are stretched to 0..255. Errors: ConfigError for another name.
    """
    from sklearn.datasets import load_digits

    if data.name != "digits":
        raise ConfigError(f"scikit-learn brings no images named {data.name!r}{near(str(data.name), ['digits'])}")
    bunch = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    labels = [int(value) for value in bunch.target]
    return labels, [str(name) for name in bunch.target_names], lambda rows: iter(images[rows])
