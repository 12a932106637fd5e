"""A student of the bert family begins with its teacher's weights: whole layers, or the parts of them that matter most.

A larger student of ours can stand in the teacher's place.

What is left out can also be projected onto what stays: what it would have given is predicted from the rest by least
squares, and the matrix that reads it is changed by that (as after pruning channels, He, Zhang and Sun 2017, arXiv
1707.06168).

Nothing is rescaled. A normalisation sets the scale of the stream anew after every sum, whatever its width; a dropped
head or neuron takes away its own part of a sum and leaves the others as they were.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.errors import ConfigError
from pipeline.stages._importance import Importance, measure_importance
from pipeline.stages._own_bert import lacks, own, unsupported

__all__ = ["MEASURED", "How", "Importance", "inherit", "measure_importance", "own", "projection", "unsupported"]

How = Literal["importance", "projection", "truncation", "random"]
MEASURED = ("importance", "projection")  # ways that ask for the importance of the teacher's parts

_RIDGE = 1e-2  # of the mean variance: the pooler sees one token per text, too few to trust small differences


def inherit(
    student: nn.Module,
    shape: Mapping[str, Any],
    teacher: nn.Module,
    *,
    how: How,
    importance: Importance | None,
    kept_pieces: np.ndarray | None,
    order: Sequence[int] | None = None,
) -> None:
    """Copy weights of a transformers BERT, or of a larger student, into `student`, in place.

    Where a size agrees they arrive bit by bit. `shape["taken"]` says which layers. Narrower sizes keep the most
    important hidden dimensions, heads and neurons, with `projection` also what can be told from them of the others, or
    with `truncation` the first ones; `random` leaves the student as it was built, which is fresh. `kept_pieces` int64
    are the teacher's token ids in the student's order (None: all of them); `order` puts its classes into the task's
    order. What the teacher lacks (a bare encoder has no classifier) stays fresh. Errors: ConfigError where the teacher
    is no BERT or too small.
    """
    if how == "random":
        return
    source = own(teacher, order)
    missing = lacks(teacher)
    _check(shape, source, kept_pieces, missing)
    hidden = _kept(source.word.embedding_dim, shape["width"], how, None if importance is None else importance.hidden)
    with torch.no_grad():
        _embeddings(student, source, hidden, kept_pieces)
        for layer, number in zip(student.layers, shape["taken"], strict=True):
            _layer(layer, source.layers[number], number, hidden, how, importance)
        if "pooler" not in missing:
            _linear(student.pooler, source.pooler, hidden, hidden, _moment(how, importance, -1))
        if "classifier" not in missing:
            _linear(student.classifier, source.classifier, _all(source.classifier.out_features), hidden)


def _embeddings(student: Any, source: Any, hidden: Tensor, kept_pieces: np.ndarray | None) -> None:
    words = source.word.weight[:, hidden]
    student.word.weight.copy_(words if kept_pieces is None else words[torch.from_numpy(np.asarray(kept_pieces))])
    for table, of in ((student.position, source.position), (student.token_type, source.token_type)):
        table.weight.copy_(of.weight[: table.num_embeddings, hidden])
    _norm(student.norm, source.norm, hidden)


def _layer(layer: Any, of: Any, number: int, hidden: Tensor, how: How, importance: Importance | None) -> None:
    width = of.attention.head_width
    scores = None if importance is None else importance.heads[number]
    kept = _kept(of.attention.heads, layer.attention.heads, how, scores)
    rows = (kept[:, None] * width + torch.arange(width)).flatten()
    into, mixed, inner = (_moment(how, importance, 3 * number + place) for place in range(3))
    for name in ("query", "key", "value"):
        _linear(getattr(layer.attention, name), getattr(of.attention, name), rows, hidden, into)
    _linear(layer.attention.out, of.attention.out, hidden, rows, mixed)
    _norm(layer.attention_norm, of.attention_norm, hidden)
    scores = None if importance is None else importance.ff[number]
    neurons = _kept(of.ff_in.out_features, layer.ff_in.out_features, how, scores)
    _linear(layer.ff_in, of.ff_in, neurons, hidden, inner)
    _linear(layer.ff_out, of.ff_out, hidden, neurons)
    _norm(layer.ff_norm, of.ff_norm, hidden)


def _moment(how: How, importance: Importance | None, place: int) -> np.ndarray | None:
    return importance.moments[place] if how == "projection" and importance is not None else None


def _linear(layer: Any, of: Any, rows: Tensor, columns: Tensor, moment: np.ndarray | None = None) -> None:
    if moment is None or len(columns) == of.in_features:
        layer.weight.copy_(of.weight[rows][:, columns])
        layer.bias.copy_(of.bias[rows])
        return
    matrix, constant = projection(moment, columns)
    weight = of.weight[rows].double()
    layer.weight.copy_(weight @ matrix)
    layer.bias.copy_(of.bias[rows] + weight @ constant)


def projection(moment: np.ndarray, kept: Tensor) -> tuple[Tensor, Tensor]:
    """The best linear guess of all numbers from the `kept` ones: float64 [W, kept] and a constant [W].

    `moment` [W + 1, W + 1] are mean products with a last number 1, as in `Importance.moments`.
    """
    products = torch.from_numpy(moment).double()
    mean = products[:-1, -1]
    covariance = products[:-1, :-1] - torch.outer(mean, mean)
    inner = covariance[kept][:, kept]
    ridge = _RIDGE * inner.diagonal().mean() * torch.eye(len(kept), dtype=torch.float64)
    matrix = torch.linalg.solve(inner + ridge, covariance[kept]).T
    return matrix, mean - matrix @ mean[kept]


def _norm(layer: Any, of: Any, hidden: Tensor) -> None:
    layer.weight.copy_(of.weight[hidden])
    layer.bias.copy_(of.bias[hidden])


def _kept(size: int, wanted: int, how: How, scores: np.ndarray | None) -> Tensor:
    """Which `wanted` of `size` parts stay, int64 in rising order."""
    if wanted == size or how == "truncation":
        return _all(wanted)
    if scores is None:
        raise ValueError("inheritance by importance into narrower layers needs measure_importance(...)")
    best = np.argsort(-scores, kind="stable")[:wanted]
    return torch.from_numpy(np.sort(best))


def _all(size: int) -> Tensor:
    return torch.arange(size)


def _check(shape: Mapping[str, Any], source: Any, kept_pieces: np.ndarray | None, missing: set[str]) -> None:
    pieces = source.word.num_embeddings if kept_pieces is None else len(kept_pieces)
    layer, head_width = source.layers[0], source.layers[0].attention.head_width
    wanted = {
        "layers": (max(shape["taken"]) + 1, len(source.layers)),
        "hidden dimensions": (shape["width"], source.word.embedding_dim),
        "heads": (max(part["heads"] for part in shape["layers"]), layer.attention.heads),
        "feed-forward neurons": (max(part["ff"] for part in shape["layers"]), layer.ff_in.out_features),
        "positions": (shape["max_length"], source.position.num_embeddings),
        "token types": (shape["token_types"], source.token_type.num_embeddings),
    }
    for name, (asked, has) in wanted.items():
        if asked > has:
            raise ConfigError(f"the student has {asked} {name} and its teacher only {has}; ask for {has} at most")
    equal = {"pieces of text": (shape["vocabulary"], pieces), "numbers per head": (shape["head_width"], head_width)}
    if "classifier" not in missing:
        equal["classes"] = (shape["classes"], source.classifier.out_features)
    for name, (asked, has) in equal.items():
        if asked != has:
            raise ConfigError(
                f"the student has {asked} {name} and its teacher {has}, so its weights do not fit; give the teacher "
                "that the student's shape was made for"
            )
