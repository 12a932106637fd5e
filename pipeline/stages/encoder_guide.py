"""What a student of texts is shown of its teacher's inside, batch by batch: the losses of known recipes as one module.

Hidden states come from the disk where they are held (`pipeline.teacher_states`). Else the teacher runs beside the
student, in the same module as its students, so that layers, heads and states bear the same names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.stages import encoder_terms as terms
from pipeline.teacher_states import EMBEDDED, Held, Layer
from pipeline.training import Batch

Scalar = bool | int | float | str
MOST_RELATION_HEADS = 12
SCALE_BATCHES = 8


@dataclass(frozen=True)
class Shares:
    """Weights of the inner terms; `hidden_of`: `last` (DistilBERT's cosine) or `all` (TinyBERT's squared errors)."""

    hidden: float
    attention: float
    relation: float
    hidden_of: str

    @classmethod
    def of(cls, settings: Mapping[str, Scalar]) -> Shares:
        """From the settings of a candidate; `hidden_of: pooled` is no inner term, the pooled features are cached."""
        where = str(settings.get("hidden_of", "pooled"))
        hidden = float(settings.get("hidden_weight", 0.0)) if where != "pooled" else 0.0
        attention, relation = (float(settings.get(f"{name}_weight", 0.0)) for name in ("attention", "relation"))
        return cls(hidden, attention, relation, where)

    @property
    def any(self) -> bool:
        return self.hidden + self.attention + self.relation > 0

    def held_layers(self, taken: Sequence[int], last: int) -> list[Layer]:
        """The layers whose hidden states are all that is wanted of a teacher whose last is `last`; else none."""
        if self.attention + self.relation > 0:
            return []
        return [EMBEDDED, *taken] if self.hidden_of == "all" else [last]


class Guide(nn.Module):
    """Callable on the student's states and the batch; gives the weighted sum of the inner terms, each 1 at the start.

    Its parameters are projections into the teacher's width, trained with the student and thrown away.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        taken: Sequence[int],
        shares: Shares,
        batches: Iterable[Batch],
        held: Held | None = None,
    ) -> None:
        super().__init__()
        self.taken, self.shares, self._held = tuple(taken), shares, held
        self._teacher = (teacher.eval(),)  # in a tuple: no part of this module, never trained
        width, teacher_width = student.word.embedding_dim, teacher.word.embedding_dim
        self.relation_heads = terms.relation_heads(
            _inner_width(student.layers[-1]), _inner_width(teacher.layers[-1]), MOST_RELATION_HEADS
        )
        count = 1 + len(self.taken) if shares.hidden > 0 and shares.hidden_of == "all" else 1
        self.projections = nn.ModuleList(
            nn.Identity() if width == teacher_width else nn.Linear(width, teacher_width, bias=False)
            for _ in range(count if shares.hidden > 0 else 0)
        )
        self.scales = self._scales(batches)

    def forward(self, states: Any, batch: Batch) -> Tensor:
        theirs = None if self._held is None else self._held(batch)
        wanted, mask = None if theirs else self._shown(batch), batch.inputs[1]
        total = states.logits.new_zeros((), dtype=torch.float32)
        if self.shares.hidden > 0:
            pairs = zip(self.projections, self._own(states), theirs or self._of_teacher(wanted), strict=True)
            compare = terms.hidden_term if self.shares.hidden_of == "all" else terms.cosine_term
            found = [compare(project(mine), theirs, mask) for project, mine, theirs in pairs]
            total = total + self.shares.hidden * self._mean("hidden", found)
        if self.shares.attention > 0:
            found = [
                terms.attention_term(*_alike(mine, wanted.scores[layer]), mask)
                for mine, layer in zip(states.scores, self.taken, strict=True)
            ]
            total = total + self.shares.attention * self._mean("attention", found)
        if self.shares.relation > 0:
            found = [
                terms.relation_term(mine, theirs, mask, self.relation_heads)
                for mine, theirs in zip(_last(states), _last(wanted), strict=True)
            ]
            total = total + self.shares.relation * self._mean("relation", found)
        return total

    def _own(self, states: Any) -> list[Tensor]:
        return [states.embedded, *states.hidden] if self.shares.hidden_of == "all" else [states.hidden[-1]]

    def _of_teacher(self, states: Any) -> list[Tensor]:
        """The layers that the student's stand for; its last stands for the teacher's last, whatever was inherited."""
        if self.shares.hidden_of == "all":
            return [states.embedded, *(states.hidden[layer] for layer in self.taken)]
        return [states.hidden[-1]]

    def _mean(self, name: str, found: Sequence[Tensor]) -> Tensor:
        return torch.stack([term / scale for term, scale in zip(found, self.scales[name], strict=True)]).mean()

    def _shown(self, batch: Batch) -> Any:
        with torch.no_grad():
            return self._teacher[0].states(*batch.inputs)

    def _scales(self, batches: Iterable[Batch]) -> dict[str, list[float]]:
        """The terms of a student that ignores its input, averaged over the given batches."""
        measured: dict[str, list[list[float]]] = {"hidden": [], "attention": [], "relation": []}
        for batch in batches:
            states, mask = self._shown(batch), batch.inputs[1]
            scale: Callable[[Tensor, Tensor], float] = (
                terms.hidden_scale if self.shares.hidden_of == "all" else terms.cosine_scale
            )
            measured["hidden"].append([scale(hidden, mask) for hidden in self._of_teacher(states)])
            measured["attention"].append([terms.attention_scale(states.scores[i], mask) for i in self.taken])
            measured["relation"].append(
                [terms.relation_scale(vectors, mask, self.relation_heads) for vectors in _last(states)]
            )
        return {name: torch.tensor(rows).mean(0).tolist() for name, rows in measured.items()}


def _last(states: Any) -> tuple[Tensor, Tensor, Tensor]:
    return states.queries[-1], states.keys[-1], states.values[-1]


def _alike(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Scores with equally many heads: where the numbers differ, the means over the heads."""
    if student.shape[1] == teacher.shape[1]:
        return student, teacher
    return student.mean(1, keepdim=True), teacher.mean(1, keepdim=True)


def _inner_width(layer: Any) -> int:
    return int(layer.attention.query.out_features)
