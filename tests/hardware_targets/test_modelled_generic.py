"""Energy from CPU time and a published table."""

from __future__ import annotations

from pathlib import Path

import fakes
import pytest

from hardware_targets.meters.modelled_generic import Meter

ROWS = [
    ("AuthenticAMD", 23, 1, 2, 2.55),
    ("AuthenticAMD", 23, 49, 0, 1.69),
    ("AuthenticAMD", 25, 1, 1, 1.87),
    ("GenuineIntel", 6, 85, 4, 4.19),
    ("GenuineIntel", 6, 85, 7, 3.97),
    ("GenuineIntel", 6, 63, 2, 6.01),
    ("0x41", None, 0xD0C, None, 1.69),
]


@pytest.mark.parametrize(("vendor", "family", "number", "stepping", "watts"), ROWS)
def test_known_processors(vendor: str, family: int | None, number: int, stepping: int | None, watts: float) -> None:
    here = fakes.conditions(cpu_vendor=vendor, cpu_family=family, cpu_number=number, cpu_stepping=stepping)
    energy = Meter().energy(fakes.latency(2.0, cpu_seconds=0.004), here)
    assert energy.mj == pytest.approx(watts * 4)
    assert energy.mj_low == pytest.approx(energy.mj / 1.5)
    assert energy.mj_high == pytest.approx(energy.mj * 1.5)
    assert f"{watts} W" in energy.source and "median" not in energy.source


@pytest.mark.parametrize(
    ("vendor", "family", "number", "stepping"),
    [("AuthenticAMD", 25, 17, 1), ("GenuineIntel", 6, 85, 11), ("GenuineIntel", 6, 85, None), (None, None, None, None)],
)
def test_anything_else_gets_the_median_and_says_so(
    vendor: str | None, family: int | None, number: int | None, stepping: int | None
) -> None:
    here = fakes.conditions(cpu_vendor=vendor, cpu_family=family, cpu_number=number, cpu_stepping=stepping)
    energy = Meter().energy(fakes.latency(cpu_seconds=0.001), here)
    assert energy.mj == pytest.approx(3.97)
    assert "is not in the table: median of its 11 rows" in energy.source


def test_energy_follows_cpu_time_not_wall_time() -> None:
    one = Meter().energy(fakes.latency(2.0, cpu_seconds=0.002), fakes.conditions())
    two = Meter().energy(fakes.latency(2.0, cpu_seconds=0.004), fakes.conditions())
    assert two.mj == pytest.approx(2 * one.mj)


def test_it_says_when_its_table_is_gone(tmp_path: Path) -> None:
    assert Meter().unavailable() is None
    assert "is not there" in str(Meter(tmp_path / "none.yaml").unavailable())
