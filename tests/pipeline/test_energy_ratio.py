"""A model's energy over its teacher's, and what pays a search back: only where the figures may be compared."""

from __future__ import annotations

from typing import Any

import pytest
from records_helper import make_record

from hardware_targets import Unmeasured
from pipeline.break_even import BreakEven
from pipeline.energy_ratio import EnergyRatio, energy_ratio
from pipeline.own_energy import MJ_PER_KWH, OwnEnergy
from pipeline.payback import payback
from pipeline.record import TrialRecord


def energy(mj: float, kind: str = "modelled-generic", **more: Any) -> dict[str, Any]:
    return {"mj": mj, "mj_low": mj / 1.5, "mj_high": mj * 1.5, "kind": kind, "boundary": "wall", "source": "t", **more}


def latency(ms: float, cpu: float | None, ratio: float) -> dict[str, Any]:
    spans = {"ratio": ratio, "ratio_low": ratio * 0.98, "ratio_high": ratio * 1.02}
    return {"median_ms": ms, "cpu_seconds": cpu, **spans}


def record(measurement: dict[str, Any], scheme: str = "none") -> TrialRecord:
    return make_record(3, scheme=scheme).with_(measurement=measurement)


GENERIC = {"energy": energy(90.0), "latency": latency(20.0, 0.020, 1.0)}
METERED = {"energy": energy(90.0, "measured", mj_low=89.0, mj_high=91.0), "latency": latency(20.0, 0.020, 1.0)}


def own(kwh: float = 1.0, teacher_kwh: float = 0.25) -> OwnEnergy:
    return OwnEnergy(
        kwh, kwh / 1.5, kwh * 1.5, "modelled-generic", "server share", "a table", 1.0, teacher_kwh, 0, kwh, 0
    )


def test_of_generic_figures_the_watts_cancel() -> None:
    student = record({"energy": energy(1e9), "latency": latency(5.0, 0.005, 0.25)})
    assert energy_ratio(student, GENERIC) == EnergyRatio(0.25, 0.245, 0.255)


def test_two_threads_use_more_than_their_time() -> None:
    found = energy_ratio(record({"energy": energy(1.0), "latency": latency(5.0, 0.010, 0.25)}), GENERIC)
    assert isinstance(found, EnergyRatio) and found.value == pytest.approx(0.5)


def test_a_meter_tells_the_ratio_itself_and_between_precisions_too() -> None:
    own_figure = energy(40.0, "measured", ratio=0.45, ratio_low=0.44, ratio_high=0.46)
    assert energy_ratio(record({"energy": own_figure}, "static_int8"), METERED) == EnergyRatio(0.45, 0.44, 0.46)


def test_bands_of_models_are_taken_at_their_worst() -> None:
    calibrated = {"energy": energy(90.0, "modelled-calibrated")}
    found = energy_ratio(record({"energy": energy(45.0, "modelled-calibrated")}), calibrated)
    assert found == EnergyRatio(0.5, pytest.approx(0.5 / 2.25), pytest.approx(0.5 * 2.25))


@pytest.mark.parametrize(
    ("measurement", "scheme", "why"),
    [
        ({"energy": energy(1.0), "latency": latency(5.0, 0.005, 0.25)}, "static_int8", "between precisions"),
        ({"energy": energy(1.0, "modelled-calibrated", source="extrapolated: x")}, "fp16", "modelled-calibrated"),
        ({"energy": energy(1.0, "measured")}, "none", "not compared"),
        ({"energy": energy(1.0, boundary="package")}, "none", "not compared"),
        ({"energy": {"unmeasured": "no meter"}}, "none", "no meter"),
        ({"energy": energy(1.0), "latency": latency(5.0, None, 0.25)}, "none", "processor time"),
    ],
)
def test_what_may_not_be_compared_is_not(measurement: dict[str, Any], scheme: str, why: str) -> None:
    found = energy_ratio(record(measurement, scheme), GENERIC)
    assert isinstance(found, Unmeasured) and why in found.reason


def test_a_search_is_paid_back_by_what_its_student_saves() -> None:
    """1 kWh less 0.25 for the teacher is 2.7e9 mJ; three quarters of 90 mJ are saved each time: 40 million times."""
    student = record({"energy": energy(22.5), "latency": latency(5.0, 0.005, 0.25)})
    found = payback(own(), student, GENERIC)
    assert isinstance(found, BreakEven) and found.low is not None and found.high is not None
    assert found.inferences == pytest.approx(0.75 * MJ_PER_KWH / (0.75 * 90))
    assert found.low / found.inferences == pytest.approx(1 - 0.405, abs=0.01)
    assert found.high / found.inferences == pytest.approx(1 + 0.405, abs=0.01)


def test_a_student_that_saves_nothing_never_pays() -> None:
    slower = record({"energy": energy(99.0), "latency": latency(22.0, 0.022, 1.1)})
    assert payback(own(), slower, GENERIC) == BreakEven(None, None, None)


def test_a_band_of_the_teachers_figure_widens_it_unless_both_stand_on_one_table() -> None:
    metered = energy(22.5, "measured", ratio=0.25, ratio_low=0.245, ratio_high=0.255)
    sure = payback(own(), record({"energy": metered}), METERED)
    teacher = {"energy": energy(90.0, "measured", mj_low=60.0, mj_high=135.0)}
    unsure = payback(own(), record({"energy": metered}), teacher)
    assert isinstance(sure, BreakEven) and isinstance(unsure, BreakEven)
    assert sure.high is not None and unsure.high is not None and unsure.high > sure.high * 1.1


def test_without_an_account_of_the_search_there_is_no_answer() -> None:
    assert payback(Unmeasured("why"), record(GENERIC), GENERIC) == Unmeasured("why")
