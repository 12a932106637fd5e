"""What every energy meter promises; a new file in hardware_targets/meters/ is tested the day it appears."""

from __future__ import annotations

import fakes
import pytest

from hardware_targets import EnergyMeter
from hardware_targets._parts import build, names

KINDS = {"measured", "measured-vendor-model", "modelled-calibrated", "modelled-generic", "declared"}


@pytest.fixture(params=names("meter"))
def meter(request: pytest.FixtureRequest) -> EnergyMeter:
    built: EnergyMeter = build("meter", request.param)
    return built


def test_it_says_what_kind_of_figure_it_gives(meter: EnergyMeter) -> None:
    assert meter.kind in KINDS
    assert meter.boundary.strip()
    reason = meter.unavailable()
    assert reason is None or reason.strip()


def test_its_figures_carry_kind_boundary_band_and_source(meter: EnergyMeter) -> None:
    if reason := meter.unavailable():
        pytest.skip(reason)
    energy = meter.energy(fakes.latency(), fakes.conditions())
    assert (energy.kind, energy.boundary) == (meter.kind, meter.boundary)
    assert 0 < energy.mj_low <= energy.mj <= energy.mj_high
    assert energy.source.strip()
