"""One tokenizer per view: the teacher's, trimmed or not, cut at the view's length."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from pipeline.errors import ConfigError, near
from pipeline.tasks._pretrained import digest
from pipeline.tasks._same_tokenizer import PADS
from pipeline.tasks._trim import trimmed

VOCABULARIES = ("full", "used")


class Tokenizers:
    """Tokenizers by view, `{"max_length": pieces, "vocabulary": "full" | "used"}`; each is made once.

    `kept()` gives the int64 ids that "used" keeps, ascending, None where nothing can be trimmed.
    """

    def __init__(self, teachers: Tokenizer, kept: Callable[[], np.ndarray | None]) -> None:
        self._teachers = teachers
        self._kept = kept
        self._made: dict[tuple[int, str], tuple[Tokenizer, str]] = {}

    def of(self, view: Mapping[str, Any]) -> Tokenizer:
        """It cuts the longer of two texts first, keeps the special pieces, and does not pad. Errors: ConfigError."""
        return self._entry(view)[0]

    def digest(self, view: Mapping[str, Any]) -> str:
        """Hex SHA-256 of the view's tokenizer."""
        return self._entry(view)[1]

    def pad(self, view: Mapping[str, Any]) -> int:
        """The id that fills a batch up; any will do, since it is masked."""
        known = (self.of(view).token_to_id(name) for name in PADS)
        return next((number for number in known if number is not None), 0)

    def kept(self, view: Mapping[str, Any]) -> np.ndarray | None:
        """int64 ids of the teacher's pieces that the view has left, None for all."""
        return self._kept() if view["vocabulary"] == "used" else None

    def _entry(self, view: Mapping[str, Any]) -> tuple[Tokenizer, str]:
        length, vocabulary = int(view["max_length"]), str(view["vocabulary"])
        if vocabulary not in VOCABULARIES:
            raise ConfigError(f"no vocabulary named {vocabulary!r}{near(vocabulary, VOCABULARIES)}")
        if (length, vocabulary) not in self._made:
            kept = self.kept(view)
            own = Tokenizer.from_str(self._teachers.to_str()) if kept is None else trimmed(self._teachers, kept)
            own.enable_truncation(length)
            self._made[length, vocabulary] = own, digest(own)
        return self._made[length, vocabulary]
