"""What every energy meter promises; a new file in hardware_targets/meters/ is tested the day it appears."""

from __future__ import annotations

import fakes
import pytest

from hardware_targets import EnergyMeter
from hardware_targets._counters import MeterFault
from hardware_targets._parts import build, names
from hardware_targets._roles import Counter, is_counter

KINDS = {"measured", "measured-vendor-model", "modelled-calibrated", "modelled-generic", "declared"}


@pytest.fixture(params=names("meter"))
def meter(request: pytest.FixtureRequest) -> EnergyMeter | Counter:
    built: EnergyMeter | Counter = build("meter", request.param)
    if is_counter(built):
        assert built.name == request.param
    return built


def test_it_says_what_kind_of_figure_it_gives(meter: EnergyMeter | Counter) -> None:
    assert meter.kind in KINDS
    assert meter.boundary.strip()
    reason = meter.unavailable()
    assert reason is None or reason.strip()


def test_a_model_gives_figures_with_kind_boundary_band_and_source(meter: EnergyMeter | Counter) -> None:
    if is_counter(meter):
        return  # it is read while models run, and gives no figure afterwards
    if reason := meter.unavailable():
        pytest.skip(reason)
    energy = meter.energy(fakes.latency(), fakes.conditions())  # type: ignore[union-attr]
    assert (energy.kind, energy.boundary) == (meter.kind, meter.boundary)
    assert 0 < energy.mj_low <= energy.mj <= energy.mj_high
    assert energy.source.strip()


def test_a_counter_says_how_it_wants_to_be_read_and_counts_or_says_why_not(meter: EnergyMeter | Counter) -> None:
    if not is_counter(meter):
        return
    assert meter.kind in ("measured", "measured-vendor-model")
    assert 0 < meter.period_s <= 1 and meter.lag_s >= 0
    assert meter.window_s >= 5 * max(meter.period_s, meter.lag_s)
    if reason := meter.unavailable():
        pytest.skip(reason)
    try:
        reader = meter.open()
    except MeterFault as fault:
        pytest.fail(f"it is available, but does not open: {fault}")
    first = reader.joules()
    assert reader.poll_s > 0 and 0 <= first <= reader.joules()
    reader.close()
    assert meter.source().strip()
