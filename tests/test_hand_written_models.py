"""Models that are written without the onnx package are valid ones, and hold what they are said to hold."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from hardware_targets._null_model import null_model

sys.path.insert(0, str(Path(__file__).parent / "hardware_targets"))
import tiny_models


def test_onnx_accepts_the_null_model() -> None:
    model = onnx.load_model_from_string(null_model())
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["Identity"]


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("batch", [1, "n"])
def test_onnx_accepts_the_models_of_the_tests(tmp_path: Path, batch: int | str, apart: bool) -> None:
    path = tiny_models.multiply(tmp_path / "m.onnx", width=200, layers=2, batch=batch, apart=apart)
    onnx.checker.check_model(path, full_check=True)
    model = onnx.load(path)
    assert [node.op_type for node in model.graph.node] == ["MatMul"] * 3
    shape = model.graph.input[0].type.tensor_type.shape.dim
    assert (shape[0].dim_param or shape[0].dim_value, shape[1].dim_value) == (batch, 200)
    first = np.random.default_rng(2).standard_normal((200, 200)) / 200
    np.testing.assert_array_equal(numpy_helper.to_array(model.graph.initializer[0]), first.astype(np.float32))
    assert (path.stat().st_size < 5000) == apart
