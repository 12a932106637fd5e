"""OpenVINO against ONNX Runtime on the same files; skipped where the extra is not installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import tiny_models

from hardware_targets import BadModel, Input, load, load_feeds
from hardware_targets.runtimes import onnxruntime
from hardware_targets.runtimes.openvino import Runtime

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="needs openvino; pip install 'niwaki[openvino]'"
)


@pytest.mark.parametrize("threads", [1, 2])
def test_it_computes_what_onnxruntime_computes(threads: int, tmp_path: Path) -> None:
    model, feeds = (
        tiny_models.multiply(tmp_path / "m.onnx", width=32, layers=3),
        tiny_models.feeds(tmp_path / "f", width=32),
    )
    ours, theirs = Runtime().load(model, threads), onnxruntime.Runtime().load(model, threads)
    for feed in load_feeds(feeds):
        np.testing.assert_allclose(ours.run(feed)[0], theirs.run(feed)[0], rtol=1e-5, atol=1e-7)


def test_inputs_with_open_sizes(tmp_path: Path) -> None:
    session = Runtime().load(tiny_models.multiply(tmp_path / "m.onnx", batch="n"), threads=1)
    assert session.inputs == (Input("x", "float32", (None, 8)),)
    assert session.run({"x": np.ones((5, 8), dtype=np.float32)})[0].shape == (5, 3)


def test_an_output_outlives_the_next_call(tmp_path: Path) -> None:
    session = Runtime().load(tiny_models.multiply(tmp_path / "m.onnx"), threads=1)
    first = session.run({"x": np.ones((1, 8), dtype=np.float32)})[0]
    kept = first.copy()
    session.run({"x": np.full((1, 8), 7, dtype=np.float32)})
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x80\x04\x95pickle"])
def test_files_that_are_no_models(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(BadModel, match=r"openvino does not load .*m\.onnx"):
        Runtime().load(tmp_path / "m.onnx", threads=1)


@pytest.mark.parametrize(
    "feed",
    [
        {"x": np.ones((1, 7), dtype=np.float32)},
        {"x": np.ones((1, 8), dtype=np.float64)},
        {"y": np.ones((1, 3), dtype=np.float32)},
        {},
    ],
    ids=["shape", "dtype", "an output", "nothing"],
)
def test_feeds_that_do_not_fit_name_the_inputs(feed: dict[str, np.ndarray], tmp_path: Path) -> None:
    session = Runtime().load(tiny_models.multiply(tmp_path / "m.onnx"), threads=1)
    session.run({"x": np.ones((1, 8), dtype=np.float32)})
    with pytest.raises(BadModel, match=r"its inputs are: x float32 \[1, 8\]"):
        session.run(feed)


@pytest.mark.parametrize("target", ["local_cpu", "constrained_cpu"])
def test_a_target_measures_with_it(target: str, tmp_path: Path) -> None:
    small, big = (tiny_models.multiply(tmp_path / f"{n}.onnx", width=64, layers=n) for n in (1, 24))
    feeds = tiny_models.feeds(tmp_path / "feeds", width=64)
    device = load(target, runtime="openvino")
    found = device.measure(small, feeds, big, feeds, seed=0, seconds=2)
    assert found.latency.ratio_high < 1
    assert found.conditions.runtime == "openvino" and found.conditions.runtime_version.startswith("20")
    assert found.conditions.fingerprint == device.conditions().fingerprint
    assert found.conditions.fingerprint != load(target).conditions().fingerprint
