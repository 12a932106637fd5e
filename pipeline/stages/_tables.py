"""What onnxruntime's tools leave out of an 8-bit file of texts: embedding tables, and products written as Gemm."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

LEAST = 16_384  # numbers in a table; a smaller one weighs less than the steps that turn it back


def tables(model: onnx.ModelProto) -> dict[str, TensorProto]:
    """The float32 tables [rows, width] that are read row by row, by name."""
    read = {node.input[0] for node in model.graph.node if node.op_type == "Gather" and _axis(node) == 0}
    return {
        tensor.name: tensor
        for tensor in model.graph.initializer
        if tensor.name in read and len(tensor.dims) == 2 and tensor.data_type == TensorProto.FLOAT
        and int(np.prod(tensor.dims)) >= LEAST
    }  # fmt: skip


def eight_bit_tables(source: Path, target: Path) -> bool:
    """Store every table of a file in 8 bits, each row with a scale of its own, and turn rows back as they are read.

    Where there is none, nothing is written, and False returned. onnxruntime's own way has one scale for a whole table,
    so that its longest row decides the error of all.
    """
    model = onnx.load(source)
    found = tables(model)
    if not found:
        return False
    for name, tensor in found.items():
        values = numpy_helper.to_array(tensor)
        scale = np.maximum(np.abs(values).max(1, keepdims=True) / 127, 1e-12).astype(np.float32)
        rounded = np.clip(np.round(values / scale), -127, 127).astype(np.int8)
        model.graph.initializer.remove(tensor)
        model.graph.initializer.append(numpy_helper.from_array(rounded, f"{name}_int8"))
        model.graph.initializer.append(numpy_helper.from_array(scale, f"{name}_scale"))
    nodes = [new for node in model.graph.node for new in (_read(node) if _reads(node, found) else [node])]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, target)
    return True


def products(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph with every Gemm on stored weights as MatMul and Add, which is what the block quantizer knows."""
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        plain = _settings(node) if node.op_type == "Gemm" and node.input[1] in stored else None
        if plain is None or plain["alpha"] != 1 or plain["beta"] != 1 or plain["transA"]:
            nodes.append(node)
            continue
        weight = node.input[1]
        if plain["transB"]:
            turned = np.ascontiguousarray(numpy_helper.to_array(stored[weight]).T)
            weight = f"{weight}_turned_{len(nodes)}"
            model.graph.initializer.append(numpy_helper.from_array(turned, weight))
        product = f"{node.output[0]}_product" if len(node.input) > 2 else node.output[0]
        nodes.append(helper.make_node("MatMul", [node.input[0], weight], [product], f"{node.name}_product"))
        if len(node.input) > 2:
            nodes.append(helper.make_node("Add", [product, node.input[2]], [node.output[0]], f"{node.name}_bias"))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    left = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(left)
    return model


def _reads(node: NodeProto, found: dict[str, TensorProto]) -> bool:
    return node.op_type == "Gather" and node.input[0] in found


def _read(node: NodeProto) -> list[NodeProto]:
    table, places, out = node.input[0], node.input[1], node.output[0]
    return [
        helper.make_node("Gather", [f"{table}_int8", places], [f"{out}_int8"], f"{out}_rows"),
        helper.make_node("Gather", [f"{table}_scale", places], [f"{out}_scale"], f"{out}_scales"),
        helper.make_node("Cast", [f"{out}_int8"], [f"{out}_cast"], f"{out}_as_float", to=TensorProto.FLOAT),
        helper.make_node("Mul", [f"{out}_cast", f"{out}_scale"], [out], f"{out}_turned_back"),
    ]


def _axis(node: NodeProto) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == "axis"), 0)


def _settings(gemm: NodeProto) -> dict[str, float]:
    given = {attribute.name: helper.get_attribute_value(attribute) for attribute in gemm.attribute}
    return {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0, **given}
