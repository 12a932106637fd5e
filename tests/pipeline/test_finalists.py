"""The front's students and their near ties."""

from __future__ import annotations

import pytest
from records_helper import make_record

from pipeline.finalists import finalists
from pipeline.record import TrialRecord
from search_spaces.candidate import Candidate

OBJECTIVES = ("accuracy", "latency_p50_ms")


def by_points(points: float):  # type: ignore[no-untyped-def]
    """A paired test that tells qualities apart from so many points on."""
    return lambda a, b: abs(a.metrics["accuracy"] - b.metrics["accuracy"]) < points / 100


def test_the_front_then_what_nothing_is_certainly_better_than() -> None:
    records = [
        make_record(0, 0.95, 9.0, student="identity", scheme="static_int8"),
        make_record(1, 0.90, 5.0),
        make_record(2, 0.80, 1.0),
        make_record(3, 0.895, 5.05),  # less accurate and slower than 1, by less than is known of either
        make_record(4, 0.895, 6.0),  # certainly slower than 1
        make_record(5, 0.85, 5.05),  # certainly less accurate than 1
    ]
    assert finalists(records, OBJECTIVES, by_points(1)) == [2, 1, 3]
    assert finalists(records, OBJECTIVES, by_points(0)) == [2, 1]
    assert finalists(records, OBJECTIVES, by_points(10)) == [2, 1, 3, 5]


def test_what_cannot_ship_is_no_near_tie() -> None:
    first = make_record(1, 0.90, 5.0)
    busy = make_record(2, 0.899, 5.01)
    busy = busy.with_(measurement={**(busy.measurement or {}), "latency": {"unreliable": True}})
    assert busy.unreliable
    over = make_record(3, 0.899, 5.01, violations={"latency_p50_ms": 1.0})
    failed = make_record(4, 0.899, 5.01, end="failed")
    assert finalists([first, busy, over, failed], OBJECTIVES, by_points(1)) == [1]


@pytest.mark.parametrize("accuracy", [0.5, 0.95])
def test_finals_change_nothing(accuracy: float) -> None:
    """A run that is killed and started again goes on with the same students, however their finals came out."""
    records: list[TrialRecord] = [make_record(1, 0.90, 5.0), make_record(2, 0.895, 5.05), make_record(3, 0.7, 4.0)]
    before = finalists(records, OBJECTIVES, by_points(1))
    final = make_record(4, accuracy, 3.0)
    final = final.with_(final_of=3, candidate=Candidate(final.candidate.values, 1003))
    assert finalists([*records, final], OBJECTIVES, by_points(1)) == before == [3, 1, 2]


def test_a_search_without_students_has_none() -> None:
    assert finalists([make_record(0, student="identity")], OBJECTIVES, by_points(1)) == []
