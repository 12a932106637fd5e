"""What one training serves, who lends it, and what it takes."""

from __future__ import annotations

import math
from typing import Any

import pytest
from kin import candidate, record, space

from pipeline.harvest import LATEST, Training, epochs_more, lenders, lends, serving_s, siblings, training
from pipeline.pareto import front
from pipeline.record import TrialRecord
from search_spaces.candidate import Candidate

OBJECTIVES = ("accuracy", "latency_p50_ms")


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
    "changes",
    [{"end": "failed"}, {"trained_by": 1}, {"final_of": 1}, {"same_as": 1}],
    ids=["failed", "harvested", "final", "duplicate"],
)
def test_who_lends_nothing(changes: dict[str, Any]) -> None:
    assert lends(record(candidate(space())))
    assert not lends(record(candidate(space()), **changes))
    assert not lends(record(candidate(space(), **{"quantize.scheme": "qat_int8"})))
    assert not lends(record(Candidate.of({"student": "identity", "quantize.scheme": "none"}, 0)))


def trained(number: int, accuracy: float, **changes: Any) -> TrialRecord:
    """Equally fast students, so the most accurate one alone is the front."""
    one = candidate(space(), **{"distill.temperature": 1.0 + number / 4})
    return record(one, **{"number": number, "metrics": {"accuracy": accuracy, "latency_p50_ms": 1.0}, **changes})


def lending(records: list[TrialRecord], most: int) -> dict[Training, TrialRecord]:
    own = [record for record in records if record.counts and record.final_of is None]
    return lenders(records, front(own, OBJECTIVES), most)


def test_the_front_and_the_latest_lend() -> None:
    records = [trained(number, 0.9 if number == 1 else 0.5) for number in range(LATEST + 4)]
    found = lending(records, 2)
    assert [parent.number for parent in found.values()] == [1, *range(4, LATEST + 4)]
    assert all(taught == training(parent.candidate) for taught, parent in found.items())
    assert lending(records, 0) == {}


def test_whom_enough_have_begun_with_serves_no_more() -> None:
    records = [trained(0, 0.9), trained(1, 0.8)]
    served = [records[0].with_(number=number, trained_by=0) for number in (2, 3)]
    assert [one.number for one in lending([*records, *served], 2).values()] == [1]
    assert [one.number for one in lending([*records, *served], 3).values()] == [0, 1]
    final = served[1].with_(final_of=2)  # taught anew: it begins with nobody's student
    assert [one.number for one in lending([*records, served[0], final], 2).values()] == [0, 1]


def test_seconds_of_who_begins_with_a_student() -> None:
    taught = {"distill.epochs": 4}
    seconds = {"screen": 5.0, "inherit": 1.0, "distill": 40.0, "export": 2.0, "quantize": 1.0, "measure": 10.0}
    parent = record(candidate(space(), **taught), seconds=seconds)
    assert serving_s(candidate(space(), **taught, **{"quantize.scheme": "fp16"}), parent) == 13.0
    pruned = candidate(space(), **taught, **{"prune.ratio": 0.3, "prune.recovery_epochs": 2})
    assert serving_s(pruned, parent) == 13.0 + 2 * 40.0 / 4
    rounded = candidate(space(), **taught, **{"quantize.scheme": "qat_int8", "quantize.aware_epochs": 1})
    assert serving_s(rounded, parent) == 13.0 + 40.0 / 4
    own = parent.candidate
    assert (epochs_more(pruned, own), epochs_more(rounded, own), epochs_more(own, pruned)) == (2.0, 1.0, 0.0)
    for elsewhere in (
        parent.with_(seconds={name: s for name, s in seconds.items() if name != "distill"}),  # lent by another search
        parent.with_(resumed_from=3),  # its seconds are of its last part
    ):
        assert math.isnan(serving_s(pruned, elsewhere)) and math.isnan(serving_s(rounded, elsewhere))
        assert serving_s(candidate(space(), **taught, **{"quantize.scheme": "fp16"}), elsewhere) == 13.0
    whole = candidate(space(), **taught)
    assert serving_s(whole, record(pruned, seconds={**seconds, "prune": 3.0, "recover": 9.0})) == 13.0
