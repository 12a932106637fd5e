"""Small real ONNX files for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from hardware_targets import save_feeds


def multiply(path: Path, *, width: int = 8, layers: int = 1, batch: int | str = 1) -> Path:
    """`layers` square matrix products, then one to 3 outputs; input `x` [batch, width]."""
    generator = np.random.default_rng(layers)
    names = [f"w{layer}" for layer in range(layers + 1)]
    shapes = [(width, width)] * layers + [(width, 3)]
    weights = [
        numpy_helper.from_array((generator.standard_normal(shape) / width).astype(np.float32), name)
        for name, shape in zip(names, shapes, strict=True)
    ]
    steps = ["x", *(f"h{layer}" for layer in range(layers)), "y"]
    nodes = [helper.make_node("MatMul", [steps[i], name], [steps[i + 1]]) for i, name in enumerate(names)]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 3])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return path


def feeds(folder: Path, rows: int = 5, width: int = 8) -> Path:
    """Rows that fit `multiply`."""
    generator = np.random.default_rng(0)
    save_feeds(folder, ({"x": generator.standard_normal((1, width)).astype(np.float32)} for _ in range(rows)))
    return folder
