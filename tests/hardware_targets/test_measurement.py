"""The values: exact through JSON, and no number where there is no figure."""

from __future__ import annotations

import dataclasses
import json
import math

import fakes
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware_targets import Energy, Latency, Measurement, Unmeasured

POSITIVE = st.floats(min_value=1e-9, max_value=1e9)
LATER = (
    *("resolution", "conclusive", "rounds", "voided_rounds", "void_reasons"),
    *("reference_drift", "between_sessions", "sessions"),
)
ENERGY = Energy(2.0, 1.0, 3.0, "modelled-generic", "wall", "m", "s")


@settings(deadline=None, max_examples=40)
@given(POSITIVE, POSITIVE, st.booleans(), st.one_of(st.none(), POSITIVE))
def test_round_trip_is_exact(median: float, reference: float, steady: bool, p90: float | None) -> None:
    found = Measurement(
        fakes.latency(median, reference, steady=steady, p90_ms=p90), ENERGY, 1.5, fakes.conditions(governor="x"), ("w",)
    )
    assert Measurement.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))) == found


def test_round_trip_of_what_is_missing() -> None:
    found = Measurement(fakes.latency(), Unmeasured("no meter"), Unmeasured("no /proc"), fakes.conditions())
    data = json.loads(json.dumps(found.to_json()))
    assert data["energy"] == {"unmeasured": "no meter"}
    assert Measurement.from_json(data) == found


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("name", ["median_ms", "reference_median_ms", "cpu_seconds", "p90_ms"])
def test_latency_refuses_a_number_for_nothing(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        fakes.latency(**{name: value})


def test_latency_refuses_a_ratio_outside_its_interval() -> None:
    with pytest.raises(ValueError, match="outside"):
        fakes.latency(ratio_low=0.5, ratio_high=0.6)


@pytest.mark.parametrize(
    "change", [{"mj": 0.0}, {"mj_low": 2.5}, {"mj_high": 1.5}, {"kind": ""}, {"boundary": ""}, {"mj": math.nan}]
)
def test_energy_refuses_nonsense(change: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        dataclasses.replace(ENERGY, **change)  # type: ignore[arg-type]


def test_unmeasured_needs_a_reason() -> None:
    with pytest.raises(ValueError, match="reason"):
        Unmeasured(" ")


def test_fingerprint_sees_the_machine_but_not_its_load() -> None:
    here = fakes.conditions()
    busy = fakes.conditions(load_start=3.0, load_end=2.0, steal_share=0.1, foreign_share=0.5)
    assert here.fingerprint == busy.fingerprint
    assert here.fingerprint != fakes.conditions(threads=2).fingerprint
    assert here.fingerprint != fakes.conditions(governor="powersave").fingerprint
    assert len(here.fingerprint) == 16


def test_a_newer_key_is_left_out() -> None:
    assert Latency.from_json({**fakes.latency().to_json(), "later": 1}) == fakes.latency()


def test_records_of_an_earlier_protocol_still_load() -> None:
    new = fakes.latency().to_json()
    old = {name: value for name, value in new.items() if name not in LATER}
    found = Latency.from_json(old)
    assert (found.resolution, found.conclusive, found.rounds, found.void_reasons) == (None, None, 0, ())
    assert (found.reference_drift, found.between_sessions, found.sessions) == (None, None, 0)
    assert not found.unreliable and not found.tied
    told = fakes.latency(resolution=0.01, conclusive=True, rounds=9, voided_rounds=1, void_reasons=("steal: 1",))
    assert Latency.from_json(json.loads(json.dumps(told.to_json()))) == told
