"""The meter `calibrated`, the device descriptions that it reads, and the verb that writes them."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import fakes
import metered_rows
import pytest

from hardware_targets import TargetError
from hardware_targets.__main__ import main
from hardware_targets._calibration import calibrate
from hardware_targets._calibration_table import read_table
from hardware_targets._device_file import DEVICES, device_names, read_device, write_device
from hardware_targets._energy_model import is_extrapolated
from hardware_targets.meters.calibrated import Meter


def table(path: Path, rows: list[metered_rows.Row], **more: object) -> Path:
    lines = [{**dataclasses.asdict(row), **more} for row in rows]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    return path


def test_calibrate_writes_what_the_meter_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = table(tmp_path / "rows.csv", metered_rows.rows(noise=0.01))
    out = tmp_path / "board.yaml"
    assert main(["calibrate", str(source), "--out", str(out), "--boundary", "wall", "--date", "2026-01-01"]) == 0
    told = capsys.readouterr().out
    assert "board, wall, times are median" in told and "unseen families: median error" in told
    meter = Meter(out)
    assert meter.unavailable() is None and meter.boundary == "wall"
    energy = meter.energy(fakes.latency(10.0), fakes.conditions(), precision="none", macs_m=150.0)
    assert energy.mj == pytest.approx(200.0, rel=0.03)
    assert not is_extrapolated(energy)
    assert "rows.csv, sha256" in energy.source
    fixed = Meter(out, precision="none", macs_m=150.0)
    assert fixed.energy(fakes.latency(10.0), fakes.conditions()) == energy
    assert is_extrapolated(Meter(out).energy(fakes.latency(10.0), fakes.conditions()))


def test_a_description_survives_its_file(tmp_path: Path) -> None:
    model = calibrate(metered_rows.rows(), device="b", boundary="wall", source="a test", date="2026-01-01")
    write_device(model, tmp_path / "b.yaml")
    once = read_device(tmp_path / "b.yaml")
    write_device(once, tmp_path / "again.yaml")
    assert read_device(tmp_path / "again.yaml") == once
    assert once.models[0].curves[0].band == pytest.approx(model.models[0].curves[0].band, rel=1e-4)


def test_the_table_may_say_boundary_and_statistic(tmp_path: Path) -> None:
    source = table(tmp_path / "rows.csv", metered_rows.rows(), boundary="module", latency_statistic="p90")
    assert main(["calibrate", str(source), "--out", str(tmp_path / "b.yaml")]) == 0
    model = read_device(tmp_path / "b.yaml")
    assert (model.boundary, model.latency_statistic, model.device) == ("module", "p90", "b")


def test_without_a_boundary_nothing_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = table(tmp_path / "rows.csv", metered_rows.rows())
    assert main(["calibrate", str(source), "--out", str(tmp_path / "b.yaml")]) == 2
    assert "--boundary" in capsys.readouterr().err
    assert not (tmp_path / "b.yaml").exists()


def test_parquet(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from pyarrow import parquet

    rows = metered_rows.rows(threads=None)
    lines = [dataclasses.asdict(row) for row in rows]
    parquet.write_table(arrow.Table.from_pylist(lines), tmp_path / "rows.parquet")
    assert read_table(tmp_path / "rows.parquet").rows == tuple(rows)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no rows"),
        ("runtime,precision,family,latency_ms\na,b,c,1\n", "no column energy_mj"),
        ("runtime,precision,family,latency_ms,energy_mj\na,b,c,1,0\n", "row 1: energy_mj is '0'"),
        ("runtime,precision,family,latency_ms,energy_mj\na,b,c,1,nan\n", "row 1: energy_mj is 'nan'"),
        ("runtime,precision,family,latency_ms,energy_mj\na,b,c,x,1\n", "row 1: latency_ms is 'x'"),
        ("runtime,precision,family,latency_ms,energy_mj\na,b,,1,1\n", "row 1: family is empty"),
        ("runtime,precision,family,latency_ms,energy_mj\na,b,c,1\n", "row 1: energy_mj is None"),
        ("runtime,threads,precision,family,latency_ms,energy_mj\na,1.5,b,c,1,1\n", "threads is 1.5"),
        ("runtime,precision,family,latency_ms,energy_mj,boundary\na,b,c,1,1,wall\na,b,c,1,1,module\n", "no one fit"),
        ("runtime,precision,family,latency_ms,energy_mj,latency_statistic\na,b,c,1,1,mean\n", "one of median, p90"),
    ],
)
def test_a_faulty_table_is_refused_with_its_row(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "rows.csv").write_text(text, encoding="utf-8")
    with pytest.raises(TargetError, match=words):
        read_table(tmp_path / "rows.csv")


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet"])
def test_a_table_that_is_not_there_or_not_one(tmp_path: Path, name: str) -> None:
    with pytest.raises(TargetError, match="there is no table"):
        read_table(tmp_path / name)
    (tmp_path / name).write_bytes(b"\xff\xfe\x00garbage")
    with pytest.raises(TargetError):
        read_table(tmp_path / name)


def test_what_the_meter_lacks_it_says(tmp_path: Path) -> None:
    assert "raspberry_pi_4" in str(Meter().unavailable())
    assert Meter().boundary.strip()
    assert "did you mean 'rk3588s'" in str(Meter("rk3588").unavailable())
    assert "there is no device description" in str(Meter(tmp_path / "none.yaml").unavailable())
    assert "TFLite 2.11.0 (ruy)" in str(Meter("rk3588s", runtime="TFLite").unavailable())
    for text in ("", "a: [", "device: x", "[1]"):
        (tmp_path / "bad.yaml").write_text(text, encoding="utf-8")
        assert "is no device description" in str(Meter(tmp_path / "bad.yaml").unavailable())


def test_a_description_with_impossible_figures_is_refused(tmp_path: Path) -> None:
    text = (DEVICES / "raspberry_pi_4.yaml").read_text(encoding="utf-8")
    assert "watts: {fp32: 5.8" in text
    (tmp_path / "bad.yaml").write_text(text.replace("watts: {fp32: 5.8", "watts: {fp32: -5.8"), encoding="utf-8")
    assert "watts are above 0" in str(Meter(tmp_path / "bad.yaml").unavailable())


@pytest.mark.parametrize("name", device_names())
def test_descriptions_that_come_with_the_package(name: str) -> None:
    model = read_device(DEVICES / f"{name}.yaml")
    assert (model.boundary, model.latency_statistic) == ("wall", "p90")
    assert "cm4mlperf-results" in model.source and model.date
    for item in model.models:
        assert item.threads is None and len(item.families) == 4 and item.rows >= 80
        assert item.source.startswith("v")
        for curve in item.curves:
            assert set(curve.watts) == {"fp32", "int8"} and 1 < curve.band < 2
            assert (curve.covered or 0) > 0.8
    energy = Meter(name).energy(fakes.latency(20.0), fakes.conditions(), precision="none", macs_m=200.0)
    assert is_extrapolated(energy), "another unit, runtime and number of threads: never inside"


def test_there_is_one_description_for_each_board_that_was_promised() -> None:
    promised = {"raspberry_pi_4", "rk3588s", "jetson_agx_xavier", "jetson_agx_orin"}
    assert promised <= set(device_names())
