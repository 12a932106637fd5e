"""Fieller's interval: what must hold of any, how often it covers the truth, and how it is said."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.break_even import BreakEven, Z, break_even, count, sentence, spread

costs = st.floats(1e-3, 1e12)
shares = st.floats(0, 0.4)
savings = st.floats(-1.5, -1e-9) | st.just(0.0) | st.floats(1e-9, 0.999)
deviations = st.just(0.0) | st.floats(1e-9, 0.5)


@given(costs, shares, savings, deviations)
def test_the_figure_lies_in_its_interval(cost: float, share: float, saving: float, deviation: float) -> None:
    found = break_even(cost, cost * share, saving, deviation)
    if found.inferences is not None:
        assert found.low is not None and found.low <= found.inferences * (1 + 1e-9)
        assert found.high is None or found.high >= found.inferences * (1 - 1e-9)
    if found.low is None:
        assert found.high is None and found.inferences is None


@given(costs, shares, savings, deviations, st.floats(1e-3, 1e3))
def test_no_unit_matters(cost: float, share: float, saving: float, deviation: float, unit: float) -> None:
    one = break_even(cost, cost * share, saving, deviation)
    other = break_even(cost * unit, cost * share * unit, saving * unit, deviation * unit)
    if abs(abs(saving) - Z * deviation) > 1e-6:  # at the very edge rounding decides
        assert (one.low is None, one.high is None) == (other.low is None, other.high is None)
        for a, b in ((one.inferences, other.inferences), (one.low, other.low), (one.high, other.high)):
            assert a is None or a == pytest.approx(b, rel=1e-4)


@given(costs, st.floats(0.001, 0.4), st.floats(0.01, 0.99), st.floats(0.0001, 0.3))
def test_knowing_less_never_narrows(cost: float, share: float, saving: float, deviation: float) -> None:
    known = break_even(cost, cost * share, saving, deviation)
    less = break_even(cost, cost * share * 1.1, saving, deviation * 1.1)
    assert less.low is not None and known.low is not None and less.low <= known.low * (1 + 1e-9)
    assert less.high is None or (known.high is not None and less.high >= known.high * (1 - 1e-9))


def test_without_doubt_it_is_the_plain_ratio() -> None:
    assert break_even(100.0, 0.0, 0.5, 0.0) == BreakEven(200.0, 200.0, 200.0)


def test_known_ends() -> None:
    """By hand: (100 - 0.5 r)^2 = Z^2 (10^2 + r^2 0.05^2) at both ends."""
    found = break_even(100.0, 10.0, 0.5, 0.05)
    for end in (found.low, found.high):
        assert end is not None
        assert (100 - 0.5 * end) ** 2 == pytest.approx(Z**2 * (100 + end**2 * 0.0025))


def test_never_and_perhaps_never() -> None:
    assert break_even(100.0, 0.0, -0.5, 0.1).to_json()["never"] == "yes"
    assert break_even(100.0, 10.0, 0.0, 0.0).to_json()["never"] == "yes"
    perhaps = break_even(100.0, 10.0, 0.1, 0.1)
    assert (perhaps.inferences, perhaps.high, perhaps.to_json()["never"]) == (1000.0, None, "perhaps")
    hardly = break_even(100.0, 10.0, -0.1, 0.1)
    assert hardly.inferences is None and hardly.low is not None and hardly.high is None


@pytest.mark.parametrize("saving", [0.9, 0.5, 0.15, 0.05, 0.0])
def test_it_covers_the_truth_as_often_as_it_says(saving: float) -> None:
    """4,000 seeded searches of true cost 1000; where nothing is saved the truth is `never`, that is no upper end."""
    draw = np.random.default_rng(7)
    right = 0
    for _ in range(4000):
        found = break_even(float(draw.normal(1000, 200)), 200.0, float(draw.normal(saving, 0.06)), 0.06)
        if saving == 0:
            right += found.high is None
        else:
            truth = 1000 / saving
            right += found.low is not None and found.low <= truth and (found.high is None or truth <= found.high)
    assert 0.94 <= right / 4000 <= 0.98


@pytest.mark.parametrize("wrong", [(0, 0, 1, 0), (-1, 0, 1, 0), (1, -1, 1, 0), (1, 0, float("nan"), 0)])
def test_no_question(wrong: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="give"):
        break_even(*wrong)


def test_spread_is_that_of_the_logarithm() -> None:
    assert spread(10 / 1.5, 15.0) == pytest.approx(np.log(1.5) / Z)


def test_it_is_said_in_words() -> None:
    assert sentence(BreakEven(3.14e6, 2e6, 4.9e6).to_json()) == "after 3.1 million inferences [2 million, 4.9 million]"
    assert "perhaps never" in sentence(BreakEven(3e6, 2e6, None).to_json())
    assert sentence(BreakEven(None, 2e6, None).to_json()).startswith("never by its figure")
    assert sentence(BreakEven(None, None, None).to_json()) == "never: it saves no energy"
    assert [count(value) for value in (7.0, 851, 12_345, 999_999, 2.34e9)] == [
        "7", "850", "12,000", "1 million", "2.3 billion",
    ]  # fmt: skip
