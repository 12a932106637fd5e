"""Candidates of one space, and records of them, for tests of what one training serves."""

from __future__ import annotations

from typing import Any

import search_spaces
from pipeline.record import TrialRecord
from search_spaces import ImageInput, SearchSpace
from search_spaces.candidate import Candidate

INPUT = ImageInput(channels=1, size=16, classes=10)


def space(**changes: Any) -> SearchSpace:
    plain = {"students": ["transformer", "identity"], "distill": {"epochs": 4}, **changes}
    return search_spaces.load(plain, input=INPUT, augmentations=["none"])


def candidate(of: SearchSpace, **changes: Any) -> Candidate:
    params = of.params_of({"student": "transformer", **changes})
    assert not isinstance(params, str), params

    class Given:
        def __getattr__(self, _: str) -> Any:
            return lambda name, *_, **__: params[name]

    return of.sample(Given(), 7)  # type: ignore[arg-type]


def record(of: Candidate, **changes: Any) -> TrialRecord:
    return TrialRecord(**{"number": 3, "candidate": of, "end": "complete", **changes})
