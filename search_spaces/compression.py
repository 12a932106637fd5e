"""The axes that all students share: distillation, pruning and quantization, with their widest bounds and defaults."""

from __future__ import annotations

from collections.abc import Sequence

from search_spaces.dimension import Choice, Dimension, Range

SCHEMES = ("none", "fp16", "dynamic_int8", "static_int8", "weight_int8")
PER_CHANNEL_SCHEMES = ("dynamic_int8", "static_int8")


def distill(augmentations: Sequence[str]) -> dict[str, Dimension]:
    """Axes of knowledge distillation (Hinton et al. 2015, arXiv 1503.02531) with hidden states (Romero et al. 2014).

    Weights multiply normalised terms; `augmentations` are those that the task can do.
    """
    return {
        "temperature": Range(1.0, 10.0, log=True, default=4.0),
        "soft_weight": Range(0.0, 1.0, default=0.9),
        "hard_weight": Range(0.0, 1.0, default=0.1),
        "hidden_weight": Choice((0.0, 0.1, 0.5, 1.0), default=0.0),
        "learning_rate": Range(3e-4, 1e-2, log=True, default=2e-3),
        "epochs": Range(1, 100, log=True, integer=True, default=8),
        "augment": Choice(tuple(augmentations)),
    }


def prune() -> dict[str, Dimension]:
    """Axes of structured pruning; all but `ratio` apply only where the ratio is above 0."""
    return {
        "ratio": Range(0.0, 0.7, step=0.1, default=0.0),
        "criterion": Choice(("magnitude", "taylor"), default="magnitude"),
        "round_to": Choice((4, 8), default=8),
        "recovery_epochs": Range(1, 20, log=True, integer=True, default=2),
    }


def quantize() -> dict[str, Dimension]:
    """Axes of quantization; `per_channel` applies only to schemes that round weights and activations to integers."""
    return {
        "scheme": Choice(SCHEMES, default="none"),
        "per_channel": Choice((True, False), default=True),
    }
