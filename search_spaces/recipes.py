"""Known recipes, to be tried early: partial flat candidates whose missing axes take their defaults."""

from __future__ import annotations

from search_spaces.candidate import Scalar

_IMAGE: dict[str, dict[str, Scalar]] = {
    # Soft targets at a raised temperature, a small weight on the true labels: Hinton et al. 2015, arXiv 1503.02531.
    "hinton": {
        "student": "convnet",
        "convnet.width": 32,
        "convnet.depth": 2,
        "convnet.block": "plain",
        "distill.temperature": 4.0,
        "distill.soft_weight": 0.9,
        "distill.hard_weight": 0.1,
        "distill.hidden_weight": 0.0,
        "prune.ratio": 0.0,
        "quantize.scheme": "none",
    },
    # A thinner, deeper student that also follows the teacher's hidden states: Romero et al. 2014, arXiv 1412.6550.
    "fitnet_hint": {
        "student": "convnet",
        "convnet.width": 16,
        "convnet.depth": 3,
        "distill.hidden_weight": 0.5,
        "prune.ratio": 0.0,
        "quantize.scheme": "none",
    },
    # Half of the filters removed by their norm, then retrained: Li et al. 2016, arXiv 1608.08710.
    "pruned_half": {
        "student": "convnet",
        "convnet.width": 32,
        "convnet.block": "plain",
        "prune.ratio": 0.5,
        "prune.criterion": "magnitude",
        "quantize.scheme": "none",
    },
    # Depthwise separable convolutions for small devices: Howard et al. 2017, arXiv 1704.04861; in 8-bit integers.
    "small_separable": {
        "student": "convnet",
        "convnet.width": 16,
        "convnet.block": "separable",
        "prune.ratio": 0.0,
        "quantize.scheme": "static_int8",
        "quantize.per_channel": True,
    },
    # The proportions of DeiT-Ti (three heads, feed-forward four times the width), at the depth and head width of a
    # small image: Touvron et al. 2020, arXiv 2012.12877.
    "deit_tiny_shape": {
        "student": "transformer",
        "transformer.layers": 6,
        "transformer.heads": 3,
        "transformer.head_width": 32,
        "transformer.ff_ratio": 4,
        "prune.ratio": 0.0,
        "quantize.scheme": "none",
    },
}

# How they are quantized is left to the space: papers compare 32-bit students, devices are given 8-bit ones.
_TEXT: dict[str, dict[str, Scalar]] = {
    # The same soft targets for an encoder with half of the teacher's layers, whole and evenly spaced.
    "hinton": {
        "student": "bert",
        "bert.layer_map": "spread",
        "distill.temperature": 4.0,
        "distill.soft_weight": 0.9,
        "distill.hard_weight": 0.1,
        "distill.hidden_weight": 0.0,
        "prune.ratio": 0.0,
    },
    # Every other layer; soft targets, labels and the direction of the last hidden states: Sanh et al. 2019, arXiv
    # 1910.01108, with its weights 5 : 2 : 1 (its masked words are our labels).
    "distilbert": {
        "student": "bert",
        "bert.layer_map": "spread",
        "distill.temperature": 2.0,
        "distill.soft_weight": 0.7,
        "distill.hard_weight": 0.3,
        "distill.hidden_weight": 0.1,
        "distill.hidden_of": "last",
        "prune.ratio": 0.0,
    },
    # Embeddings, hidden states and attention in a first stage, the answers in a second: Jiao et al. 2019, arXiv
    # 1909.10351.
    "tinybert": {
        "student": "bert",
        "bert.layer_map": "spread",
        "distill.temperature": 1.0,
        "distill.soft_weight": 1.0,
        "distill.hard_weight": 0.0,
        "distill.hidden_weight": 0.5,
        "distill.hidden_of": "all",
        "distill.attention_weight": 0.5,
        "distill.first_stage": 0.5,
        "prune.ratio": 0.0,
    },
    # Relations of the last layer's queries, keys and values, then the answers: Wang et al. 2020, arXiv 2012.15828.
    "minilm": {
        "student": "bert",
        "bert.layer_map": "last",
        "distill.temperature": 2.0,
        "distill.soft_weight": 1.0,
        "distill.hard_weight": 0.0,
        "distill.hidden_weight": 0.0,
        "distill.relation_weight": 0.5,
        "distill.first_stage": 0.5,
        "prune.ratio": 0.0,
    },
}

_BY_KIND = {"image": _IMAGE, "text": _TEXT}


def recipes(kind: str | None = None) -> dict[str, dict[str, Scalar]]:
    """Known recipes by name, of one kind of input or all (the first kind that has a name shows it).

    Each is a fresh, partial flat candidate for `SearchSpace.params_of`.
    """
    kinds = list(_BY_KIND) if kind is None else [kind]
    found: dict[str, dict[str, Scalar]] = {}
    for one in reversed(kinds):
        found.update({name: dict(flat) for name, flat in _BY_KIND.get(one, {}).items()})
    return found
