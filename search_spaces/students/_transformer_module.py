"""The torch module of the transformer family."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class Attention(nn.Module):  # type: ignore[misc]
    """Multi-head self-attention whose number of heads may differ from layer to layer."""

    def __init__(self, width: int, heads: int, head_width: int, tokens: int) -> None:
        super().__init__()
        self.heads, self.head_width, self.tokens = heads, head_width, tokens
        self.query = nn.Linear(width, heads * head_width)
        self.key = nn.Linear(width, heads * head_width)
        self.value = nn.Linear(width, heads * head_width)
        self.out = nn.Linear(heads * head_width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        query, key, value = (self._split(project(tokens)) for project in (self.query, self.key, self.value))
        # an explicit scale keeps the exported graph free of a computation of it
        mixed = functional.scaled_dot_product_attention(query, key, value, scale=self.head_width**-0.5)
        return self.out(mixed.transpose(1, 2).reshape(-1, self.tokens, self.heads * self.head_width))

    def _split(self, projected: Tensor) -> Tensor:
        return projected.reshape(-1, self.tokens, self.heads, self.head_width).transpose(1, 2)


class Layer(nn.Module):  # type: ignore[misc]
    """Attention and feed-forward, each normalised before and added to the stream."""

    def __init__(self, width: int, heads: int, head_width: int, ff: int, tokens: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads, head_width, tokens)
        self.ff_norm = nn.LayerNorm(width)
        self.ff_in = nn.Linear(width, ff)
        self.ff_out = nn.Linear(ff, width)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attention(self.attention_norm(tokens))
        return tokens + self.ff_out(functional.gelu(self.ff_in(self.ff_norm(tokens))))


class Transformer(nn.Module):  # type: ignore[misc]
    """Patches, learned positions, layers, mean over the tokens, classifier; sizes as in `transformer.Family.shape`."""

    def __init__(self, shape: Mapping[str, Any]) -> None:
        super().__init__()
        self.input_size = shape["input_size"]
        width, patch = shape["width"], shape["patch"]
        tokens = (shape["input_size"] // patch) ** 2
        self.patches = nn.Conv2d(shape["channels"], width, patch, stride=patch)
        self.position = nn.Parameter(torch.empty(1, tokens, width))
        nn.init.trunc_normal_(self.position, std=0.02)
        self.layers = nn.Sequential(
            *(Layer(width, layer["heads"], shape["head_width"], layer["ff"], tokens) for layer in shape["layers"])
        )
        self.norm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, shape["classes"])

    def features(self, pixels: Tensor) -> Tensor:
        """[N, C, S, S] -> [N, D], averaged over the patches."""
        maps = self.patches(pixels).reshape(-1, self.position.shape[2], self.position.shape[1])
        tokens = maps.transpose(1, 2) + self.position
        return self.norm(self.layers(tokens)).mean(1)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.classifier(self.features(pixels))


def shape_of(module: Transformer) -> dict[str, Any]:
    """Every size, read from the layers as they are."""
    head_width = module.layers[0].attention.head_width
    return {
        "input_size": module.input_size,
        "channels": module.patches.in_channels,
        "classes": module.classifier.out_features,
        "patch": module.patches.kernel_size[0],
        "width": module.patches.out_channels,
        "head_width": head_width,
        "layers": [
            {"heads": layer.attention.query.out_features // head_width, "ff": layer.ff_in.out_features}
            for layer in module.layers
        ],
    }
