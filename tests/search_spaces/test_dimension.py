from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from space_doubles import RandomTrial

from search_spaces.dimension import Choice, Fixed, Range
from search_spaces.values import SpaceError

WIDTH = Range(8, 64, step=8, integer=True, default=16)
RATIO = Range(0.0, 0.7, step=0.1)
RATE = Range(3e-4, 1e-2, log=True, default=2e-3)
EPOCHS = Range(1, 100, log=True, integer=True, default=8)
HIDDEN = Choice((0.0, 0.1, 0.5, 1.0))
HEAD_WIDTH = Choice((16, 24, 32))
BLOCK = Choice(("plain", "separable"))
FLAG = Choice((True, False))


@pytest.mark.parametrize(
    ("axis", "raw", "expected"),
    [
        (WIDTH, 24, Fixed(24)),
        (WIDTH, [32, 16], Choice((16, 32), 16)),
        (WIDTH, [16], Fixed(16)),
        (WIDTH, {"low": 16, "high": 32}, Range(16, 32, step=8, integer=True, default=16)),
        (WIDTH, {"high": 8}, Fixed(8)),
        (WIDTH, {"low": 16, "high": 48, "step": 16}, Range(16, 48, step=16, integer=True, default=16)),
        (RATIO, 0, Fixed(0.0)),
        (RATIO, 0.3, Fixed(0.3)),
        (RATE, "1e-3", Fixed(1e-3)),
        (RATE, {"low": 0.001, "high": 0.01}, Range(0.001, 0.01, log=True, default=2e-3)),
        (RATE, {"low": 0.001, "high": 0.003, "step": 0.001}, Range(0.001, 0.003, step=0.001, default=2e-3)),
        (EPOCHS, {"low": 4, "high": 8}, Range(4, 8, log=True, integer=True, default=8)),
        (HIDDEN, {"low": 0.1, "high": 0.5}, Choice((0.1, 0.5), None)),
        (HIDDEN, {"low": 0.05, "high": 0.2}, Fixed(0.1)),
        (BLOCK, "plain", Fixed("plain")),
        (FLAG, False, Fixed(False)),
    ],
)
def test_yaml_value_narrows(axis: Any, raw: Any, expected: Any) -> None:
    assert axis.narrowed(raw) == expected


@pytest.mark.parametrize(
    ("axis", "raw", "quoted"),
    [
        (WIDTH, 7, "7"),
        (WIDTH, 12, "12"),
        (WIDTH, 72, "72"),
        (WIDTH, True, "True"),
        (WIDTH, "16", "'16'"),
        (WIDTH, None, "None"),
        (WIDTH, [], r"\[\]"),
        (WIDTH, [16, 20], "20"),
        (WIDTH, [[16]], r"\[16\]"),
        (WIDTH, {"low": 32, "high": 16}, "low 32 is above high 16"),
        (WIDTH, {"low": 0, "high": 16}, "0"),
        (WIDTH, {"low": "a"}, "'a'"),
        (WIDTH, {"low": 16, "hihg": 32}, "'hihg' in a range; did you mean 'high'"),
        (WIDTH, {"low": 16, "high": 32, "step": 4}, "step: 4 does not fit; give a multiple of 8"),
        (WIDTH, {"low": 8, "high": 32, "step": 16}, "give `high: 24`"),
        (WIDTH, {"low": 16, "step": 0}, "step: 0"),
        (RATIO, 0.25, "0.25"),
        (RATIO, float("nan"), "nan"),
        (RATE, {"low": 0.001, "log": "yes"}, "log: 'yes'"),
        (RATE, {"low": 0.001, "high": 0.003, "step": 0.001, "log": True}, "do not go together"),
        (HIDDEN, 0.2, "0.2"),
        (HIDDEN, {"low": 0.2, "high": 0.4}, "holds none"),
        (HIDDEN, {"low": 0.1, "step": 0.1}, "'step'"),
        (BLOCK, "residual", "'residual' is not possible here; give one of plain, separable"),
        (BLOCK, {"low": 1}, "a choice"),
        (FLAG, 1, "1"),
        (Fixed(3), 4, "4"),
    ],
)
def test_yaml_value_outside_is_refused_with_itself_quoted(axis: Any, raw: Any, quoted: str) -> None:
    with pytest.raises(SpaceError, match=quoted):
        axis.narrowed(raw)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Choice(()), "empty list"),
        (lambda: Choice((1, "a")), "mixes kinds"),
        (lambda: Choice((1, True)), "mixes kinds"),
        (lambda: Range(2, 1), "swap"),
        (lambda: Range(0.0, 1.0, log=True), "no logarithm"),
        (lambda: Range(0.0, 1.0, step=0.3), "give `high: 0.9`"),
    ],
)
def test_impossible_axis_is_refused(make: Any, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        make()


@pytest.mark.parametrize(
    ("axis", "question"),
    [
        (WIDTH, ("int", 8, 64, 8, False)),
        (RATIO, ("float", 0.0, 0.7, 0.1, False)),
        (RATE, ("float", 3e-4, 1e-2, None, True)),
        (EPOCHS, ("int", 1, 100, 1, True)),
        (HEAD_WIDTH, ("int", 16, 32, 8, False)),  # evenly spaced: the values themselves
        (HIDDEN, ("int", 0, 3, 1, False)),  # unevenly spaced: their places, so that their order is seen
        (BLOCK, ("categorical", ("plain", "separable"))),
        (FLAG, ("categorical", (True, False))),
    ],
)
def test_sampler_sees_the_order_of_numbers(axis: Any, question: Any) -> None:
    trial = RandomTrial(0)
    axis.suggest(trial, "x")
    assert trial.asked == {"x": question}


@pytest.mark.parametrize("axis", [Fixed(3), Choice((3,)), Range(3, 3, integer=True)])
def test_an_axis_of_one_value_is_not_asked_for(axis: Any) -> None:
    trial = RandomTrial(0)
    assert axis.suggest(trial, "x") == 3
    assert trial.asked == {}


@given(st.sampled_from([WIDTH, RATIO, RATE, EPOCHS, HIDDEN, HEAD_WIDTH, BLOCK, FLAG]), st.integers(0, 10**6))
@settings(max_examples=80, deadline=None)
def test_what_is_suggested_is_inside_and_written_one_way(axis: Any, seed: int) -> None:
    value = axis.suggest(RandomTrial(seed), "x")
    assert axis.contains(value)
    assert repr(axis.take(value)) == repr(value)
    assert axis.values() is None or value in axis.values()


@pytest.mark.parametrize("axis", [WIDTH, RATIO, EPOCHS, HIDDEN, HEAD_WIDTH, BLOCK, FLAG, RATE])
def test_description_narrows_to_the_same_axis(axis: Any) -> None:
    assert axis.narrowed(axis.describe()) == axis


@pytest.mark.parametrize(
    ("axis", "start"),
    [
        (WIDTH, 16),
        (WIDTH.narrowed({"low": 32, "high": 64}), 32),
        (WIDTH.narrowed([48, 24]), 24),
        (EPOCHS.narrowed({"low": 1, "high": 4}), 4),
        (Choice(("a", "b"), default="b"), "b"),
        (Choice(("a", "b"), default="c"), "a"),
        (RATIO, 0.0),
        (Range(0.2, 0.6, step=0.2, default=0.45), 0.4),
    ],
)
def test_start_is_the_default_or_what_is_nearest_to_it(axis: Any, start: Any) -> None:
    assert axis.start == start
    assert axis.contains(axis.start)


def test_stepped_floats_are_written_without_rounding_dust() -> None:
    assert RATIO.values() == (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
    assert RATIO.take(0.1 + 0.2) == 0.3
