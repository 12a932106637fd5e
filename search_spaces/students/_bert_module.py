"""The torch module of the bert family, written for what onnxruntime runs fastest at batch 1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

SPREAD = 0.02  # standard deviation of fresh weights, as BERT's


@dataclass(frozen=True)
class Encoded:
    """Everything that a term of distillation may compare; lists go by layer, T counts tokens.

    `scores` are query x key / sqrt(head width) before masking and softmax. Padding has numbers of its own everywhere:
    whoever compares must leave it out.
    """

    embedded: Tensor  # [B, T, W], after its normalisation
    hidden: list[Tensor]  # [B, T, W]
    queries: list[Tensor]  # [B, H, T, D]
    keys: list[Tensor]
    values: list[Tensor]
    scores: list[Tensor]  # [B, H, T, T]
    pooled: Tensor  # [B, W]
    logits: Tensor  # [B, K]


class Attention(nn.Module):  # type: ignore[misc]
    """Multi-head attention on [..., T, W], with or without a batch in front; heads may differ from layer to layer.

    Products and softmax are written out: in bf16 on a CPU torch's fused attention took four times as long to train
    (32 x 32 tokens, 12 heads), and both forms become the same graph in onnxruntime.
    """

    def __init__(self, width: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.heads, self.head_width = heads, head_width
        self.query = nn.Linear(width, heads * head_width)
        self.key = nn.Linear(width, heads * head_width)
        self.value = nn.Linear(width, heads * head_width)
        self.out = nn.Linear(heads * head_width, width)

    def parts(self, asking: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries of `asking`, keys and values of `tokens`, each [..., H, T, D]."""
        return self._split(self.query(asking)), self._split(self.key(tokens)), self._split(self.value(tokens))

    def scores(self, query: Tensor, key: Tensor) -> Tensor:
        return query @ key.transpose(-2, -1) * self.head_width**-0.5

    def mixed(self, scores: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """Values by attention, [..., T, W]; `mask` bool [B, 1, 1, T] says which keys are padding."""
        if mask is not None:
            scores = scores.masked_fill(mask, -torch.inf)
        heads = (scores.softmax(-1) @ value).transpose(-3, -2)
        return self.out(heads.reshape(*heads.shape[:-3], -1, self.heads * self.head_width))

    def _split(self, projected: Tensor) -> Tensor:
        # without a batch in front, every size but the number of tokens is a constant of the exported graph
        return projected.reshape(*projected.shape[:-2], -1, self.heads, self.head_width).transpose(-3, -2)


class Layer(nn.Module):  # type: ignore[misc]
    """Attention and feed-forward, each added to the stream and normalised after."""

    def __init__(self, width: int, heads: int, head_width: int, ff: int, eps: float) -> None:
        super().__init__()
        self.attention = Attention(width, heads, head_width)
        self.attention_norm = nn.LayerNorm(width, eps=eps)
        self.ff_in = nn.Linear(width, ff)
        self.ff_out = nn.Linear(ff, width)
        self.ff_norm = nn.LayerNorm(width, eps=eps)

    def forward(self, tokens: Tensor, mask: Tensor | None, asking: Tensor | None = None) -> Tensor:
        """[..., T, W] -> the same; with `asking` [..., A, W], only for those tokens."""
        asking = tokens if asking is None else asking
        query, key, value = self.attention.parts(asking, tokens)
        return self.finish(asking, self.attention.mixed(self.attention.scores(query, key), value, mask))

    def finish(self, tokens: Tensor, mixed: Tensor) -> Tensor:
        tokens = self.attention_norm(tokens + mixed)
        return self.ff_norm(tokens + self.ff_out(functional.gelu(self.ff_in(tokens))))


class Bert(nn.Module):  # type: ignore[misc]
    """Embeddings, layers, tanh pooler on the first token, classifier; sizes as in `bert.Family.shape`.

    The logits read nothing of the last layer but its first token, so nothing else of it is computed; a single row
    without a mask runs without a batch axis. Neither changes a logit; `states` computes everything.
    """

    def __init__(self, shape: Mapping[str, Any]) -> None:
        super().__init__()
        width, eps = shape["width"], shape["eps"]
        self.vocabulary_kind, self.taken = shape["vocabulary_kind"], tuple(shape["taken"])
        self.word = nn.Embedding(shape["vocabulary"], width)
        self.position = nn.Embedding(shape["max_length"], width)
        self.token_type = nn.Embedding(shape["token_types"], width)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.layers = nn.ModuleList(
            Layer(width, layer["heads"], shape["head_width"], layer["ff"], eps) for layer in shape["layers"]
        )
        self.pooler = nn.Linear(width, width)
        self.classifier = nn.Linear(width, shape["classes"])
        self.apply(_start)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> Tensor:
        return self.classifier(self.features(input_ids, attention_mask, token_type_ids))

    def features(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> Tensor:
        """int64 [B, T] each -> [B, W], what the classifier reads. Without a mask nothing is padding."""
        if attention_mask is None and input_ids.shape[0] == 1:
            input_ids, token_type_ids = input_ids[0], None if token_type_ids is None else token_type_ids[0]
        tokens, mask = self._embedded(input_ids, token_type_ids), _padding(attention_mask)
        for layer in self.layers[:-1]:
            tokens = layer(tokens, mask)
        first = self.layers[-1](tokens, mask, asking=tokens[..., :1, :])
        return self._pooled(first.flatten(0, -2))

    def states(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> Encoded:
        """The whole way, from int64 [B, T] each; its logits are those of `forward`."""
        tokens, mask = self._embedded(input_ids, token_type_ids), _padding(attention_mask)
        embedded, hidden, parts, scores = tokens, [], [], []
        for layer in self.layers:
            parts.append(layer.attention.parts(tokens, tokens))
            query, key, value = parts[-1]
            scores.append(layer.attention.scores(query, key))
            tokens = layer.finish(tokens, layer.attention.mixed(scores[-1], value, mask))
            hidden.append(tokens)
        queries, keys, values = (list(part) for part in zip(*parts, strict=True))
        pooled = self._pooled(tokens[:, 0])
        return Encoded(embedded, hidden, queries, keys, values, scores, pooled, self.classifier(pooled))

    def _embedded(self, input_ids: Tensor, token_type_ids: Tensor | None) -> Tensor:
        count = input_ids.shape[-1]
        if token_type_ids is None:
            # one table, which the runtime adds up when it loads the file
            return self.norm(self.word(input_ids) + (self.position.weight + self.token_type.weight[0])[:count])
        return self.norm(self.word(input_ids) + self.position.weight[:count] + self.token_type(token_type_ids))

    def _pooled(self, first: Tensor) -> Tensor:
        return torch.tanh(self.pooler(first))


def shape_of(module: Bert) -> dict[str, Any]:
    """Every size, read from the layers as they are."""
    head_width = module.layers[0].attention.head_width
    return {
        "max_length": module.position.num_embeddings,
        "vocabulary_kind": module.vocabulary_kind,
        "vocabulary": module.word.num_embeddings,
        "token_types": module.token_type.num_embeddings,
        "width": module.word.embedding_dim,
        "head_width": head_width,
        "eps": module.norm.eps,
        "classes": module.classifier.out_features,
        "layers": [
            {"heads": layer.attention.query.out_features // head_width, "ff": layer.ff_in.out_features}
            for layer in module.layers
        ],
        "taken": list(module.taken),
    }


def _padding(attention_mask: Tensor | None) -> Tensor | None:
    return None if attention_mask is None else (attention_mask == 0)[:, None, None, :]


def _start(part: nn.Module) -> None:
    """BERT's own start: normal weights, no biases; normalisations are the identity already."""
    if isinstance(part, nn.Linear | nn.Embedding):
        nn.init.normal_(part.weight, std=SPREAD)
    if isinstance(part, nn.Linear):
        nn.init.zeros_(part.bias)
