"""What a student family is, and which there are: a file of `students/` without a leading underscore is one."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from search_spaces.candidate import Scalar
from search_spaces.dimension import Dimension
from search_spaces.values import SpaceError, near

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class ImageInput:
    """What a family must know of the task: colour channels, side of the square input in pixels, number of classes."""

    channels: int
    size: int
    classes: int


@dataclass(frozen=True)
class PrunePlan:
    """What pruning must know of a module.

    `ignored` are layers whose outputs stay; `num_heads` says into how many heads the outputs of a projection fall, so
    that whole heads are removed.
    """

    ignored: list[nn.Module]
    num_heads: dict[nn.Module, int] = field(default_factory=dict)


class Family(Protocol):
    """One way to build students; only `build`, `shape_of` and `prune_plan` may import torch.

    A module that it builds has forward(pixels float32 [N, C, S, S]) -> logits [N, classes], features(pixels) -> [N, D]
    (pooled, what the classifier reads) and an attribute `classifier` (nn.Linear).
    """

    name: str
    schemes: tuple[str, ...]  # the quantization schemes that make sense for it
    prunable: bool

    def dimensions(self, input: ImageInput) -> dict[str, Dimension]:
        """Axes of the architecture, each with finitely many values. Errors: SpaceError if the input has no student."""
        ...

    def refuses(self, architecture: Mapping[str, Scalar], input: ImageInput) -> str | None:
        """Why this combination of values cannot be built, or None."""
        ...

    def shape(self, architecture: Mapping[str, Scalar], input: ImageInput) -> dict[str, Any]:
        """Plain JSON that says every size; has `family`, `input_size`, `channels` and `classes`."""
        ...

    def build(self, shape: Mapping[str, Any]) -> nn.Module:
        """A freshly initialised module, from an architecture's shape or a pruned one."""
        ...

    def shape_of(self, module: nn.Module) -> dict[str, Any]:
        """The shape read from real sizes: build(shape_of(m)) takes m's state dict."""
        ...

    def prune_plan(self, module: nn.Module) -> PrunePlan:
        """How to prune a module of this family and keep it a module of this family."""
        ...


def families() -> list[str]:
    """Names of the student families; nothing is imported."""
    return sorted(path.stem for path in (Path(__file__).parent / "students").glob("[!_]*.py"))


def load_family(name: str) -> Family:
    """The family called `name`; torch is not imported. Errors: SpaceError with the nearest name."""
    if name not in families():
        raise SpaceError(f"no student family named {name!r}{near(name, families())}")
    return cast(Family, importlib.import_module(f"search_spaces.students.{name}").Family())
