"""One point of a search space: plain, frozen, hashable."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

Scalar = bool | int | float | str


@dataclass(frozen=True)
class Candidate:
    """What one trial tries: sorted flat pairs such as `("distill.temperature", 4.0)`, and the seed."""

    values: tuple[tuple[str, Scalar], ...]
    seed: int

    @classmethod
    def of(cls, flat: Mapping[str, Scalar], seed: int) -> Candidate:
        """From a flat mapping."""
        return cls(tuple(sorted(flat.items())), seed)

    @cached_property
    def key(self) -> str:
        """16 hex digits that equal candidates share; the seed is left out."""
        return hashlib.sha256(json.dumps(self.values).encode()).hexdigest()[:16]

    @property
    def student(self) -> str:
        """The family's name, or `identity` for the teacher itself."""
        return str(dict(self.values)["student"])

    def flat(self) -> dict[str, Scalar]:
        """Readable names and values, as MLflow shows them."""
        return dict(self.values)

    def section(self, name: str) -> dict[str, Scalar]:
        """The values below `name.`, without the prefix; empty where there are none."""
        return {key.removeprefix(f"{name}."): value for key, value in self.values if key.startswith(f"{name}.")}
