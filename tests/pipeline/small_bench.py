"""A bench for real trials of the teacher's own file: a real ONNX model and task of eight rows, a scripted device."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fakes
import numpy as np
import synthetic

from hardware_targets import save_feeds
from hardware_targets._null_model import write_null_model
from pipeline.artifact import OnnxArtifact, sha256_of
from pipeline.config import SearchConfig
from pipeline.modelled import energy_model
from pipeline.workspace import Workspace

LABELS = np.array([0, 1, 0, 1, 0, 1, 0, 1])
RIGHT = np.eye(2, dtype=np.float32)[np.array([0, 1, 0, 1, 0, 1, 0, 0])]  # seven of eight


def bench(config: SearchConfig, workspace: Workspace, target: fakes.ScriptedTarget) -> Any:
    """Carries identity candidates with scheme `none`; `target` measures them and may go away."""
    folder = workspace.folder / "teacher"
    folder.mkdir(parents=True, exist_ok=True)
    model, feeds = write_null_model(folder)
    save_feeds(folder / "rows", [{"x": np.zeros(1, dtype=np.float32)}] * len(LABELS))
    target.predictions = lambda *_: RIGHT
    reference = OnnxArtifact(
        model, ("x",), {"input_size": 8}, parameters=10, macs=5_000_000, precision="none", exporter="by hand",
        sha256=sha256_of(model), size_bytes=model.stat().st_size,
    )  # fmt: skip
    return SimpleNamespace(
        config=config,
        workspace=workspace,
        target=target,
        reference=reference,
        task=SimpleNamespace(labels=lambda _: LABELS),
        teacher_latency_ms=10.0,
        teacher_metrics={"accuracy": 0.9, "latency_p50_ms": 10.0},
        chance={"accuracy": 0.5},
        in_full=False,
        energy=energy_model(workspace, target),
        feeds=lambda *_: folder / "rows",
        timing_feeds=lambda _: feeds,
        calibration=lambda _: [],
        preprocessing_ms=lambda _: 0.1,
    )


def tight(root: Path, target: fakes.ScriptedTarget) -> Any:
    """The bench of a new search below `root` whose budget is 1.5 ms."""
    config = synthetic.config(3, budget={"latency_p50_ms": 1.5})
    workspace = synthetic.workspace(root, config)
    workspace.make()
    return bench(config, workspace, target)


def away(verb: str) -> Any:
    """For `ScriptedTarget.fail`: the link is down whenever this is asked for."""
    from hardware_targets import DeviceAway

    def fail(asked: str, _model: Path) -> None:
        if asked == verb:
            raise DeviceAway("the device pi does not answer; the same command goes on when it is back")

    return fail
