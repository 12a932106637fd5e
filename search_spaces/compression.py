"""The axes that all students share: distillation, pruning and quantization, with their widest bounds and defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from search_spaces.candidate import Scalar
from search_spaces.dimension import Choice, Dimension, Range

SCHEMES = ("none", "fp16", "dynamic_int8", "static_int8", "weight_int8", "qat_int8")
TRAINED_SCHEMES = frozenset({"qat_int8"})  # learned by the student, so nothing for the teacher as it is
_REFINES = {"per_channel": ("dynamic_int8", "static_int8"), "aware_epochs": ("qat_int8",)}

# Terms that compare a student with the teacher piece by piece: not sampled where the student reads other pieces.
ALIGNED = frozenset({"attention_weight", "relation_weight", "hidden_of", "first_stage"})


def distill(kind: str, augmentations: Sequence[str]) -> dict[str, Dimension]:
    """Axes of knowledge distillation (Hinton et al. 2015, arXiv 1503.02531) with hidden states (Romero et al. 2014).

    Weights multiply normalised terms; `augmentations` are those that the task can do. `kind` is that of the inputs:
    students of texts begin with the teacher's weights, which a rate for fresh weights would destroy.
    """
    fresh = kind == "image"
    rate = Range(3e-4, 1e-2, log=True, default=2e-3) if fresh else Range(1e-5, 1e-3, log=True, default=1e-4)
    epochs = Range(1, 100, default=8, log=True, integer=True) if fresh else Range(1, 10, default=2, integer=True)
    axes: dict[str, Dimension] = {
        "temperature": Range(1.0, 10.0, log=True, default=4.0 if fresh else 2.0),
        "soft_weight": Range(0.0, 1.0, default=0.9),
        "hard_weight": Range(0.0, 1.0, default=0.1),
        "hidden_weight": Choice((0.0, 0.1, 0.5, 1.0), default=0.0),
        "learning_rate": rate,
        "epochs": epochs,
        "augment": Choice(tuple(augmentations)),
    }
    return axes if fresh else {**axes, **_inside()}


def _inside() -> dict[str, Dimension]:
    """What an encoder can learn of its teacher's inside; `first_stage` is the share of epochs that learn only that.

    Hidden states are compared by cosine in the last layer (DistilBERT, arXiv 1910.01108), by squares in all layers
    (TinyBERT, arXiv 1909.10351, which also compares attention), or as the pooled features that the classifier reads;
    relations are those of the last layer's queries, keys and values (MiniLM v2, arXiv 2012.15828).
    """
    return {
        "attention_weight": Choice((0.0, 0.1, 0.5, 1.0), default=0.0),
        "relation_weight": Choice((0.0, 0.1, 0.5, 1.0), default=0.0),
        "hidden_of": Choice(("pooled", "last", "all"), default="pooled"),
        "first_stage": Choice((0.0, 0.25, 0.5), default=0.0),
    }


def applies(axis: str, chosen: Mapping[str, Scalar]) -> bool:
    """Whether a distillation axis means anything beside the values chosen before it (names without prefix)."""
    if axis == "hidden_of":
        return bool(chosen.get("hidden_weight"))
    if axis == "first_stage":
        hidden = chosen.get("hidden_of", "pooled") != "pooled"
        return hidden or bool(chosen.get("attention_weight")) or bool(chosen.get("relation_weight"))
    return True


def prune() -> dict[str, Dimension]:
    """Axes of structured pruning; all but `ratio` apply only where the ratio is above 0."""
    return {
        "ratio": Range(0.0, 0.7, step=0.1, default=0.0),
        "criterion": Choice(("magnitude", "taylor"), default="magnitude"),
        "round_to": Choice((4, 8), default=8),
        "recovery_epochs": Range(1, 20, log=True, integer=True, default=2),
    }


def quantize(kind: str) -> dict[str, Dimension]:
    """Axes of quantization; `refines` says which of them mean something to a scheme.

    `kind` is that of the inputs: an encoder of texts is nothing but matrix products, which are cheap in 8 bits.
    """
    return {
        "scheme": Choice(SCHEMES, default="dynamic_int8" if kind == "text" else "none"),
        "per_channel": Choice((True, False), default=True),
        "aware_epochs": Choice((1, 2), default=1),
    }


def refines(axis: str, scheme: Scalar) -> bool:
    """Whether an axis of quantization (without prefix) means anything under a scheme."""
    return scheme in _REFINES[axis]
