"""What trained students serve in a search, on stored files and made-up records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import synthetic
from kin import candidate, record, space
from test_lineage import stored

from pipeline.record import UNPRUNED, TrialRecord, trial_folder
from pipeline.search.serving import Serving
from pipeline.workspace import Workspace
from search_spaces.candidate import Candidate


def serving(root: Path, records: list[TrialRecord], **changes: Any) -> Serving:
    config = synthetic.config(20, **{"sampler": "tpe", "trials": {"harvest": 4}, **changes})
    return Serving(config, Workspace(root, "one"), space(), records)


def test_who_begins_with_a_student_has_its_seed(tmp_path: Path) -> None:
    parent = record(Candidate(candidate(space()).values, 7))
    other = candidate(space(), **{"quantize.scheme": "fp16"})
    room = serving(tmp_path, [parent])
    assert room.start_of(other) is None and room.as_trained(other) == other  # no file is there
    stored(room.workspace.folder)
    start = room.start_of(other)
    assert start is not None and start.number == 3
    assert room.as_trained(other) == Candidate(other.values, 7)
    assert serving(tmp_path, [parent], trials={"harvest": 0}).start_of(other) is None  # none is to serve
    otherwise = candidate(space(), **{"distill.temperature": 2.0})
    assert room.start_of(otherwise) is None and room.as_trained(otherwise) == otherwise


def test_what_is_tried_at_once_is_new_and_no_more_than_asked_for(tmp_path: Path) -> None:
    parent = record(candidate(space()))
    room = serving(tmp_path, [parent], trials={"harvest": 2})
    assert room.at_once(parent) == []  # nothing is stored
    stored(room.workspace.folder)
    first, second = room.at_once(parent)
    room.records.append(record(first[0], number=4).with_(trained_by=3))
    (left,) = room.at_once(parent)
    assert left[0].key == second[0].key


def test_for_a_sampler_that_is_to_choose_only_what_takes_no_epoch_is_tried_at_once(tmp_path: Path) -> None:
    parent = record(candidate(space()))
    room, asking = (serving(tmp_path, [parent], sampler=name) for name in ("tpe", "device_aware"))
    stored(room.workspace.folder)
    ratios = [one.section("prune")["ratio"] for one, _ in room.at_once(parent)]
    assert ratios == [0.3, 0.5, 0.0, 0.0]
    found = [one for one, _ in asking.at_once(parent)]
    assert found and all(one.section("prune") == parent.candidate.section("prune") for one in found)
    left = trial_folder(asking.workspace.folder, parent.number) / UNPRUNED
    left.mkdir(parents=True)
    asking.has_served(parent)
    assert left.exists()  # the others may be asked for later
    room.has_served(parent)
    assert not left.exists()


def test_the_last_student_before_a_sampler_begins_to_choose_serves_as_those_before_it(tmp_path: Path) -> None:
    """What makes it know enough was not chosen by it; what comes after that is its own choice."""
    records = [
        record(candidate(space(), **{"distill.temperature": temperature}), number=number, metrics={"accuracy": 0.9})
        for number, temperature in ((2, 2.0), (3, 4.0), (4, 8.0))
    ]
    changes = {"sampler": {"name": "device_aware", "startup_trials": 1}, "trials": {"harvest": 4}}
    room = serving(tmp_path, records, **changes)
    for number in (2, 3, 4):
        stored(room.workspace.folder, number)
    assert [bool(room.at_once(parent)) for parent in records] == [True, True, False]


def test_students_before_pruning_stay_for_those_who_lend(tmp_path: Path) -> None:
    pruned = {"prune.ratio": 0.3}
    records = [record(candidate(space(), **pruned), number=number) for number in (3, 4)]
    room = serving(tmp_path, records)
    places = [trial_folder(room.workspace.folder, number) / UNPRUNED for number in (3, 4)]
    for place in places:
        place.mkdir(parents=True)
    room.keep_only({4})
    assert [place.exists() for place in places] == [False, True]
    room.has_served(records[1])
    assert not places[1].exists()
