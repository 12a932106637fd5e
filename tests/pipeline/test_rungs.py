"""Who goes on from a rung: the rule alone, on made-up standings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from pipeline.record import TrialRecord
from pipeline.rungs import (
    SHORTEST,
    Terms,
    at_rung,
    deserving,
    expendable,
    going_on,
    inside_first,
    standing,
    verdict,
)
from search_spaces.candidate import Candidate

TEACHER = {"accuracy": 0.95, "latency_p50_ms": 20.0, "energy_mj": 90.0, "size_mb": 40.0}
OBJECTIVES = ("accuracy", "latency_p50_ms", "size_mb")


def terms(**changes: Any) -> Terms:
    values: dict[str, Any] = {"objectives": OBJECTIVES, "budget": {}, "teacher": TEACHER, "chance": {"accuracy": 0.1}}
    return Terms(**{**values, "reduction": 3, **changes})


def student(
    number: int, accuracy: float, latency: float = 5.0, size: float = 1.0, *, epochs: int = 4, rung: int = 1,
    end: str = "stopped", first: float = 0.0, **changes: Any,
) -> TrialRecord:  # fmt: skip
    """A student that has just come to `rung` with this accuracy there."""
    flat = {"student": "convnet", "number": number, "distill.epochs": epochs, "distill.first_stage": first}
    curve = tuple({"epoch": epoch, "rung_accuracy": accuracy} for epoch in range(1, rung + 1))
    device = {"latency_p50_ms": latency, "size_mb": size}
    return TrialRecord(
        number, Candidate.of(flat, number), end, curve=curve, screened=device, rung=rung if end == "stopped" else None,
        **changes,
    )  # fmt: skip


def chosen(records: Sequence[TrialRecord], **changes: Any) -> set[int]:
    found = at_rung(records, 1, terms(**changes))
    return {found[place].point.number for place in going_on(found, terms(**changes))}


def test_the_first_one_goes_on_and_so_does_whoever_is_best_in_something() -> None:
    alone = student(0, 0.2)
    assert verdict(alone, [], 1, terms()).goes_on
    assert chosen([alone, student(1, 0.1, latency=4.0), student(2, 0.1, size=0.9)]) == {0, 1, 2}


def test_a_beaten_one_stops_and_says_by_whom_and_how_far() -> None:
    better, tied = student(0, 0.8, latency=4.0), student(1, 0.75)
    found = verdict(student(2, 0.7), [better, tied], 1, terms(reduction=4))
    assert (found.goes_on, found.of, found.beaten_by) == (False, 3, (0, 1))
    assert found.shortfall == pytest.approx(0.1)
    same = verdict(student(2, 0.8), [better], 1, terms())
    assert not same.goes_on and same.shortfall == SHORTEST  # a constraint of 0 would hold


def test_one_in_reduction_goes_on_by_layer_and_then_by_contribution() -> None:
    front = student(0, 0.9, latency=1.0, size=0.5)
    second = [student(1, 0.8, latency=2.0), student(2, 0.79, latency=1.99), student(3, 0.5, latency=1.5)]
    third = [student(number, 0.4 - number / 100, latency=3.0, size=2.0) for number in range(4, 6)]
    records = [front, *second, *third]
    assert chosen(records, reduction=6) == {0}
    # of the second layer 1 and 2 stand side by side, so each adds little; 3 has its corner for itself
    assert chosen(records, reduction=3) == {0, 3}
    assert chosen(records, reduction=2) == {0, 3, 1}


def test_a_stopped_one_deserves_to_go_on_once_enough_have_come() -> None:
    front, stopped = student(0, 0.9, latency=1.0, end="complete"), student(1, 0.8, latency=2.0)
    worse = [student(number, 0.5 - number / 100, latency=3.0) for number in range(2, 6)]
    assert deserving([front, stopped, *worse[:3]], [1], terms()) == []
    assert deserving([front, stopped, *worse], [1], terms()) == [stopped]
    went_on = stopped.with_(continued_in=9)
    again = stopped.with_(number=9, resumed_from=1, end="complete", rung=None)
    assert deserving([front, went_on, *worse, again], [1], terms()) == []
    assert deserving([front, went_on, *worse, again.with_(end="interrupted")], [1], terms()) == []


def test_higher_rungs_come_first() -> None:
    def many(rung: int, begin: int) -> list[TrialRecord]:
        return [student(begin + each, 0.9 - each / 10, rung=rung) for each in range(6)]

    low, high = many(1, 0), many(2, 10)
    assert [record.rung for record in deserving([*low, *high], [1, 2], terms())][:1] == [2]
    assert expendable([*low, *high])[0].number == 0  # no shortfall is told: the earliest
    far = low[3].with_(violations={"stopped": 0.4})
    assert expendable([*low, far.with_(number=99), *high])[0].number == 99


def test_a_short_training_does_not_beat_a_longer_one() -> None:
    ahead, slow = student(0, 0.9, epochs=2), student(1, 0.5, epochs=8)
    assert chosen([ahead, slow]) == {0, 1}
    assert chosen([student(0, 0.9, epochs=8), student(1, 0.5, epochs=2)]) == {0}


def test_epochs_that_learn_the_inside_only_are_no_standing() -> None:
    inside = student(0, 0.1, epochs=4, first=0.5, rung=3)
    assert inside_first(inside.candidate) == 2
    assert [standing(inside, rung, terms()) is None for rung in (1, 2, 3, 4)] == [True, True, False, True]
    assert verdict(inside, [student(1, 0.9, rung=2)], 2, terms()).goes_on
    # at rung 3 it has learned the answers for one epoch: those that did so for three are no measure for it
    assert verdict(inside, [student(1, 0.9, rung=3)], 3, terms()).goes_on
    assert not verdict(inside, [student(1, 0.9, rung=3, first=0.5)], 3, terms()).goes_on


def test_what_never_was_at_the_rung_or_broke_is_not_compared() -> None:
    records = [
        student(0, 0.9, end="failed"),
        student(1, 0.9, end="complete", final_of=0),
        student(2, 0.9, end="complete", trained_by=0),
        student(3, 0.9, end="complete", epochs=1),
        student(4, 0.9, end="refused").with_(curve=()),
        student(5, 0.9, end="complete").with_(screened={}),
        student(6, 0.9, same_as=0),
    ]
    assert verdict(student(9, 0.1), records, 1, terms()).of == 1


def test_one_over_the_budget_beats_nobody_within_it() -> None:
    heavy, light = student(0, 0.9, latency=1.0, size=1.0), student(1, 0.5, latency=2.0, size=1.0)
    over = heavy.with_(screened={**heavy.screened, "macs_m": 9.0})
    within = light.with_(screened={**light.screened, "macs_m": 4.0})
    assert chosen([over, within], budget={"macs_m": 5.0, "accuracy": 0.99}) == {0, 1}
    assert chosen([over, within], budget={"macs_m": 10.0}) == {0}
    assert chosen([over, within], budget={"macs_m": 1.0}) == {0}


MORE = ("accuracy", "latency_p50_ms", "energy_mj")  # a screen reads no counter; a trial does


def metered(number: int, accuracy: float, latency: float, **changes: Any) -> TrialRecord:
    """A trained student whose energy a counter has measured since."""
    figures = {"accuracy": 0.5, "latency_p50_ms": latency, "size_mb": 1.0, "energy_mj": 9.0}
    return student(number, accuracy, latency, end="complete", metrics=figures, **changes)


def test_a_figure_that_only_trained_students_have_decides_nothing() -> None:
    slow_and_bad, new = metered(0, 0.3, 15.0), student(1, 0.9, latency=1.0)
    assert verdict(new, [slow_and_bad], 1, terms(objectives=MORE)).goes_on
    worse = student(2, 0.2, latency=16.0)
    assert verdict(worse, [slow_and_bad], 1, terms(objectives=MORE)).beaten_by == (0,)
    assert verdict(worse, [slow_and_bad], 1, terms(objectives=MORE, budget={"energy_mj": 5.0})).beaten_by == (0,)


def test_stopped_students_are_ranked_beside_trained_ones_that_have_more_figures() -> None:
    stopped = [student(number, 0.5 - number / 100, latency=2.0 + number) for number in range(1, 7)]
    found = deserving([metered(0, 0.9, 1.0), *stopped], [1], terms(objectives=MORE))
    assert [record.number for record in found] == [1]


def test_where_no_figure_of_the_device_is_known_of_all_nobody_is_beaten() -> None:
    """By accuracy alone the largest would win."""
    only = terms(objectives=("accuracy", "cpu_ms"))
    known = student(0, 0.9, end="complete", metrics={"accuracy": 0.9, "cpu_ms": 5.0})
    assert verdict(student(1, 0.2), [known], 1, only).goes_on
    assert verdict(student(1, 0.2), [known], 1, terms(objectives=("accuracy",))).beaten_by == (0,)


def test_a_percentile_that_a_screen_lacks_is_compared_by_its_median() -> None:
    """Trained or not: what one has measured since is no more than the others' medians."""
    only = terms(objectives=("accuracy", "latency_p99_ms"))
    trained = student(
        0, 0.9, 4.0, end="complete", metrics={"accuracy": 0.9, "latency_p50_ms": 4.0, "latency_p99_ms": 9.0}
    )
    assert verdict(student(1, 0.5, latency=5.0), [trained], 1, only).beaten_by == (0,)
    assert verdict(student(1, 0.5, latency=3.0), [trained], 1, only).goes_on
    assert [record.number for record in deserving([trained, student(1, 0.5), student(2, 0.4, 3.0)], [1], only)] == [2]


def test_its_own_earlier_record_is_no_peer() -> None:
    before = student(1, 0.7)
    again = before.with_(number=8)
    assert verdict(again, [student(0, 0.9), before], 1, terms()).of == 2


CASES = st.lists(
    st.tuples(st.integers(0, 6), st.integers(1, 4), st.integers(1, 4), st.sampled_from([2, 4])), min_size=1, max_size=14
)


def drawn(cases: Sequence[tuple[int, int, int, int]]) -> list[TrialRecord]:
    return [
        student(number, accuracy / 10, float(latency), float(size), epochs=epochs)
        for number, (accuracy, latency, size, epochs) in enumerate(cases)
    ]


def beats(a: TrialRecord, b: TrialRecord) -> bool:
    """The rule once more, in plain words, for two students within the budget."""
    ours, theirs = ((r.curve[0]["rung_accuracy"], *(-r.screened[name] for name in OBJECTIVES[1:])) for r in (a, b))
    longer = a.candidate.section("distill")["epochs"] >= b.candidate.section("distill")["epochs"]
    return longer and ours != theirs and all(x >= y for x, y in zip(ours, theirs, strict=True))


@settings(max_examples=60, deadline=None)
@given(CASES, st.integers(2, 5))
def test_all_that_nobody_beats_and_a_share_at_least_go_on(cases: list[Any], reduction: int) -> None:
    records = drawn(cases)
    found = chosen(records, reduction=reduction)
    unbeaten = {b.number for b in records if not any(beats(a, b) for a in records)}
    assert unbeaten <= found
    assert len(found) == max(len(unbeaten), len(records) // reduction)
    for number in found - unbeaten:  # nobody is passed over for somebody that it beats
        assert not any(beats(other, records[number]) for other in records if other.number not in found)


@settings(max_examples=40, deadline=None)
@given(CASES, st.randoms())
def test_the_order_in_which_they_came_does_not_matter(cases: list[Any], random: Any) -> None:
    records = drawn(cases)
    shuffled = records[:]
    random.shuffle(shuffled)
    assert chosen(records) == chosen(shuffled)


@settings(max_examples=40, deadline=None)
@given(CASES)
def test_judged_alone_or_among_all_is_the_same(cases: list[Any]) -> None:
    records = drawn(cases)
    found = chosen(records)
    for record in records:
        peers = [other for other in records if other is not record]
        # verdict puts the student last, and ties between equals go to the earlier number: the same either way
        assert verdict(record, peers, 1, terms()).goes_on == (record.number in found)


@settings(max_examples=40, deadline=None)
@given(CASES)
def test_what_others_think_of_a_student_does_not_change_when_a_worse_one_comes(cases: list[Any]) -> None:
    records = drawn(cases)
    worse = student(len(records), -0.1, 9.0, 9.0, epochs=2)
    assert chosen(records) <= chosen([*records, worse])


def test_a_thousand_students_are_judged_in_no_time() -> None:
    import time

    random = np.random.default_rng(0)
    records = [
        student(number, float(random.random()), float(random.random()), float(random.random()))
        for number in range(1000)
    ]
    begin = time.process_time()
    deserving(records, [1], terms())
    assert time.process_time() - begin < 5
