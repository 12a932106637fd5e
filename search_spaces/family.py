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
class PrunePlan:
    """What pruning must know of a module.

    `ignored` are layers whose outputs stay; `num_heads` says into how many heads the outputs of a projection fall, so
    that whole heads are removed.
    """

    ignored: list[nn.Module]
    num_heads: dict[nn.Module, int] = field(default_factory=dict)


class Family(Protocol):
    """One way to build students; only `build`, `shape_of` and `prune_plan` may import torch.

    A module that it builds has forward(*inputs) -> logits [N, classes], features(*inputs) -> [N, D] (pooled, what the
    classifier reads) and an attribute `classifier` (nn.Linear). Inputs of images: pixels float32 [N, C, S, S]; of
    texts: input_ids int64 [N, T], and optionally attention_mask and token_type_ids, likewise.
    """

    name: str
    input_kind: str  # image or text; a space offers only the families of its task's kind
    inherits: bool  # whether its students begin with weights of the teacher, see pipeline.stages.inherit
    schemes: tuple[str, ...]  # the quantization schemes that make sense for it
    prunable: bool
    nested: tuple[str, ...]  # axes in which a student with less is a part of one with more, the other axes being equal

    # `input` is the TaskInput of the family's own kind.
    def dimensions(self, input: Any) -> dict[str, Dimension]:
        """Axes of the architecture, each with finitely many values. Errors: SpaceError if the input has no student."""
        ...

    def refuses(self, architecture: Mapping[str, Scalar], input: Any) -> str | None:
        """Why this combination of values cannot be built, or None."""
        ...

    def shape(self, architecture: Mapping[str, Scalar], input: Any) -> dict[str, Any]:
        """Plain JSON that says every size; has `family` and `classes`, and what `Task.view` reads.

        That is `input_size` of images (and `channels`), `max_length` and `vocabulary_kind` of texts.
        """
        ...

    def aligned(self, architecture: Mapping[str, Scalar], input: Any) -> bool:
        """Whether this student reads the very pieces that the teacher reads, so that their states can be compared."""
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


def families(kind: str | None = None) -> list[str]:
    """Names of the student families, all or those for one kind of input; without a kind nothing is imported."""
    names = sorted(path.stem for path in (Path(__file__).parent / "students").glob("[!_]*.py"))
    return names if kind is None else [name for name in names if load_family(name).input_kind == kind]


def load_family(name: str) -> Family:
    """The family called `name`; torch is not imported. Errors: SpaceError with the nearest name."""
    if name not in families():
        raise SpaceError(f"no student family named {name!r}{near(name, families())}")
    return cast(Family, importlib.import_module(f"search_spaces.students.{name}").Family())
