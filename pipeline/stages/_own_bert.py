"""A BERT of the transformers library in the module of our bert family: the same arithmetic under our names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

from torch import Tensor, nn

from pipeline.errors import ConfigError
from search_spaces import load_family

# What our module computes, in the words of transformers' configuration.
_ARITHMETIC = {
    "hidden_act": "gelu",
    "position_embedding_type": "absolute",
    "layer_norm_eps": 1e-12,
    "is_decoder": False,
}
# Where transformers keeps what our module keeps; within a layer, the longer names first.
_TOP = {
    "embeddings.word_embeddings": "word",
    "embeddings.position_embeddings": "position",
    "embeddings.token_type_embeddings": "token_type",
    "embeddings.LayerNorm": "norm",
    "pooler.dense": "pooler",
    "classifier": "classifier",
}
_LAYER = {
    "attention.self.query": "attention.query",
    "attention.self.key": "attention.key",
    "attention.self.value": "attention.value",
    "attention.output.dense": "attention.out",
    "attention.output.LayerNorm": "attention_norm",
    "intermediate.dense": "ff_in",
    "output.dense": "ff_out",
    "output.LayerNorm": "ff_norm",
}


def unsupported(config: Any) -> str | None:
    """Why nothing can be inherited from a transformers model with this configuration, or None."""
    kind = getattr(config, "model_type", None)
    if kind != "bert":
        return (
            f"students inherit from BERT models only and this teacher is {kind!r}; give a BERT, or take nothing of "
            "it: `space: {bert: {init: random}}`"
        )
    for name, wanted in _ARITHMETIC.items():
        found = getattr(config, name, wanted)
        if found != wanted:
            return (
                f"students of the bert family compute with {name} {wanted!r} and this teacher with {found!r}, so its "
                "weights would mean something else; give another teacher, or `space: {bert: {init: random}}`"
            )
    return None


def own(teacher: nn.Module, order: Sequence[int] | None = None) -> nn.Module:
    """The teacher as a module of our family, float32 and in eval mode: the same logits, and its `states`.

    A student of ours is copied. `order` puts the classes into the task's order. What a teacher lacks (a bare encoder
    has no classifier) is fresh. Errors: ConfigError, see `unsupported`.
    """
    if not hasattr(teacher, "config"):
        return deepcopy(teacher).float().eval()
    reason = unsupported(teacher.config)
    if reason is not None:
        raise ConfigError(reason)
    weights = {name: value.detach().float() for name, value in _renamed(teacher.state_dict())}
    if order is not None:
        weights |= {name: value[list(order)] for name, value in weights.items() if name.startswith("classifier.")}
    module = load_family("bert").build(_shape(teacher.config, weights))
    module.load_state_dict({**module.state_dict(), **weights}, strict=True)
    return module.eval()


def lacks(teacher: nn.Module) -> set[str]:
    """Which of our layers a transformers model has no weights for: pooler, classifier or neither; a student has all."""
    if not hasattr(teacher, "config"):
        return set()
    return {"pooler", "classifier"} - {name.split(".")[0] for name, _ in _renamed(teacher.state_dict())}


def _renamed(weights: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for name, value in weights.items():
        part, kind = name.removeprefix("bert.").rsplit(".", 1)
        if part in _TOP:
            yield f"{_TOP[part]}.{kind}", value
        elif part.startswith("encoder.layer."):
            number, part = part.removeprefix("encoder.layer.").split(".", 1)
            yield f"layers.{number}.{_LAYER[part]}.{kind}", value


def _shape(config: Any, weights: Mapping[str, Tensor]) -> dict[str, Any]:
    layer = {"heads": config.num_attention_heads, "ff": config.intermediate_size}
    classifier = weights.get("classifier.weight")
    return {
        "family": "bert",
        "max_length": config.max_position_embeddings,
        "vocabulary_kind": "full",
        "vocabulary": config.vocab_size,
        "token_types": config.type_vocab_size,
        "width": config.hidden_size,
        "head_width": config.hidden_size // config.num_attention_heads,
        "eps": config.layer_norm_eps,
        "classes": 1 if classifier is None else len(classifier),
        "layers": [dict(layer) for _ in range(config.num_hidden_layers)],
        "taken": list(range(config.num_hidden_layers)),
    }
