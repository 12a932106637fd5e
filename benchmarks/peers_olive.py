"""What Olive makes of a fine-tuned BERT on a CPU: its verbs as typed, workflows of its passes, its search."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
LIMIT_S = 3 * 3600
CPU = {"device": "cpu", "execution_providers": ["CPUExecutionProvider"]}
CONVERSION = {"conversion": {"type": "OnnxConversion"}}
FAULT = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception)\b.*")


class Failed(Exception):
    """A tool gave no model; the message is the sentence that it said."""


@dataclass(frozen=True)
class Given:
    """What every point is made from."""

    teacher: Path  # a Hugging Face folder with its tokenizer
    model: Path  # the same as niwaki exports it: ONNX, float32, batch 1
    data: Path  # train.parquet and validation.parquet
    max_length: int
    samples: int  # of Olive's search

    @property
    def paths(self) -> list[tuple[str, Path]]:
        """What stands for them in words, the longest paths first."""
        known = [("TEACHER", self.teacher), ("MODEL.onnx", self.model), ("DATA", self.data)]
        return sorted(known, key=lambda pair: -len(str(pair[1])))


@dataclass(frozen=True)
class Maker:
    """A named way to make one file or several: it fills a folder and may say something, or raises Failed."""

    name: str
    how: str
    make: Callable[[Path], str | None]


def makers(given: Given) -> Iterator[Maker]:
    """All of Olive's, verbs first."""
    for name, words in _verbs(given).items():
        yield Maker(f"olive-{name}", f"olive {' '.join(words)}", partial(_verb, words))
    for name, passes in _workflows(given).items():
        told = " + ".join(_told(item) for item in passes.values())
        yield Maker(f"olive-{name}", told, partial(_workflow, given, passes))
    for name, (told, whole, rows) in _searches(given).items():
        yield Maker(f"olive-{name}", told, partial(_search, given, whole, rows))


def _verbs(given: Given) -> dict[str, list[str]]:
    text = ["-m", str(given.teacher), "-t", "text-classification"]
    optimize, quantize = ["optimize", *text, "--device", "cpu"], ["quantize", "-m", str(given.model)]
    rows = ["-d", "parquet", "--data_files", str(given.data / "train.parquet"), "--split", "train"]
    rows += ["--input_cols", "text", "--max_samples", "200"]
    return {
        "optimize-int8": [*optimize, "--precision", "int8"],
        "optimize-int8-torchscript": [*optimize, "--precision", "int8", "--exporter", "torchscript_exporter"],
        "optimize-int8-dynamo": [*optimize, "--precision", "int8", "--exporter", "dynamo_exporter"],
        "optimize-int8-onnx": ["optimize", "-m", str(given.model), "--device", "cpu", "--precision", "int8"],
        "optimize-int4-onnx": ["optimize", "-m", str(given.model), "--device", "cpu", "--precision", "int4"],
        "optimize-fp16-torchscript": [*optimize, "--precision", "fp16", "--exporter", "torchscript_exporter"],
        "optimize-fp32-torchscript": [*optimize, "--exporter", "torchscript_exporter"],
        "optimize-fp32-dynamo": [*optimize, "--exporter", "dynamo_exporter"],
        "quantize-int8": ["quantize", *text, "--precision", "int8"],
        "quantize-int8-onnx": [*quantize, "--precision", "int8"],
        "quantize-int8-onnx-ort": [*quantize, "--precision", "int8", "--implementation", "ort"],
        "quantize-int8-onnx-ort-data": [*quantize, "--precision", "int8", "--implementation", "ort", *rows],
    }


def _workflows(given: Given) -> dict[str, dict[str, Any]]:
    """Passes by hand, as Olive's own examples for BERT on a CPU have them."""
    fused = CONVERSION | _fusion(given)
    static = {"type": "OnnxStaticQuantization", "data_config": "calibration"}
    mixed = {"precision": "int8", "activation_type": "uint8", "per_channel": True}
    few = {"op_types_to_quantize": ["MatMul", "Gemm"]}
    last: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "fused-fp32": (CONVERSION, _fusion(given)["fusion"]),
        "dynamic": (CONVERSION, {"type": "OnnxDynamicQuantization"}),
        "fused-dynamic": (fused, {"type": "OnnxDynamicQuantization"}),
        "fused-dynamic-per-channel": (fused, {"type": "OnnxDynamicQuantization", "per_channel": True}),
        "static": (CONVERSION, static),
        "fused-static": (fused, static),
        "fused-static-uint8": (fused, static | {"precision": "uint8", "activation_type": "uint8"}),
        "fused-static-u8s8-matmul": (fused, static | mixed | few),
        "static-u8s8-matmul": (CONVERSION, static | mixed | few),
        "fused-hqq-int4": (fused, {"type": "OnnxHqqQuantization"}),
        "fused-kquant-int8": (fused, {"type": "OnnxKQuantQuantization", "bits": 8}),
    }
    return {name: before | {"last": step} for name, (before, step) in last.items()}


def _fusion(given: Given) -> dict[str, Any]:
    sizes = json.loads((given.teacher / "config.json").read_text(encoding="utf-8"))
    known = {"num_heads": sizes["num_attention_heads"], "hidden_size": sizes["hidden_size"]}
    return {"fusion": {"type": "OrtTransformersOptimization", "model_type": "bert", **known}}


def _told(step: dict[str, Any]) -> str:
    more = ", ".join(f"{key}={value}" for key, value in step.items() if key not in ("type", "data_config"))
    return f"{step['type']}({more})" if more else str(step["type"])


def _verb(words: list[str], folder: Path) -> None:
    try:
        _olive([*words, "-o", str(folder / "out")], folder)
    finally:
        shutil.rmtree(folder / ".olive-cache", ignore_errors=True)


def _workflow(given: Given, passes: dict[str, Any], folder: Path, **more: Any) -> None:
    config = _config(given, passes, folder) | more
    (folder / "workflow.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    _olive(["run", "--config", str(folder / "workflow.json")], folder)


def _config(given: Given, passes: dict[str, Any], folder: Path) -> dict[str, Any]:
    model = {"type": "HfModel", "model_path": str(given.teacher), "task": "text-classification"}
    return {
        # Eager attention is what the fusion knows; what Hugging Face takes by default leaves it unfused.
        "input_model": model | {"load_kwargs": {"attn_implementation": "eager"}},
        "systems": {"local": {"type": "LocalSystem", "accelerators": [CPU]}},
        "host": "local",
        "target": "local",
        "data_configs": [
            _rows(given, "calibration", "train", count=200),
            _rows(given, "calibration_padded", "train", count=200, padded=True),
            _rows(given, "held_out", "validation"),
            _rows(given, "median", "validation", middle=True),
        ],
        "passes": passes,
        "output_dir": str(folder / "out"),
        "cache_dir": str(folder.parent.parent / "olive-cache"),
        "log_severity_level": 1,
    }


def _rows(given: Given, name: str, split: str, **more: Any) -> dict[str, Any]:
    where = {"table": str(given.data / f"{split}.parquet"), "tokenizer": str(given.teacher / "tokenizer.json")}
    return {
        "name": name,
        "type": "DataContainer",
        "user_script": str(HERE / "peers_olive_data.py"),
        "load_dataset_config": {"type": "peers_texts", "params": where | {"max_length": given.max_length} | more},
        "post_process_data_config": {"type": "text_classification_post_process"},
        "dataloader_config": {"type": "default_dataloader", "params": {"batch_size": 1}},
    }


def _searches(given: Given) -> dict[str, tuple[str, bool, str]]:
    """What is said of a search, whether it runs over all passes or over the last one, and how it is calibrated."""
    told = f"tpe, {given.samples} steps, OnnxQuantization's own search space"
    return {
        "search-joint": (f"its search over conversion, fusion and quantization: {told}", True, "calibration"),
        "search": (f"its search over quantization of the fused file: {told}", False, "calibration"),
        "search-padded": (f"the same, calibrated on padded rows: {told}", False, "calibration_padded"),
    }


def _search(given: Given, whole: bool, rows: str, folder: Path) -> str:
    """By measured accuracy (first) and latency; every candidate is kept. Says how many steps gave none."""
    step = {"quantization": {"type": "OnnxQuantization", "data_config": rows}}
    more: dict[str, Any] = {
        "evaluators": {"both": _evaluator()},
        "evaluator": "both",
        "evaluate_input_model": False,
        # Olive 0.13 loses what stands in sampler_config (max_samples, seed); max_iter it keeps, and counts from 0.
        "search_strategy": {"execution_order": "joint", "sampler": "tpe", "max_iter": given.samples - 1},
    }
    if not whole:
        fused = folder.parent / "olive-fused-fp32" / "out" / "model.onnx"
        if not fused.is_file():
            raise Failed("there is no fused file to search from")
        more["input_model"] = {"type": "ONNXModel", "model_path": str(fused)}
    _workflow(given, CONVERSION | _fusion(given) | step if whole else step, folder, **more)
    return _keep_candidates(folder)


def _evaluator() -> dict[str, Any]:
    one = {"inference_settings": {"onnx": {"session_options": {"intra_op_num_threads": 1}}}}
    score = {"name": "accuracy_score", "priority": 1, "metric_config": {"task": "multiclass", "num_classes": 2}}
    time = {"name": "avg", "priority": 2, "metric_config": {"warmup_num": 20, "repeat_test_num": 200}}
    metrics = [
        {"name": "accuracy", "type": "accuracy", "data_config": "held_out", "sub_types": [score], "user_config": one},
        {"name": "latency", "type": "latency", "data_config": "median", "sub_types": [time], "user_config": one},
    ]
    # Without a type Olive 0.13 ends with "'NoneType' object has no attribute 'lower'".
    return {"type": "OnnxEvaluator", "metrics": metrics}


def _keep_candidates(folder: Path) -> str:
    """Copy every measured model from Olive's cache, with what Olive said of it; its own choice is among them."""
    nodes = json.loads((folder / "out" / "footprint.json").read_text(encoding="utf-8")).values()
    shutil.rmtree(folder / "out")
    measured = [node for node in nodes if node["metrics"] and node["from_pass"]]
    for place, node in enumerate(measured):
        kept = folder / f"{place:02}"
        shutil.copytree(Path(node["model_config_data"]["config"]["model_path"]).parent, kept)
        told = {key: node[key] for key in ("metrics", "pass_run_config", "is_pareto_frontier")}
        (kept / "candidate.json").write_text(json.dumps(told, indent=1), encoding="utf-8")
    log = (folder / "log.txt").read_text(encoding="utf-8", errors="replace")
    steps = len(re.findall(r"Step \d+ with search point", log))
    fault = f"; the last error: {said(folder / 'log.txt')}" if steps > len(measured) else ""
    return f"{len(measured)} of {steps} steps gave a model{fault}"


def _olive(words: list[str], folder: Path) -> None:
    """Run Olive's command line in `folder`. Errors: Failed with the last error that it logged."""
    # Olive's user script imports its neighbour; what it caches stays in the folder.
    environment = os.environ | {"PYTHONPATH": str(HERE), "HF_HUB_DISABLE_TELEMETRY": "1"}
    command = [str(Path(sys.executable).parent / "olive"), *words, "--disable_telemetry"]
    with (folder / "log.txt").open("w", encoding="utf-8") as log:
        done = subprocess.run(
            command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT, timeout=LIMIT_S, check=False
        )
    if done.returncode or not any((folder / "out").rglob("*.onnx")):
        raise Failed(said(folder / "log.txt") or f"it ended with {done.returncode} and no model")


def said(log: Path) -> str | None:
    """The last error in a log that says what happened."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    found = [match.group() for line in lines if (match := FAULT.match(line.strip()))]
    telling = [line for line in found if "OlivePassError" not in line]  # it only says which pass it was
    return (telling or found or [None])[-1]
