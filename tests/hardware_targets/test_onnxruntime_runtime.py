"""Loading and running real files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny_models

from hardware_targets import BadModel, Input
from hardware_targets.runtimes.onnxruntime import Runtime


def test_inputs_and_outputs(tmp_path: Path) -> None:
    session = Runtime().load(tiny_models.multiply(tmp_path / "m.onnx", batch="n"), threads=1)
    assert session.inputs == (Input("x", "float32", ("n", 8)),)
    assert session.run({"x": np.ones((1, 8), dtype=np.float32)})[0].shape == (1, 3)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x80\x04\x95pickle"])
def test_files_that_are_no_models(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(BadModel, match="does not load"):
        Runtime().load(tmp_path / "m.onnx", threads=1)


@pytest.mark.parametrize("feed", [{"x": np.ones((1, 7), dtype=np.float32)}, {"y": np.ones((1, 8), dtype=np.float32)}])
def test_feeds_that_do_not_fit_name_the_inputs(tmp_path: Path, feed: dict[str, np.ndarray]) -> None:
    session = Runtime().load(tiny_models.multiply(tmp_path / "m.onnx"), threads=1)
    with pytest.raises(BadModel, match=r"its inputs are: x float32 \[1, 8\]"):
        session.run(feed)
