"""A student takes over the weights of a larger one of its family, name by name: the first rows and columns of each.

A part that only the larger one has is left out; what fits nowhere stays as it was built. As in networks that are
trained to be cut to a width (Yu et al. 2018, arXiv 1812.08928), what stays is the same first part in every layer, so
that it is read by the weights that have learned to read it.
"""

from __future__ import annotations

import torch
from torch import nn


def overlap(student: nn.Module, larger: nn.Module) -> float:
    """Copy into `student`, in place; the share of its numbers that are `larger`'s now."""
    given, taken, count = larger.state_dict(), 0, 0
    with torch.no_grad():
        for name, own in student.state_dict().items():
            count += own.numel()
            theirs = given.get(name)
            if (
                theirs is None
                or theirs.ndim != own.ndim
                or any(a < b for a, b in zip(theirs.shape, own.shape, strict=True))
            ):
                continue
            own.copy_(theirs[tuple(slice(size) for size in own.shape)])
            taken += own.numel()
    return taken / max(count, 1)
