"""Fewer bits for an ONNX file. The only file that knows onnxruntime's conversion tools."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer
from onnxruntime.quantization.shape_inference import quant_pre_process

from pipeline.arrays import fresh
from pipeline.artifact import OnnxArtifact, sha256_of
from pipeline.errors import ConfigError, Failed, Refused, near
from pipeline.stages._integers import integer_biases, rounded_products
from pipeline.stages._quiet import quiet
from pipeline.stages._tables import eight_bit_tables, products, tables

SCHEMES = ("none", "fp16", "dynamic_int8", "static_int8", "weight_int8", "qat_int8")
MATRIX = ["MatMul", "Gemm"]
CALIBRATION_ROWS = 200
LEAST_SHARE = 0.05  # of the model's weights; a scheme that touches fewer is this model under another name

Feeds = Iterable[Mapping[str, np.ndarray]]


def quantize(artifact: OnnxArtifact, out: Path, scheme: str, *, per_channel: bool, calibration: Feeds) -> OnnxArtifact:
    """Write `artifact` under `scheme` to `out`.

    none: a copy. fp16: weights and arithmetic in half precision, inputs and outputs float32. dynamic_int8: matrix
    products in int8, activations scaled as they come. static_int8: QDQ, unsigned activations and signed weights, scales
    from up to 200 `calibration` inputs (training rows). weight_int8: the weights of matrix products in 8 bits, in
    blocks. qat_int8: the rounding that the student learned with (`int8_aware`) becomes integer arithmetic. Large
    embedding tables are stored in 8 bits, row by row, in all four. `per_channel` concerns the dynamic and static
    schemes only. Errors: Refused where the scheme would change next to nothing; Failed where the file cannot be
    converted.
    """
    makers: dict[str, Callable[[Path, Path], None]] = {
        "none": lambda source, target: _copy(source, target),
        "fp16": _half,
        "dynamic_int8": lambda source, target: _dynamic(source, target, per_channel),
        "static_int8": lambda source, target: _static(source, target, per_channel, calibration),
        "weight_int8": _weights,
        "qat_int8": _aware,
    }
    if scheme not in makers:
        raise ConfigError(f"no quantization scheme named {scheme!r}{near(scheme, SCHEMES)}")
    if scheme in ("dynamic_int8", "weight_int8"):
        _check_share(artifact.path, scheme)
    with fresh(out) as beside:
        try:
            with quiet(".*float32 number.*"), _small_tables(artifact.path, scheme, beside) as source:
                makers[scheme](source, beside)
        except Exception as error:  # the tools raise whatever they stumble on
            if isinstance(error, (Refused, Failed)):
                raise
            cause = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            raise Failed(
                f"{scheme} cannot be applied to this model: {cause}; leave it out of quantize.scheme"
            ) from error
    return replace(artifact, path=out, precision=scheme, sha256=sha256_of(out), size_bytes=out.stat().st_size)


@contextlib.contextmanager
def _small_tables(source: Path, scheme: str, target: Path) -> Iterator[Path]:
    """The file with its tables in 8 bits already, where the scheme has them so.

    First and not last: a table is most of a small student of texts, and the tools read and write it half a dozen times.
    """
    path = target.with_name(f"{target.name}.tables")
    try:
        yield path if scheme.endswith("int8") and eight_bit_tables(source, path) else source
    finally:
        path.unlink(missing_ok=True)


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)


def _half(source: Path, target: Path) -> None:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    onnx.save(convert_float_to_float16(onnx.load(source), keep_io_types=True), target)


def _dynamic(source: Path, target: Path, per_channel: bool) -> None:
    # Convolutions stay as they are: their dynamic kernel (ConvInteger) is slower than float32.
    with _prepared(source, target) as model:
        quantize_dynamic(
            model, target, op_types_to_quantize=MATRIX, per_channel=per_channel, weight_type=QuantType.QInt8
        )


def _static(source: Path, target: Path, per_channel: bool, calibration: Feeds) -> None:
    rows = list(islice(calibration, CALIBRATION_ROWS))
    if not rows:
        raise Refused("static_int8 needs calibration inputs and got none; give some training rows")
    with _prepared(source, target) as model:
        quantize_static(
            model,
            target,
            _Reader(rows),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_static_ops(onnx.load(model)),
            per_channel=per_channel,
            activation_type=QuantType.QUInt8,  # signed activations have slow kernels on x86
            weight_type=QuantType.QInt8,
            # On a plain and a separable convnet and a transformer (7000 rows of Fashion-MNIST, 2000 to score) MinMax,
            # percentile and entropy scales were within 0.5 points of each other and of float32 (one seed, so no more
            # than noise); this is the simplest.
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"ActivationSymmetric": False, "WeightSymmetric": True},
        )


def _static_ops(model: onnx.ModelProto) -> list[str] | None:
    """Which operators get int8: all that can in a convnet, matrix products (and patches) in a transformer."""
    # Softmax and layer norm between quantized neighbours cost more in conversions, and in accuracy, than they save.
    kinds = {node.op_type for node in model.graph.node}
    return [*MATRIX, "Conv"] if kinds & {"Softmax", "LayerNormalization"} else None


def _weights(source: Path, target: Path) -> None:
    # Level 4 multiplies in 8 bits. Left open, an encoder of width 192 took 23 ms a text, and this takes 4.9 (float32:
    # 3.6; three processes on two cores).
    config = DefaultWeightOnlyQuantConfig(block_size=32, is_symmetric=True, bits=8, accuracy_level=4)
    tool = MatMulNBitsQuantizer(products(onnx.load(source)), algo_config=config)
    tool.process()
    onnx.save(tool.model.model, target)


def _aware(source: Path, target: Path) -> None:
    # Folding constants stores the weights as the integers that they were rounded to.
    with _prepared(source, target) as path:
        model = onnx.load(path)
        if not rounded_products(model):
            raise Refused("qat_int8 needs a student that learned with rounding, and this file rounds nothing")
        onnx.save(integer_biases(model), target)


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Calibration inputs, one after the other, as onnxruntime asks for them."""

    def __init__(self, rows: list[Mapping[str, np.ndarray]]) -> None:
        self._rows = iter(rows)

    def get_next(self) -> dict[str, Any] | None:
        row = next(self._rows, None)
        return None if row is None else dict(row)


@contextlib.contextmanager
def _prepared(source: Path, target: Path) -> Iterator[Path]:
    """The model with shapes inferred and constants folded, as both int8 tools want it."""
    path = target.with_name(f"{target.name}.prepared")
    try:
        # Symbolic shape inference fails on graphs of the newer exporter, and ours have fixed shapes anyway.
        quant_pre_process(source, path, skip_symbolic_shape=True)
        yield path
    finally:
        path.unlink(missing_ok=True)


def _check_share(path: Path, scheme: str) -> None:
    model = onnx.load(path)
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in model.graph.initializer}
    sizes |= {node.output[0]: _constant_size(node) for node in model.graph.node if node.op_type == "Constant"}
    weights = {node.input[1] for node in model.graph.node if node.op_type in MATRIX} | tables(model).keys()
    touched = sum(sizes.get(name, 0) for name in weights)
    share = touched / max(1, sum(sizes.values()))
    if share < LEAST_SHARE:
        raise Refused(
            f"{scheme} changes matrix products and embeddings only, and these hold {share:.1%} of this model's "
            "weights; try static_int8 or fp16"
        )


def _constant_size(node: onnx.NodeProto) -> int:
    return sum(numpy_helper.to_array(value.t).size for value in node.attribute if value.name == "value")
