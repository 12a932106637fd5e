"""The bound of what an untrained student can reach, and who is refused by it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from pipeline.dominated import NEIGHBOURS, bound, dominated, holds, sentence
from pipeline.record import TrialRecord
from search_spaces.candidate import Candidate

NESTED = ("width", "depth")
OBJECTIVES = ("accuracy", "latency_p50_ms", "size_mb")
FLAT: Mapping[str, Any] = {
    "student": "convnet", "convnet.width": 16, "convnet.depth": 2, "convnet.block": "plain",
    "distill.temperature": 4.0, "distill.epochs": 4, "prune.ratio": 0.0, "quantize.scheme": "none",
}  # fmt: skip
INT8 = {"quantize__scheme": "static_int8", "quantize__per_channel": False}
PRUNED = {"prune.ratio": 0.5, "prune.criterion": "magnitude", "prune.round_to": 8, "prune.recovery_epochs": 1}


def candidate(**changes: Any) -> Candidate:
    return Candidate.of({**FLAT, **{name.replace("__", "."): value for name, value in changes.items()}}, 0)


def trained(number: int, accuracy: float, latency: float = 5.0, size: float = 1.0, **changes: Any) -> TrialRecord:
    device = {"accuracy": accuracy, "latency_p50_ms": latency, "size_mb": size}
    return TrialRecord(number, candidate(**changes), "complete", metrics=device)


def asked(peers: list[TrialRecord], latency: float = 5.0, size: float = 1.0, **changes: Any) -> Any:
    values: dict[str, Any] = {
        "objectives": OBJECTIVES, "teacher": {"accuracy": 0.95}, "nested": NESTED, "margin": 0.05, "noise": 0.05,
    }  # fmt: skip
    device = {"latency_p50_ms": latency, "size_mb": size}
    return dominated(candidate(convnet__width=8), device, None, peers, **{**values, **changes})


@pytest.mark.parametrize(
    ("larger", "smaller", "expected"),
    [
        ({}, {}, True),
        ({"convnet__width": 24}, {}, True),
        ({"convnet__width": 8}, {}, False),
        ({"convnet__width": 24, "convnet__depth": 1}, {}, False),
        ({"convnet__block": "separable"}, {}, False),
        ({"student": "transformer"}, {}, False),
        ({"distill__epochs": 3}, {}, False),
        ({"distill__epochs": 9}, {}, True),
        ({"distill__temperature": 1.0}, {}, True),
        ({}, {"quantize__scheme": "static_int8"}, True),
        ({"quantize__scheme": "static_int8"}, {}, False),
        ({"quantize__scheme": "fp16"}, {"quantize__scheme": "static_int8"}, False),
        ({}, {"quantize__scheme": "static_int8", "quantize__per_channel": True}, True),
        (INT8, INT8, True),
        (INT8, {**INT8, "quantize__per_channel": True}, False),
        (INT8, {**INT8, "quantize__aware_epochs": 2}, False),
        ({}, PRUNED, True),
        (PRUNED, {}, False),
        ({**PRUNED, "prune.ratio": 0.3}, PRUNED, True),
        ({**PRUNED, "prune.ratio": 0.7}, PRUNED, False),
        ({**PRUNED, "prune.ratio": 0.3, "prune.criterion": "taylor"}, PRUNED, False),
    ],
)
def test_what_holds_what(larger: dict[str, Any], smaller: dict[str, Any], expected: bool) -> None:
    assert holds(candidate(**larger), candidate(**smaller), NESTED) is expected


def test_the_teacher_bounds_where_no_student_says_more() -> None:
    found = bound(candidate(), [], "accuracy", 0.9, NESTED, 0.05)
    assert (found.value, found.of) == (pytest.approx(0.95), None)
    better = trained(3, 0.97, convnet__width=32)
    assert bound(candidate(), [better], "accuracy", 0.9, NESTED, 0.05).of is None


def test_one_student_taught_alike_bounds_or_the_best_of_several_taught_otherwise() -> None:
    alike = trained(3, 0.7, convnet__width=32)
    found = bound(candidate(), [alike], "accuracy", 0.9, NESTED, 0.05)
    assert (found.value, found.of) == (pytest.approx(0.75), 3)
    other = [trained(n, 0.6 + n / 100, convnet__width=32, distill__temperature=1.0 + n) for n in range(NEIGHBOURS)]
    assert bound(candidate(), other[1:], "accuracy", 0.9, NESTED, 0.05).of is None
    assert bound(candidate(), other, "accuracy", 0.9, NESTED, 0.05).of == NEIGHBOURS - 1
    # a better one taught otherwise shows that more can be had than from the one taught alike
    assert bound(candidate(), [alike, trained(9, 0.8, distill__temperature=1.0)], "accuracy", 0.9, NESTED, 0).of == 9


@pytest.mark.parametrize(
    "changes",
    [{"end": "failed"}, {"end": "stopped"}, {"same_as": 1}, {"final_of": 1}, {"trained_by": 1}, {"metrics": {}}],
)
def test_only_own_complete_trials_say_something(changes: dict[str, Any]) -> None:
    told = trained(3, 0.7, convnet__width=32).with_(**changes)
    assert bound(candidate(), [told], "accuracy", 0.9, NESTED, 0.05).of is None


def test_refused_only_by_what_is_better_than_the_bound_at_no_cost() -> None:
    holder = trained(0, 0.7, latency=9.0, size=9.0, convnet__width=32)
    better = trained(1, 0.8, latency=4.0, distill__temperature=2.0, convnet__block="separable")
    found = asked([holder, better])
    assert (found.by.number, found.bounds["accuracy"].of) == (1, 0)
    assert found.excess == pytest.approx(0.8 - 0.75)
    told = sentence(found, OBJECTIVES, 0.05)
    assert "certainly dominated: trial 1 is no worse in latency_p50_ms, size_mb" in told
    assert "0.8000 is above 0.7500" in told and "trial 0, which holds this student" in told
    assert asked([holder, better], margin=0.1) is None  # 0.8 is not above 0.8
    assert asked([better]) is None  # only the teacher bounds
    assert asked([holder, better.with_(violations={"size_mb": 0.1})]) is None
    assert asked([holder, better.with_(end="stopped")]) is None
    doubtful = {"latency": {"unreliable": True}, "energy": {}}
    assert asked([holder, better.with_(measurement=doubtful)]) is None


def test_a_latency_within_the_noise_of_two_measurements_is_no_advantage() -> None:
    holder = trained(0, 0.7, latency=9.0, size=9.0, convnet__width=32)
    near = trained(1, 0.8, latency=4.9, convnet__block="separable")
    assert asked([holder, near]) is None
    assert asked([holder, near], noise=0.01) is not None
    assert asked([holder, near], size=0.99, noise=0.01) is None  # sizes are counted: any difference is one


def test_a_figure_that_is_missing_refuses_nobody() -> None:
    peers = [trained(0, 0.7, convnet__width=32), trained(1, 0.8, latency=1.0, size=0.1)]
    assert asked(peers, objectives=(*OBJECTIVES, "energy_mj")) is None
    assert asked(peers, objectives=("latency_p50_ms", "size_mb")) is None


WIDTHS = st.lists(st.tuples(st.integers(1, 8), st.floats(0, 1)), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(WIDTHS, st.integers(1, 8), st.floats(0, 0.2))
def test_the_bound_never_lies_below_what_a_student_inside_has_shown_in_a_monotone_world(
    others: list[tuple[int, float]], width: int, margin: float
) -> None:
    """Where wider is never worse, no narrower student can be above the bound."""
    quality = {each: 0.5 + each / 20 for each in range(1, 9)}
    peers = [trained(n, quality[each], convnet__width=each) for n, (each, _) in enumerate(others)]
    found = bound(candidate(convnet__width=width), peers, "accuracy", 0.95, NESTED, margin)
    assert found.value >= quality[width] + margin - 1e-12
