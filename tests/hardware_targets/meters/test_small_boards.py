"""Raspberry Pi 5 and macOS, from what their programs print."""

from __future__ import annotations

import itertools
import time

import pytest

from hardware_targets._counters import MeterFault
from hardware_targets.meters import pi5_pmic, powermetrics

PMIC = """\
   3V7_WL_SW_A current(0)=0.10000000A
     3V3_SYS_A current(1)=0.20000000A
    VDD_CORE_A current(7)=2.00000000A
   3V7_WL_SW_V volt(8)=3.70000000V
     3V3_SYS_V volt(9)=3.30000000V
    VDD_CORE_V volt(15)=0.80000000V
      EXT5V_V volt(24)=5.12000000V
      BATT_V volt(25)=0.00000000V
"""
RAILS_W = 0.1 * 3.7 + 0.2 * 3.3 + 2.0 * 0.8

MAC = """\
Machine model: Mac14,2

*** Sampled system activity (Sat Nov 22 10:00:00 2026 +0100) (100.00ms elapsed) ***

**** Processor usage ****
E-Cluster Power: 30 mW
CPU Power: 2000 mW
GPU Power: 400 mW
ANE Power: 100 mW
Combined Power (CPU + GPU + ANE): 2500 mW

**** GPU usage ****
GPU Power: 400 mW

*** Sampled system activity (Sat Nov 22 10:00:00 2026 +0100) (200.00ms elapsed) ***
CPU Power: 1000 mW
GPU Power: 0 mW
ANE Power: 0 mW
"""


def test_the_rails_of_a_pi_5_are_multiplied_and_added() -> None:
    assert pi5_pmic.watts(PMIC) == pytest.approx(RAILS_W)  # EXT5V and BATT have volts only: they are no rails
    seconds = itertools.count()
    meter = pi5_pmic.Meter(lambda: PMIC, clock=lambda: next(seconds) * 0.1, background=False)
    assert meter.unavailable() is None and "not the board's input" in meter.boundary
    reader = meter.open()
    for _ in range(10):
        joules = reader.joules()
    assert joules == pytest.approx(RAILS_W * 1.0)


def test_a_pi_4_is_told_to_use_an_external_meter() -> None:
    reason = pi5_pmic.Meter(lambda: 'error=1 error_msg="Command not registered"').unavailable()
    assert reason is not None and "Pi 4 or older" in reason and "wall_meter" in reason
    with pytest.raises(MeterFault, match="nothing"):
        pi5_pmic.watts("")


def test_samples_of_powermetrics_count_each_part_once() -> None:
    found = list(powermetrics.samples(MAC.splitlines()))
    assert found == [(0.1, pytest.approx(2.5)), (0.2, pytest.approx(1.0))]


def test_powermetrics_adds_up_and_notices_silence() -> None:
    now = [0.0]
    reader = powermetrics.Meter(lambda: MAC.splitlines(), clock=lambda: now[0]).open()
    deadline = time.monotonic() + 5
    while reader.joules() < 0.45 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert reader.joules() == pytest.approx(0.25 + 0.2)
    now[0] = 3.0
    with pytest.raises(MeterFault, match="printed nothing for 2 s"):
        reader.joules()
    assert powermetrics.Meter().kind == "measured-vendor-model"


def test_more_than_a_mac_draws_is_a_fault() -> None:
    reader = powermetrics.Meter(lambda: MAC.replace("2500 mW", "2500000 mW").splitlines()).open()
    reader._thread.join(5)
    with pytest.raises(MeterFault, match="no Mac draws"):
        reader.joules()
