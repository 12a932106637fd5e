"""Some of many, spread evenly: for pictures and rankings that all of a long search would only make slower."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")


def thinned(items: Sequence[Item], most: int) -> list[Item]:
    """At most so many of the items, in their order, evenly spread from the first to the last."""
    if len(items) <= most:
        return list(items)
    step = (len(items) - 1) / max(1, most - 1)
    return [items[round(place * step)] for place in range(most)]
