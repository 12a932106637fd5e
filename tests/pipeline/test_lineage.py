"""Which candidates begin with a trained student, and with how much of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kin import candidate, record, space

from pipeline.lineage import begun, serves
from pipeline.record import UNPRUNED, trial_folder
from pipeline.student_files import SHAPE, WEIGHTS


def stored(search: Path, number: int = 3) -> Path:
    folder = trial_folder(search, number)
    folder.mkdir(parents=True)
    for name in (SHAPE, WEIGHTS):
        (folder / name).write_text("{}")
    return search


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


def test_a_pruned_student_serves_while_it_is_stored_as_it_was_before(tmp_path: Path) -> None:
    whole, pruned = record(candidate(space())), record(candidate(space(), **{"prune.ratio": 0.3}), number=4)
    assert not serves(whole, tmp_path)
    stored(tmp_path), stored(tmp_path, 4)
    assert serves(whole, tmp_path) and not serves(pruned, tmp_path)
    trial_folder(stored(tmp_path / "before"), 3).rename(trial_folder(tmp_path, 4) / UNPRUNED)
    assert serves(pruned, tmp_path)
