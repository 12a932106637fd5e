"""Small real ONNX files for the tests of this folder, written by hand: these tests run where no onnx package is.

The format is protocol buffers (onnx/onnx.proto, numbers of the fields in the comments): a field is its number and wire
type, then a varint, or a length and bytes. `tests/test_hand_written_models.py` holds them against onnx.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hardware_targets import save_feeds


def multiply(path: Path, *, width: int = 8, layers: int = 1, batch: int | str = 1, apart: bool = False) -> Path:
    """`layers` square matrix products, then one to 3 outputs; input `x` [batch, width].

    `apart` puts the weights into a file beside the model.
    """
    generator = np.random.default_rng(layers)
    names = [f"w{layer}" for layer in range(layers + 1)]
    shapes = [(width, width)] * layers + [(width, 3)]
    weights = [(generator.standard_normal(shape) / width).astype("<f4") for shape in shapes]
    steps = ["x", *(f"h{layer}" for layer in range(layers)), "y"]
    graph = b"".join(_bytes(1, _product(steps[i], name, steps[i + 1])) for i, name in enumerate(names))  # node
    graph += _bytes(2, b"tiny")  # name
    beside = path.with_name(f"{path.name}.data") if apart else None
    graph += b"".join(_bytes(5, tensor) for tensor in _tensors(names, weights, beside))  # initializer
    graph += _bytes(11, _value("x", batch, width)) + _bytes(12, _value("y", batch, 3))  # input, output
    opset = _bytes(1, b"") + _number(2, 17)  # OperatorSetIdProto: domain, version
    path.write_bytes(_number(1, 9) + _bytes(7, graph) + _bytes(8, opset))  # ModelProto: ir_version, graph, opset_import
    return path


def feeds(folder: Path, rows: int = 5, width: int = 8) -> Path:
    """Rows that fit `multiply`."""
    generator = np.random.default_rng(0)
    save_feeds(folder, ({"x": generator.standard_normal((1, width)).astype(np.float32)} for _ in range(rows)))
    return folder


def _product(left: str, right: str, out: str) -> bytes:
    """NodeProto: input, input, output, op_type."""
    return _bytes(1, left.encode()) + _bytes(1, right.encode()) + _bytes(2, out.encode()) + _bytes(4, b"MatMul")


def _tensors(names: list[str], weights: list[np.ndarray], beside: Path | None) -> list[bytes]:
    """TensorProto each: dims, data_type FLOAT, name, then raw_data, or external_data and data_location EXTERNAL."""
    found, content = [], b""
    for name, values in zip(names, weights, strict=True):
        head = b"".join(_number(1, size) for size in values.shape) + _number(2, 1) + _bytes(8, name.encode())
        raw = values.tobytes()
        if beside is None:
            found.append(head + _bytes(9, raw))
            continue
        place = {"location": beside.name, "offset": str(len(content)), "length": str(len(raw))}
        entries = [_bytes(1, key.encode()) + _bytes(2, value.encode()) for key, value in place.items()]
        found.append(head + b"".join(_bytes(13, entry) for entry in entries) + _number(14, 1))
        content += raw
    if beside is not None:
        beside.write_bytes(content)
    return found


def _value(name: str, batch: int | str, width: int) -> bytes:
    sizes = [_bytes(2, batch.encode()) if isinstance(batch, str) else _number(1, batch), _number(1, width)]
    shape = b"".join(_bytes(1, size) for size in sizes)  # TensorShapeProto: dim { dim_value or dim_param }
    tensor = _number(1, 1) + _bytes(2, shape)  # TypeProto.Tensor: elem_type FLOAT, shape
    return _bytes(1, name.encode()) + _bytes(2, _bytes(1, tensor))  # ValueInfoProto: name, type { tensor_type }


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])
