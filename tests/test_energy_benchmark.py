"""The benchmark of the energy model: MACs as published, bars as committed, and the committed figures found again."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import energy_model
import mlperf_rows
from mobile_macs import macs_m

from hardware_targets._calibration import BY_RATE, validate


@pytest.mark.parametrize(
    ("model", "published"),  # millions, from the papers' tables
    [
        ("mobilenet-v1-1.0-224", 569),
        ("mobilenet-v1-0.25-128", 14),
        ("mobilenet-v2-1.0-224", 300),
        ("mobilenet-v2-1.4-224", 582),
        ("mobilenet-v3-large-224-1.0", 217),
        ("mobilenet-v3-small-224-1.0", 57),
        ("mobilenet-v3-large-minimalistic-224-1.0", 209),
        ("efficientnet-lite0", 407),
        ("efficientnet-lite4", 2640),
    ],
)
def test_macs_are_those_of_the_papers(model: str, published: float) -> None:
    assert macs_m(model) == pytest.approx(published, rel=0.06)


@pytest.mark.parametrize(
    ("published", "network"),
    [
        ("mobilenet-v2-0.35-96-non-quantized", ("mobilenet-v2-0.35-96", "fp32")),
        ("mobilenet-v2-0.35-96-quantized", ("mobilenet-v2-0.35-96", "int8")),
        ("mobilenet-v1-precision_uint8-0.25-128", ("mobilenet-v1-0.25-128", "int8")),
        ("mobilenet-v3-large-minimalistic_224_1.0_float", ("mobilenet-v3-large-minimalistic-224-1.0", "fp32")),
        ("efficientnet-int8-lite3", ("efficientnet-lite3", "int8")),
    ],
)
def test_names_of_all_rounds_are_read(published: str, network: tuple[str, str]) -> None:
    assert mlperf_rows.network(published) == network


def test_the_committed_result_meets_the_bars() -> None:
    found = json.loads(energy_model.RESULT.read_text(encoding="utf-8"))
    model = found["scored"]["model"]
    assert model["median"] <= 0.05 and model["order"] >= 0.95 and model["inside"] >= 0.88


def test_the_committed_result_is_found_again() -> None:
    if not mlperf_rows.TABLE.is_file():
        pytest.skip(mlperf_rows.MISSING)
    committed = json.loads(energy_model.RESULT.read_text(encoding="utf-8"))["scored"]["groups"]
    group = mlperf_rows.groups(("v3.1",))[0]
    told = next(item for item in committed if item["group"] == group.name)
    found = validate(group.rows, BY_RATE)
    assert found.inside is not None
    assert found.median == pytest.approx(told["rate"]["median"], abs=2e-4)
    assert abs(int(found.inside.sum()) - told["rate"]["inside"]) <= 1


def test_it_says_so_where_the_table_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mlperf_rows, "TABLE", tmp_path / "none.csv")
    monkeypatch.setattr(sys, "argv", ["energy_model.py"])
    assert energy_model.main() == 0
    assert "is not in ../shared" in capsys.readouterr().out
