"""The hand-written model is a valid one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from hardware_targets import load_feeds
from hardware_targets._null_model import null_model, write_null_model
from hardware_targets.runtimes.onnxruntime import Runtime


def test_onnx_accepts_it() -> None:
    model = onnx.load_model_from_string(null_model())
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["Identity"]


def test_the_runtime_runs_it(tmp_path: Path) -> None:
    model, feeds = write_null_model(tmp_path)
    session = Runtime().load(model, threads=1)
    assert [(item.name, item.dtype, item.shape) for item in session.inputs] == [("x", "float32", (1,))]
    np.testing.assert_array_equal(session.run(load_feeds(feeds)[0])[0], [0.0])
    np.testing.assert_array_equal(session.run({"x": np.asarray([3.5], dtype=np.float32)})[0], [3.5])
