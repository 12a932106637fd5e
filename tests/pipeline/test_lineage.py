"""Which candidates begin with a trained student, and with how much of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import search_spaces
from pipeline.lineage import begun, lends, siblings
from pipeline.record import UNPRUNED, TrialRecord, trial_folder
from pipeline.student_files import SHAPE, WEIGHTS
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


def stored(search: Path, number: int = 3) -> Path:
    folder = trial_folder(search, number)
    folder.mkdir(parents=True)
    for name in (SHAPE, WEIGHTS):
        (folder / name).write_text("{}")
    return search


def test_the_ladder_comes_first_then_8_bits_then_the_rest() -> None:
    plain = candidate(space(), **{"quantize.scheme": "dynamic_int8"})
    found = siblings(plain, space())
    assert [(flat["prune.ratio"], flat["quantize.scheme"]) for flat in found] == [
        (0.3, "dynamic_int8"),
        (0.5, "dynamic_int8"),
        (0.0, "static_int8"),
        (0.0, "weight_int8"),
        (0.0, "none"),
        (0.0, "fp16"),
    ]
    assert all(not isinstance(space().params_of(flat), str) for flat in found)


def test_a_narrow_space_has_fewer_siblings() -> None:
    narrow = space(prune={"ratio": 0}, quantize={"scheme": ["none", "fp16"]})
    (only,) = siblings(candidate(narrow), narrow)
    assert only["quantize.scheme"] == "fp16"


def test_the_ladder_of_a_pruned_student_begins_unpruned() -> None:
    taught = {"prune.criterion": "taylor", "prune.recovery_epochs": 2, "quantize.scheme": "fp16"}
    wide = space(prune={"criterion": ["magnitude", "taylor"]})
    pruned = candidate(wide, **{"prune.ratio": 0.5, **taught})
    found = siblings(pruned, wide)
    assert [flat["prune.ratio"] for flat in found[:2]] == [0.0, 0.3]
    assert [flat.get("prune.criterion") for flat in found[:2]] == [None, "taylor"]
    assert {flat["prune.ratio"] for flat in found[2:]} == {0.5} and len(found) == 6
    assert siblings(pruned, space(prune={"ratio": 0.5}))[0]["quantize.scheme"] != "fp16"  # 0 is not in the space


@pytest.mark.parametrize(
    ("changes", "pruned"),
    [({"quantize.scheme": "fp16"}, True), ({"prune.ratio": 0.3}, False), ({"distill.temperature": 2.0}, None)],
    ids=["quantized otherwise", "pruned", "distilled otherwise"],
)
def test_what_is_taken_over(changes: dict[str, Any], pruned: bool | None, tmp_path: Path) -> None:
    parent = record(candidate(space()))
    other = candidate(space(), **changes)
    assert begun(other, parent, tmp_path) is None  # no file is there
    start = begun(other, parent, stored(tmp_path))
    assert (start and start.pruned) == pruned
    if start:
        assert start.number == 3 and (start.folder / WEIGHTS).exists()


def test_a_pruned_student_is_not_taken_for_a_whole_one(tmp_path: Path) -> None:
    parent = record(candidate(space(), **{"prune.ratio": 0.3}))
    stored(tmp_path)
    others = [candidate(space()), candidate(space(), **{"prune.ratio": 0.5})]
    assert [begun(other, parent, tmp_path) for other in others] == [None, None]
    before = tmp_path / "before"
    stored(before)
    trial_folder(before, 3).rename(trial_folder(tmp_path, 3) / UNPRUNED)
    for other in others:
        start = begun(other, parent, tmp_path)
        assert start is not None and not start.pruned and start.folder.name == UNPRUNED
    same = begun(candidate(space(), **{"prune.ratio": 0.3, "quantize.scheme": "fp16"}), parent, tmp_path)
    assert same is not None and same.pruned and same.folder.name != UNPRUNED


@pytest.mark.parametrize(
    "changes",
    [{"end": "failed"}, {"trained_by": 1}, {"final_of": 1}, {"same_as": 1}],
    ids=["failed", "harvested", "final", "duplicate"],
)
def test_who_lends_nothing(changes: dict[str, Any]) -> None:
    assert lends(record(candidate(space())))
    assert not lends(record(candidate(space()), **changes))
    assert not lends(record(candidate(space(), **{"quantize.scheme": "qat_int8"})))
    assert not lends(record(Candidate.of({"student": "identity", "quantize.scheme": "none"}, 0)))
