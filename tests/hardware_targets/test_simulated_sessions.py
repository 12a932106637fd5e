"""Seeded sessions on a simulated device with known truth; `benchmarks/simulated_device.py` runs a thousand of each."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from simulated_device import DIFFERENCE, FAULTS, PLACEMENT, WANDER, Scene, session, summary

SESSIONS = 60


@pytest.mark.parametrize("noise", [(0.01, 0.01), (0.02, 0.02), (0.03, 0.03), (0.03, 0.01), (0.01, 0.03)])
def test_intervals_cover_and_a_difference_is_found(noise: tuple[float, float]) -> None:
    shown = summary([session(seed, Scene(DIFFERENCE, noise)) for seed in range(SESSIONS)], DIFFERENCE)
    assert min(shown.covered, shown.covered_conclusive) >= 0.93
    assert abs(shown.bias) < 0.002
    assert shown.different >= 0.9
    assert shown.voided == 0


@pytest.mark.parametrize("noise", [(0.01, 0.01), (0.03, 0.01)])
def test_a_model_is_not_different_from_itself(noise: tuple[float, float]) -> None:
    shown = summary([session(seed, Scene(1.0, noise)) for seed in range(SESSIONS)], 1.0)
    assert shown.different <= 0.07


def test_a_final_covers_where_each_process_is_a_little_different() -> None:
    """Half a percent by where a process puts a model: eighths of all blocks, as if of one process, cover 0.7 to 0.9."""
    placed = {"placement": PLACEMENT, "wander": WANDER}
    found = [session(seed, Scene(1.0, (0.01, 0.01), **placed), "final") for seed in range(SESSIONS)]
    shown = summary(found, 1.0)
    assert shown.covered >= 0.93 and shown.twin_differs <= 0.07
    assert shown.resolution < 0.01


@pytest.mark.parametrize("seconds", [0.3, 2.0])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_passing_fault_is_left_out(fault: str, seconds: float) -> None:
    scene = Scene(DIFFERENCE, (0.01, 0.01), fault=fault, fault_at=(1.0, 2.0), fault_for_s=seconds)
    for seed in range(5):
        found = session(seed, scene)
        assert found.voided_rounds > 0
        assert any(reason.startswith(f"{fault}: ") for reason in found.void_reasons)
        assert found.ratio == pytest.approx(DIFFERENCE, rel=0.01)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_lasting_fault_makes_the_figure_unreliable(fault: str) -> None:
    scene = Scene(DIFFERENCE, (0.01, 0.01), fault=fault, fault_at=(4.0, 4.0))
    assert all(session(seed, scene).unreliable for seed in range(5))
    assert not session(0, Scene(DIFFERENCE, (0.01, 0.01))).unreliable
