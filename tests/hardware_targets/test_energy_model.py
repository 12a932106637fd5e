"""Applying a fit: what it covers, what it does not, and that both are told."""

from __future__ import annotations

import fakes
import metered_rows
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware_targets import Energy
from hardware_targets._calibration import BY_RATE, calibrate
from hardware_targets._energy_model import SPAN, DeviceModel, is_extrapolated

MODEL = calibrate(metered_rows.rows(noise=0.01), device="board", boundary="module", source="a test", date="2026-01-01")
AT_HOME = {"runtime": "onnxruntime", "version": "1", "threads": 1, "precision": "fp32"}


def figure(latency_ms: float = 10.0, model: DeviceModel = MODEL, **changes: object) -> Energy:
    return model.energy(fakes.latency(latency_ms), **{**AT_HOME, "macs_m": 150.0, **changes})  # type: ignore[arg-type]


def test_inside_its_domain_a_figure_has_the_band_of_unseen_families() -> None:
    energy = figure()
    curve = MODEL.models[0].curves[0]
    assert curve.terms == BY_RATE
    assert energy.mj == pytest.approx(200.0, rel=0.03)
    assert energy.mj_high / energy.mj == pytest.approx(curve.band)
    assert (energy.kind, energy.boundary, energy.meter) == ("modelled-calibrated", "module", "calibrated")
    assert not is_extrapolated(energy)
    assert "a test" in energy.source and "2026-01-01" in energy.source and "48" not in energy.source.split("rows")[1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"runtime": "openvino"}, "fitted on onnxruntime, but the runtime is openvino 1"),
        ({"threads": 4}, "fitted on 1 thread"),
        ({"precision": None}, "the precision is not told"),
        ({"precision": "fp16"}, "fp16 was not fitted"),
        ({"latency_ms": 0.001}, "ms is outside the"),
        ({"latency_ms": 9999.0}, "ms is outside the"),
        ({"macs_m": 1e5}, "million MACs per ms is outside"),
    ],
)
def test_outside_its_domain_a_figure_says_so(changes: dict[str, object], words: str) -> None:
    energy = figure(**changes)  # type: ignore[arg-type]
    assert is_extrapolated(energy)
    assert energy.source.startswith("extrapolated: ") and words in energy.source
    assert energy.mj_low <= energy.mj / SPAN * 1.0001
    assert energy.mj_high >= energy.mj * SPAN * 0.9999


def test_without_macs_the_wider_curve_is_used() -> None:
    known, unknown = figure(), figure(macs_m=None)
    assert not is_extrapolated(unknown)
    assert unknown.mj_high / unknown.mj > known.mj_high / known.mj


def test_this_projects_schemes_are_read_as_the_names_of_published_tables() -> None:
    assert figure(precision="none") == figure(precision="fp32")
    assert figure(precision="static_int8") == figure(precision="qat_int8") == figure(precision="int8")
    assert is_extrapolated(figure(precision="dynamic_int8"))


def test_an_untold_precision_spans_both() -> None:
    energy = figure(precision=None)
    low, high = figure(precision="int8"), figure(precision="fp32")
    assert low.mj < energy.mj < high.mj
    assert energy.mj_low <= low.mj_low and high.mj_high <= energy.mj_high


def test_another_runtime_spans_all_models_and_one_can_be_named() -> None:
    rows = metered_rows.rows(noise=0.01) + metered_rows.rows(
        noise=0.01, runtime="fast", watts=(("fp32", 100.0), ("int8", 80.0))
    )
    model = calibrate(rows, device="board", boundary="wall", source="a test")
    energy = figure(model=model, runtime="openvino")
    assert energy.mj_low < 200.0 and energy.mj_high > 1000.0
    named = figure(model=model, runtime="openvino", prefer="fast")
    assert named.mj == pytest.approx(1000.0, rel=0.05)
    assert is_extrapolated(energy) and is_extrapolated(named)


def test_the_model_of_these_threads_is_taken_and_a_version_may_be_named() -> None:
    rows = metered_rows.rows(noise=0.01) + metered_rows.rows(
        noise=0.01, threads=4, runtime="onnxruntime", watts=(("fp32", 50.0), ("int8", 40.0))
    )
    model = calibrate(rows, device="board", boundary="wall", source="a test")
    assert figure(model=model, threads=4).mj == pytest.approx(500.0, rel=0.05)
    other = calibrate(metered_rows.rows(runtime="onnxruntime 1.32"), device="b", boundary="wall", source="a test")
    assert not is_extrapolated(figure(model=other, version="1.32"))
    assert is_extrapolated(figure(model=other, version="1.33"))


def test_a_fit_on_p90_takes_the_p90_or_says_that_it_had_none() -> None:
    model = calibrate(
        metered_rows.rows(noise=0.01), device="board", boundary="wall", source="a test", latency_statistic="p90"
    )
    tail = model.energy(fakes.latency(10.0, p90_ms=12.0), macs_m=150.0, **AT_HOME)  # type: ignore[arg-type]
    middle = model.energy(fakes.latency(10.0, p90_ms=None), macs_m=150.0, **AT_HOME)  # type: ignore[arg-type]
    assert tail.mj > middle.mj
    assert not is_extrapolated(tail)
    assert "biased low" in middle.source and is_extrapolated(middle)


def test_threads_that_the_source_does_not_state_are_never_inside() -> None:
    model = calibrate(metered_rows.rows(threads=None), device="board", boundary="wall", source="a test")
    assert "does not state the number of threads" in figure(model=model).source


@given(st.floats(1e-3, 1e5), st.floats(1.01, 10), st.sampled_from(["fp32", "int8", None]))
def test_longer_is_more_energy_at_one_precision(latency_ms: float, factor: float, precision: str | None) -> None:
    shorter, longer = (figure(time, precision=precision, macs_m=None) for time in (latency_ms, latency_ms * factor))
    assert longer.mj > shorter.mj
