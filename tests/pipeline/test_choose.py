from __future__ import annotations

import numpy as np
import pytest
from records_helper import make_record

from pipeline.choose import choose, rescored
from pipeline.errors import NothingFits

RECORDS = [make_record(1, 0.85, 1.0), make_record(2, 0.90, 4.0), make_record(3, 0.95, 9.0), make_record(4, 0.96, 15.0)]
SELECTION = {1: {"accuracy": 0.84}, 2: {"accuracy": 0.92}, 3: {"accuracy": 0.91}, 4: {"accuracy": 0.93}}


def _answers(right: int, rows: int = 1000) -> np.ndarray:
    return np.array([0] * right + [1] * (rows - right))


LABELS = np.zeros(1000, int)
PREDICTIONS = {number: _answers(round(1000 * SELECTION[number]["accuracy"])) for number in SELECTION}


def test_the_best_on_the_selection_slice_wins_not_the_best_on_validation() -> None:
    found = choose(RECORDS, SELECTION, {"latency_p50_ms": 10}, quality="accuracy")
    assert found.record.number == 2  # 0.92 against 0.91, though validation said 0.90 against 0.95
    assert found.fitting == (2, 3, 1)
    assert found.metrics["accuracy"] == 0.92 and found.metrics["latency_p50_ms"] == 4.0
    assert found.rescored[4]["accuracy"] == 0.93


def test_limits_on_quality_are_held_against_the_selection_slice() -> None:
    found = choose(RECORDS, SELECTION, {"accuracy": 0.915}, quality="accuracy")
    assert found.fitting == (4, 2)
    with pytest.raises(NothingFits, match=r"accuracy >= 0.94.*trial 4, accuracy 0.9300"):
        choose(RECORDS, SELECTION, {"accuracy": 0.94}, quality="accuracy")


def test_nothing_fits_names_the_nearest_and_what_would_let_it_in() -> None:
    with pytest.raises(NothingFits) as caught:
        choose(RECORDS, SELECTION, {"latency_p50_ms": 0.9, "accuracy": 0.8}, quality="accuracy")
    assert caught.value.exit_code == 1
    assert "Nearest: trial 1, 1 ms (11 % over), accuracy 0.8400" in str(caught.value)
    assert "loosen to latency_p50_ms 1;" in str(caught.value)


def test_an_empty_front_says_so() -> None:
    with pytest.raises(NothingFits, match="no front to pick from"):
        choose([], {}, {}, quality="accuracy")


def test_a_finalist_without_a_score_on_the_slice_is_not_picked_by_its_validation_score() -> None:
    found = choose(RECORDS, {1: {"accuracy": 0.84}}, {}, quality="accuracy")
    assert found.record.number == 1 and set(found.rescored) == {1}


def test_ties_are_listed_best_first_and_the_fastest_is_named() -> None:
    found = choose(RECORDS, SELECTION, {}, quality="accuracy", predictions=PREDICTIONS, labels=LABELS)
    assert found.record.number == 4
    assert found.ties == () and found.fastest_tie is None  # nested answers: ten rows one way are significant
    mixed = {**PREDICTIONS, 2: PREDICTIONS[2][::-1].copy()}  # as good, on other rows
    tied = choose(RECORDS, SELECTION, {}, quality="accuracy", predictions=mixed, labels=LABELS)
    assert tied.record.number == 4 and tied.ties == (2,) and tied.fastest_tie == 2
    over = choose(RECORDS, SELECTION, {"accuracy": 0.925}, quality="accuracy", predictions=mixed, labels=LABELS)
    assert over.ties == ()  # what does not fit is no alternative


def test_of_equal_quality_the_faster_is_taken() -> None:
    same = {1: {"accuracy": 0.9}, 2: {"accuracy": 0.9}, 3: {"accuracy": 0.9}}
    found = choose(RECORDS[:3], same, {}, quality="accuracy", predictions=dict.fromkeys(same, LABELS), labels=LABELS)
    assert found.record.number == 1 and found.ties == (2, 3) and found.fastest_tie is None


def test_knee_is_taken_among_those_that_fit() -> None:
    objectives = ("accuracy", "latency_p50_ms", "energy_mj")
    found = choose(RECORDS, SELECTION, {}, quality="accuracy", knee=True, objectives=objectives)
    assert found.record.number == 2
    limited = choose(RECORDS, SELECTION, {"latency_p50_ms": 3}, quality="accuracy", knee=True, objectives=objectives)
    assert limited.record.number == 1


def test_another_quality_than_accuracy() -> None:
    selection = {1: {"macro_f1": 0.9, "accuracy": 0.5}, 2: {"macro_f1": 0.8, "accuracy": 0.99}}
    assert choose(RECORDS[:2], selection, {}, quality="macro_f1").record.number == 1


def test_rescored_keeps_no_quality_of_validation() -> None:
    found = rescored(RECORDS[0], {"accuracy": 0.5, "latency_p50_ms": 99.0})
    assert found.metrics["accuracy"] == 0.5 and "macro_f1" not in found.metrics
    assert found.metrics["latency_p50_ms"] == 1.0  # the device's figures stay as measured
    assert "accuracy" not in found.intervals and "latency_ratio" in found.intervals
