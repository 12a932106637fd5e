"""The smallest ONNX model, one Identity of one float, written by hand so that a device needs no onnx package.

A process that runs it needs as much memory as interpreter and runtime do by themselves. The format is protocol buffers
(onnx/onnx.proto, numbers of the fields in the comments): a field is its number and wire type, then a varint or a length
and bytes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hardware_targets._feeds import save_feeds


def null_model() -> bytes:
    """The model's bytes: input `x` float32 [1], output `y` the same."""
    node = _bytes(1, b"x") + _bytes(2, b"y") + _bytes(4, b"Identity")  # NodeProto: input, output, op_type
    graph = _bytes(1, node) + _bytes(2, b"null")  # GraphProto: node, name
    graph += _bytes(11, _value(b"x")) + _bytes(12, _value(b"y"))  # input, output
    opset = _bytes(1, b"") + _number(2, 13)  # OperatorSetIdProto: domain, version
    return _number(1, 8) + _bytes(7, graph) + _bytes(8, opset)  # ModelProto: ir_version, graph, opset_import


def write_null_model(folder: Path) -> tuple[Path, Path]:
    """The model file and a folder with one feed for it."""
    model, feeds = folder / "null.onnx", folder / "null_feeds"
    model.write_bytes(null_model())
    save_feeds(feeds, [{"x": np.zeros(1, dtype=np.float32)}])
    return model, feeds


def _value(name: bytes) -> bytes:
    shape = _bytes(1, _number(1, 1))  # TensorShapeProto: dim { dim_value }
    tensor = _number(1, 1) + _bytes(2, shape)  # TypeProto.Tensor: elem_type FLOAT, shape
    return _bytes(1, name) + _bytes(2, _bytes(1, tensor))  # ValueInfoProto: name, type { tensor_type }


def _number(field: int, value: int) -> bytes:
    return bytes([field << 3, value])  # every value here is below 128: one byte each


def _bytes(field: int, content: bytes) -> bytes:
    return bytes([field << 3 | 2, len(content)]) + content
