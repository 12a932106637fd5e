"""The points that NNCF makes of a fine-tuned BERT by post-training quantization, for ONNX Runtime and for OpenVINO."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from peers_olive import Failed, Given, Maker
from peers_texts import Feed, narrowed, texts_of

ROWS = 300  # NNCF's own default
DROP = 0.005  # of accuracy that quantization with accuracy control may cost: half of NNCF's default

Quantize = Callable[[Any, Any, Given], Any]


def makers(given: Given) -> Iterator[Maker]:
    """All of NNCF's, and OpenVINO's file without quantization."""
    yield Maker("openvino-fp32", "openvino.convert_model, float32", partial(_openvino, given, None, False))
    yield Maker("openvino-fp16", "openvino.convert_model, weights in float16", partial(_openvino, given, None, True))
    for name, (how, quantize) in _ways().items():
        yield Maker(f"nncf-onnx-{name}", how, partial(_onnx, given, quantize))
        yield Maker(f"nncf-openvino-{name}", how, partial(_openvino, given, quantize, False))


def _ways() -> dict[str, tuple[str, Quantize]]:
    return {
        "transformer": ("nncf.quantize, model_type=TRANSFORMER", partial(_quantize)),
        "transformer-full-bias": (
            "nncf.quantize, model_type=TRANSFORMER, fast_bias_correction=False",
            partial(_quantize, fast_bias_correction=False),
        ),
        "transformer-no-smooth": (
            "nncf.quantize, model_type=TRANSFORMER, smooth quantization off",
            partial(_quantize, matmul=-1),
        ),
        "transformer-smooth-0.5": (
            "nncf.quantize, model_type=TRANSFORMER, smooth quantization 0.5",
            partial(_quantize, matmul=0.5),
        ),
        "default": ("nncf.quantize, no model_type", partial(_quantize, transformer=False)),
        "mixed": ("nncf.quantize, no model_type, preset=MIXED", partial(_quantize, transformer=False, mixed=True)),
        "weights-int8": ("nncf.compress_weights, INT8_ASYM", partial(_compress, mode="INT8_ASYM")),
        "weights-int4": (
            "nncf.compress_weights, INT4_SYM, groups of 64",
            partial(_compress, mode="INT4_SYM", group=64),
        ),
        "accuracy-control": (
            f"nncf.quantize_with_accuracy_control, model_type=TRANSFORMER, max_drop={DROP} on validation",
            _controlled,
        ),
    }


def _quantize(
    model: Any,
    dataset: Any,
    _given: Given,
    *,
    transformer: bool = True,
    mixed: bool = False,
    matmul: float | None = None,
    **more: Any,
) -> Any:
    import nncf

    if matmul is not None:
        alphas = nncf.AdvancedSmoothQuantParameters(matmul=matmul)
        more["advanced_parameters"] = nncf.AdvancedQuantizationParameters(smooth_quant_alphas=alphas)
    if mixed:
        more["preset"] = nncf.QuantizationPreset.MIXED
    kind = nncf.ModelType.TRANSFORMER if transformer else None
    return nncf.quantize(model, dataset, model_type=kind, subset_size=ROWS, target_device=nncf.TargetDevice.CPU, **more)


def _compress(model: Any, _dataset: Any, _given: Given, *, mode: str, group: int | None = None) -> Any:
    import nncf

    more = {} if group is None else {"group_size": group}
    return nncf.compress_weights(model, mode=getattr(nncf.CompressWeightsMode, mode), **more)


def _controlled(model: Any, dataset: Any, given: Given) -> Any:
    import nncf

    held_out = list(texts_of(given.data / "validation.parquet", given.teacher / "tokenizer.json", given.max_length))

    def accuracy(model: Any, rows: Any) -> tuple[float, list[float]]:
        run = _runner(model)
        right = [float(np.argmax(run(narrowed(feed, ["input_ids"]))) == label) for feed, label in rows]
        return float(np.mean(right)), right

    # Validation rows come as they are, with their labels: accuracy() narrows the inputs itself.
    return nncf.quantize_with_accuracy_control(
        model,
        calibration_dataset=dataset,
        validation_dataset=nncf.Dataset(held_out, lambda row: narrowed(row[0], ["input_ids"])),
        validation_fn=accuracy,
        max_drop=DROP,
        subset_size=ROWS,
        model_type=nncf.ModelType.TRANSFORMER,
        target_device=nncf.TargetDevice.CPU,
    )


def _runner(model: Any) -> Callable[[Feed], np.ndarray]:
    """Logits by what NNCF hands in: OpenVINO's compiled model, or an ONNX model."""
    import onnx

    if not isinstance(model, onnx.ModelProto):
        return lambda feed: np.asarray(next(iter(model(feed).values())))
    import onnxruntime

    native = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return lambda feed: np.asarray(native.run(None, feed)[0])


def _dataset(given: Given) -> Any:
    import nncf

    table, tokenizer = given.data / "train.parquet", given.teacher / "tokenizer.json"
    rows = [feed for feed, _ in texts_of(table, tokenizer, given.max_length, ROWS)]
    return nncf.Dataset(rows, lambda feed: narrowed(feed, ["input_ids"]))


def _onnx(given: Given, quantize: Quantize, folder: Path) -> None:
    import onnx

    done = _tried(quantize, onnx.load(given.model), given)
    onnx.save(done, folder / "model.onnx")


def _openvino(given: Given, quantize: Quantize | None, half: bool, folder: Path) -> None:
    import openvino

    model = openvino.convert_model(str(given.model))
    done = model if quantize is None else _tried(quantize, model, given)
    openvino.save_model(done, folder / "model.xml", compress_to_fp16=half)


def _tried(quantize: Quantize, model: Any, given: Given) -> Any:
    try:
        return quantize(model, _dataset(given), given)
    except Exception as error:  # whatever stops NNCF is the finding
        lines = str(error).strip().splitlines() or [""]
        raise Failed(f"{type(error).__name__}: {lines[0]}") from error
