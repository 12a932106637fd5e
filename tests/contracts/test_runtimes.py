"""What every runtime promises; a new file in hardware_targets/runtimes/ is tested the day it appears."""

from __future__ import annotations

from pathlib import Path

import pytest

from hardware_targets import BadModel, Runtime, load_feeds
from hardware_targets._null_model import write_null_model
from hardware_targets._parts import build, names


@pytest.fixture(params=names("runtime"))
def runtime(request: pytest.FixtureRequest) -> Runtime:
    built: Runtime = build("runtime", request.param)
    if reason := built.unavailable():
        pytest.skip(f"{request.param}: {reason}")
    assert built.name == request.param
    return built


def test_it_runs_a_model(runtime: Runtime, tmp_path: Path) -> None:
    model, feeds = write_null_model(tmp_path)
    session = runtime.load(model, 1)
    assert [(item.name, item.dtype) for item in session.inputs] == [("x", "float32")]
    assert session.run(load_feeds(feeds)[0])[0].tolist() == [0.0]
    assert runtime.version()


def test_it_refuses_what_is_no_model(runtime: Runtime, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"not a model")
    with pytest.raises(BadModel, match=r"m\.onnx"):
        runtime.load(tmp_path / "m.onnx", 1)
