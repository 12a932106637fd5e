"""A published table as a target."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
import yaml

from hardware_targets import DeviceFailure, Energy, Measurement, TargetError, Unmeasured, load
from hardware_targets.recorded import Target

HEAD: dict[str, Any] = {
    "source": "a test",
    "device": "Board",
    "runtime": "TFLite",
    "threads": 4,
    "latency_statistic": "median",
    "energy": {"kind": "measured", "boundary": "wall"},
}
ROWS: list[dict[str, Any]] = [
    {"key": "small", "latency_ms": 2.0, "energy_mj": 10.0, "cpu_ms": 7.0, "peak_memory_mb": 30.0},
    {"key": "large", "latency_s": 0.008, "latency_low": 0.007, "latency_high": 0.010, "energy_j": 0.05},
    {"key": "silent", "latency_ms": 3.0},
]
MLPERF = Path(__file__).parents[3] / "shared" / "data" / "mlperf_power" / "single_stream.csv"


def described(folder: Path, rows: object = ROWS, **changes: object) -> Target:
    path = folder / "table.yaml"
    kept = {name: value for name, value in {**HEAD, "rows": rows, **changes}.items() if value is not None}
    path.write_text(yaml.safe_dump(kept), encoding="utf-8")
    return Target(threads=4, table=str(path))


def test_figures_are_those_of_the_table(tmp_path: Path) -> None:
    target = described(tmp_path)
    assert target.unavailable() is None
    found = target.look_up("small", "large")
    assert (found.latency.median_ms, found.latency.reference_median_ms) == (2.0, 8.0)
    assert (found.latency.ratio, found.latency.ratio_low, found.latency.ratio_high) == (0.25, 2 / 10, 2 / 7)
    assert found.latency.cpu_seconds == 0.007 and found.peak_memory_mb == 30.0
    assert found.energy == Energy(10.0, 10.0, 10.0, "measured", "wall", "recorded", "a test")
    assert found.conditions == target.conditions() and found.conditions.cpu_model == "Board"
    assert found.conditions.threads == target.threads == 4
    assert Measurement.from_json(found.to_json()) == found
    assert found.warnings[0] == "looked up, not measured here: a test"


def test_what_the_table_does_not_hold_is_a_sentence_never_a_number(tmp_path: Path) -> None:
    found = described(tmp_path).look_up("silent", "small")
    assert isinstance(found.energy, Unmeasured) and "no energy for this model" in found.energy.reason
    assert isinstance(found.peak_memory_mb, Unmeasured)
    assert found.latency.cpu_seconds is None and found.latency.p90_ms is None
    assert any("gives no range" in sentence for sentence in found.warnings)
    unlabelled = described(tmp_path, energy=None).look_up("small", "large")
    assert isinstance(unlabelled.energy, Unmeasured) and "no kind and boundary" in unlabelled.energy.reason


def test_nothing_is_interpolated(tmp_path: Path) -> None:
    rows = [{"key": "width_0.5", "latency_ms": 1.0}, {"key": "width_1.0", "latency_ms": 3.0}]
    with pytest.raises(DeviceFailure, match=r"no row for 'width_0\.75', and figures are not interpolated"):
        described(tmp_path, rows).look_up("width_0.75", "width_1.0")


def test_files_are_found_by_their_bytes_then_by_their_name(tmp_path: Path) -> None:
    model, other = (tiny_models.multiply(tmp_path / name, layers=n) for n, name in enumerate(("a.onnx", "small.onnx")))
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    target = described(tmp_path, [{"sha256": digest, "latency_ms": 1.0}, {"key": "small", "latency_ms": 4.0}])
    assert target.measure(model, tmp_path, other, tmp_path, seed=0).latency.ratio == 0.25
    with pytest.raises(TargetError, match="there is no file"):
        target.measure(tmp_path / "absent.onnx", tmp_path, other, tmp_path, seed=0)


def test_predictions_come_from_a_device_that_is_named(tmp_path: Path) -> None:
    model, feeds = tiny_models.multiply(tmp_path / "small.onnx"), tiny_models.feeds(tmp_path / "feeds")
    target = described(tmp_path)
    with pytest.raises(DeviceFailure, match="name the target that runs the file in `predict_on:`"):
        target.predict(model, feeds)
    running = Target(threads=4, table=str(tmp_path / "table.yaml"), predict_on="local_cpu")
    assert running.unavailable() is None
    np.testing.assert_array_equal(running.predict(model, feeds), load("local_cpu").predict(model, feeds))
    assert [item.name for item in running.inputs(model)] == ["x"]


def test_percentiles_are_not_passed_off_as_medians(tmp_path: Path) -> None:
    found = described(tmp_path, latency_statistic="p90").look_up("small", "large")
    assert found.latency.p90_ms == 2.0
    assert "the latencies of this table are p90 of single calls, not medians" in found.warnings


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_rows_lie_beside_the_description(ending: str, tmp_path: Path) -> None:
    rows = [
        {"model": m, "board": b, "ms": t, "j": 0.1} for m, b, t in (("s", "A", 1.5), ("l", "A", 6.0), ("s", "B", 9.0))
    ]
    path = tmp_path / f"rows.{ending}"
    if ending == "csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    columns = {"key": "model", "latency_ms": "ms", "energy_j": "j"}
    found = described(tmp_path, path.name, columns=columns, where={"board": "A"}).look_up("s", "l")
    assert found.latency.ratio == 0.25
    assert isinstance(found.energy, Energy) and found.energy.mj == 100.0
    with pytest.raises(TargetError, match="two rows for 's'; choose one of them with `where`"):
        described(tmp_path, path.name, columns=columns).look_up("s", "l")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"source": None}, "does not say source"),
        ({"threads": 0}, "threads is 0"),
        ({"threads": 2}, "is of 2 threads, not 4; set threads: 2"),
        ({"latency_statistic": "best"}, "latency_statistic is 'best'"),
        ({"energy": {"kind": "measured"}}, "needs a kind and a boundary"),
        ({"colour": "red"}, "has colour, which no table has"),
        ({"rows": "absent.csv"}, "which is not there"),
        ({"rows": "table.yaml"}, "neither .csv nor .parquet"),
        ({"rows": []}, "has no rows"),
        ({"rows": ["small"]}, "a row is 'small'"),
        ({"rows": [{"latency_ms": 1.0}]}, "neither key nor sha256"),
        ({"where": {"key": "tiny"}}, "has no rows where {'key': 'tiny'}"),
    ],
)
def test_a_table_that_cannot_be_used_says_why(changes: dict[str, object], said: str, tmp_path: Path) -> None:
    reason = described(tmp_path, **changes).unavailable()
    assert reason is not None and said in reason


@pytest.mark.parametrize("row", [{"latency_ms": 0}, {"latency_ms": "n/a"}, {"latency_ms": 1, "energy_mj": -1}, {}])
def test_a_row_that_is_no_figure_says_so(row: dict[str, object], tmp_path: Path) -> None:
    target = described(tmp_path, [{"key": "small", **row}])
    with pytest.raises(TargetError, match=r"table\.yaml, row 'small'.*(above 0|name the column)"):
        target.look_up("small", "small")


def test_without_a_table_it_says_what_to_give(tmp_path: Path) -> None:
    assert "give `table:`" in (load("recorded").unavailable() or "")
    assert "there is no table" in (Target(table=str(tmp_path / "none.yaml")).unavailable() or "")
    (tmp_path / "odd.yaml").write_text("[1, 2")
    assert "is no YAML" in (Target(table=str(tmp_path / "odd.yaml")).unavailable() or "")


@pytest.mark.skipif(not MLPERF.is_file(), reason="needs ../shared/data/mlperf_power, which is not here")
def test_the_published_grid_of_a_real_board(tmp_path: Path) -> None:
    """Looked up row by row against the file itself."""
    where = {"version": "v2.1", "system": "Firefly-RK3588S (firefly)", "framework": "TFLite v2.7.1 (ruy)"}
    with MLPERF.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if all(row[name] == value for name, value in where.items())]
    columns = {"key": "model", "latency_ms": "latency_ms_p90", "energy_j": "energy_j"}
    target = described(tmp_path, str(MLPERF), columns=columns, where=where, latency_statistic="p90")
    assert len(rows) == len({row["model"] for row in rows}) == 95
    for row in rows:
        found = target.look_up(row["model"], rows[0]["model"])
        assert found.latency.median_ms == float(row["latency_ms_p90"])
        assert isinstance(found.energy, Energy) and found.energy.mj == float(row["energy_j"]) * 1000
