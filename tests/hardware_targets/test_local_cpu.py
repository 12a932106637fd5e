"""This machine for real: a measuring child, its figures, its death."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import processes
import pytest
import tiny_models

from hardware_targets import BadModel, DeviceFailure, Energy, Measurement, TargetError, load, load_feeds, save_feeds
from hardware_targets._lock import device_lock, lock_path
from hardware_targets._null_model import write_null_model
from hardware_targets._spawn import run_child
from hardware_targets.local_cpu import Target, _over_null
from hardware_targets.runtimes.onnxruntime import Runtime


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bench")
    return {
        "small": tiny_models.multiply(folder / "small.onnx", width=64, layers=1),
        "big": tiny_models.multiply(folder / "big.onnx", width=64, layers=24),
        "feeds": tiny_models.feeds(folder / "feeds", rows=12, width=64),
        "narrow": tiny_models.feeds(folder / "narrow", rows=12, width=5),
        "short": tiny_models.feeds(folder / "short", rows=4, width=64),
    }


@pytest.fixture(scope="module")
def found(bench: dict[str, Path]) -> Measurement:
    return Target(seconds=2).measure(bench["small"], bench["feeds"], bench["big"], bench["feeds"], seed=1)


def test_a_measurement(found: Measurement) -> None:
    latency = found.latency
    assert latency.ratio_low < latency.ratio < latency.ratio_high < 1
    assert latency.median_ms < latency.reference_median_ms
    assert latency.p90_ms is not None and latency.p99_ms is not None
    assert 0 < latency.cpu_seconds < 1
    assert found.conditions.runtime == "onnxruntime" and found.conditions.threads == 1
    assert Measurement.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))) == found


def test_its_energy_is_labelled(found: Measurement) -> None:
    assert isinstance(found.energy, Energy)
    assert found.energy.kind == "modelled-generic"
    assert "hardware thread" in found.energy.boundary


def test_its_memory_is_small_for_a_small_model(found: Measurement) -> None:
    assert isinstance(found.peak_memory_mb, float)
    assert 0 <= found.peak_memory_mb < 20


def test_the_child_sees_the_machine_that_the_parent_sees(found: Measurement) -> None:
    assert found.conditions.fingerprint == Target().conditions().fingerprint


def test_predictions_are_batch_1_on_the_same_file(bench: dict[str, Path]) -> None:
    rows = Target().predict(bench["big"], bench["feeds"])
    session = Runtime().load(bench["big"], threads=1)
    expected = np.concatenate([session.run(feed)[0] for feed in load_feeds(bench["feeds"])])
    assert rows.shape == (12, 3)
    np.testing.assert_array_equal(rows, expected)


def test_memory_grows_with_the_model(tmp_path: Path) -> None:
    wide = tiny_models.multiply(tmp_path / "wide.onnx", width=2048, layers=1)  # 17 MB of weights
    feeds = tiny_models.feeds(tmp_path / "feeds", rows=2, width=2048)
    target = Target()
    job = target._job("memory", wide, feeds)
    peak = run_child(job, threads=1, time_limit_s=60.0, read=lambda _, result: result)["peak_bytes"]
    memory, warning = _over_null(peak, target._null())
    assert warning is None and isinstance(memory, float) and 16 < memory < 120


def test_memory_below_the_null_model_is_said() -> None:
    memory, warning = _over_null(100, 1_000_100)
    assert memory == 0.0 and warning and "1.0 MB below" in warning
    assert not isinstance(_over_null(None, 5)[0], float)


def test_a_wrong_file_wrong_feeds_and_different_rows_are_sentences(bench: dict[str, Path], tmp_path: Path) -> None:
    target = Target()
    (tmp_path / "bad.onnx").write_bytes(b"nothing")
    with pytest.raises(BadModel, match="does not load"):
        target.predict(tmp_path / "bad.onnx", bench["feeds"])
    with pytest.raises(BadModel, match="its inputs are"):
        target.predict(bench["small"], bench["narrow"])
    with pytest.raises(TargetError, match="12 rows, the reference's 4"):
        target.measure(bench["small"], bench["feeds"], bench["big"], bench["short"], seed=0)
    with pytest.raises(TargetError, match="holds no feeds"):
        target.predict(bench["small"], tmp_path)
    with pytest.raises(TargetError, match="there is no file"):
        target.predict(tmp_path / "none.onnx", bench["feeds"])
    with pytest.raises(TargetError, match="is a folder"):
        target.predict(tmp_path, bench["feeds"])


def test_late_is_a_device_failure(bench: dict[str, Path]) -> None:
    start = time.monotonic()
    with pytest.raises(DeviceFailure, match=r"stopped after its limit of 0\.05 s"):
        Target().predict(bench["small"], bench["feeds"], time_limit_s=0.05)
    assert time.monotonic() - start < 5


def test_a_busy_device_is_a_device_failure(
    bench: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    with device_lock(lock_path(), 0), pytest.raises(DeviceFailure, match="the device is busy"):
        Target().measure(bench["small"], bench["feeds"], bench["big"], bench["feeds"], seed=0, time_limit_s=4.0)


def test_a_dying_child_is_told_with_its_last_words(bench: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHOME", "/nowhere")  # its interpreter cannot start
    with pytest.raises(DeviceFailure, match=r"ended with exit code 1.*it last said"):
        Target().predict(bench["small"], bench["feeds"])


MEASURE = """
import sys
from pathlib import Path
from hardware_targets import load
model, feeds = Path(sys.argv[1]), Path(sys.argv[2])
load("local_cpu").measure(model, feeds, model, feeds, seed=0)
"""


def test_the_child_dies_with_a_killed_parent_and_frees_the_device(bench: dict[str, Path], tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", MEASURE, str(bench["big"]), str(bench["feeds"])],
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    try:
        lock = lock_path(tmp_path)
        assert processes.within(30, lambda: lock.exists() and lock.read_text() != ""), "it never came to measuring"
        child = int(lock.read_text())
        assert processes.parent(child) == parent.pid
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    assert processes.within(5, lambda: processes.ended(child))
    with device_lock(lock, 2.0):
        pass


@pytest.mark.parametrize("threads", [0, -1, 1.5, True, "2", 10_000])
def test_odd_thread_counts_are_refused(threads: object) -> None:
    with pytest.raises(TargetError, match=r"threads is .*logical cores"):
        load("local_cpu", threads=threads)


def test_outputs_without_a_batch_axis_are_stacked(tmp_path: Path) -> None:
    model, feeds = write_null_model(tmp_path)
    save_feeds(feeds, ({"x": np.asarray([row], dtype=np.float32)} for row in range(3)))
    np.testing.assert_array_equal(Target().predict(model, feeds), [0.0, 1.0, 2.0])
