"""Stratified, seeded choices of rows; pure."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def stratified(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """`count` row numbers in ascending order, each class with its share to within one row."""
    rng = np.random.default_rng(seed)
    classes, sizes = np.unique(labels, return_counts=True)
    if count >= len(labels):
        return np.arange(len(labels))
    ideal = sizes * (count / len(labels))
    quota = np.floor(ideal).astype(int)
    # The rows left over go to the largest remainders; equal remainders are drawn, or the first classes always won.
    order = np.lexsort((rng.random(len(classes)), quota - ideal))
    quota[order[: count - quota.sum()]] += 1
    chosen = [
        rng.permutation(np.flatnonzero(labels == name))[:share] for name, share in zip(classes, quota, strict=True)
    ]
    return np.sort(np.concatenate(chosen))


def cut(labels: np.ndarray, fractions: Mapping[str, float], seed: int) -> dict[str, np.ndarray]:
    """Disjoint ascending row numbers: one slice per name, its fraction of all rows, and the rest as `train`."""
    left = np.arange(len(labels))
    slices = {}
    for place, (name, fraction) in enumerate(sorted(fractions.items())):
        taken = stratified(labels[left], round(fraction * len(labels)), seed + place)
        slices[name] = left[taken]
        left = np.delete(left, taken)
    return {**slices, "train": left}
