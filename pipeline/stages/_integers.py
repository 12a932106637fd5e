"""What onnxruntime asks of a file with rounded (fake-quantized) products before it multiplies in integers."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

_TURNED_BACK = "DequantizeLinear"


def rounded_products(model: onnx.ModelProto) -> list[NodeProto]:
    """The matrix products whose weights are stored as integers and whose other input is rounded before them."""
    made = _makers(model)
    stored = {tensor.name for tensor in model.graph.initializer}
    products = [node for node in model.graph.node if node.op_type in ("Gemm", "MatMul")]
    read = [(node, [made[name] for name in node.input[:2] if name in made]) for node in products]
    return [
        node
        for node, back in read
        if [one.op_type for one in back] == [_TURNED_BACK] * 2 and back[1].input[0] in stored
    ]


def integer_biases(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph with the bias of every rounded Gemm in 32-bit integers, whose step is the product of both scales.

    With a float bias onnxruntime 1.32 leaves such a Gemm in float arithmetic. A bias moves by half a step at most, and
    sums of products are whole numbers of these steps.
    """
    made = _makers(model)
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    backs: dict[str, NodeProto] = {}  # what turns a bias back, by the output of the Gemm that reads it
    for node in rounded_products(model):
        if node.op_type != "Gemm" or len(node.input) < 3 or node.input[2] not in stored:
            continue
        of_input, of_weight, bias = (
            numpy_helper.to_array(stored[name])
            for name in (made[node.input[0]].input[1], made[node.input[1]].input[1], node.input[2])
        )
        scale, name = of_input * of_weight, f"{node.output[0]}_bias"
        whole = np.round(bias / scale).clip(-(2**31), 2**31 - 1).astype(np.int32)
        model.graph.initializer.append(numpy_helper.from_array(whole, f"{name}_int32"))
        model.graph.initializer.append(numpy_helper.from_array(scale, f"{name}_scale"))
        backs[node.output[0]] = helper.make_node(
            _TURNED_BACK, [f"{name}_int32", f"{name}_scale"], [name], f"{name}_turned_back", axis=0
        )
        node.input[2] = name
    nodes = [new for node in model.graph.node for new in (backs.get(node.output[0]), node) if new is not None]
    read = {name for node in nodes for name in node.input}
    left = [tensor for tensor in model.graph.initializer if tensor.name in read]
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(left)
    return model


def _makers(model: onnx.ModelProto) -> dict[str, NodeProto]:
    return {name: node for node in model.graph.node for name in node.output}
