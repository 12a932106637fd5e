"""The hand-written model is one that the runtime runs; `tests/test_hand_written_models.py` shows it to onnx."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hardware_targets import load_feeds
from hardware_targets._null_model import write_null_model
from hardware_targets.runtimes.onnxruntime import Runtime


def test_the_runtime_runs_it(tmp_path: Path) -> None:
    model, feeds = write_null_model(tmp_path)
    session = Runtime().load(model, threads=1)
    assert [(item.name, item.dtype, item.shape) for item in session.inputs] == [("x", "float32", (1,))]
    np.testing.assert_array_equal(session.run(load_feeds(feeds)[0])[0], [0.0])
    np.testing.assert_array_equal(session.run({"x": np.asarray([3.5], dtype=np.float32)})[0], [3.5])
