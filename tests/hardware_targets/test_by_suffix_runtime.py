"""Which runtime a file goes to; OpenVINO itself is needed for the last test only."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models

from hardware_targets import BadModel, load_feeds
from hardware_targets.runtimes import onnxruntime, openvino
from hardware_targets.runtimes.by_suffix import Runtime

THERE = importlib.util.find_spec("openvino") is not None


def test_onnx_files_are_not_openvinos_even_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: Any) -> Any:
        raise AssertionError("OpenVINO was asked for an ONNX file")

    monkeypatch.setattr(openvino.Runtime, "load", refuse)
    model = tiny_models.multiply(tmp_path / "m.onnx")
    assert isinstance(Runtime().load(model, 1), onnxruntime.Session)


def test_an_xml_file_is_openvinos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino.Runtime, "unavailable", lambda _: None)
    monkeypatch.setattr(openvino.Runtime, "load", lambda _, model, threads: (model, threads))
    assert Runtime().load(Path("m.xml"), 2) == (Path("m.xml"), 2)


def test_without_openvino_its_file_is_refused_with_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino.Runtime, "unavailable", lambda _: "openvino is not installed; pip install openvino")
    assert Runtime().unavailable() is None  # ONNX files can still be measured
    assert "openvino" not in Runtime().version()
    with pytest.raises(BadModel, match=r"m\.xml is OpenVINO's file, but .*pip install openvino"):
        Runtime().load(Path("m.xml"), 1)


@pytest.mark.skipif(not THERE, reason="needs openvino; pip install 'niwaki[openvino]'")
def test_a_converted_file_answers_as_the_original(tmp_path: Path) -> None:
    model = tiny_models.multiply(tmp_path / "m.onnx", width=32, layers=3)
    feeds = tiny_models.feeds(tmp_path / "f", width=32)
    package = importlib.import_module("openvino")
    package.save_model(package.convert_model(str(model)), str(tmp_path / "m.xml"), compress_to_fp16=False)
    ours, theirs = Runtime().load(tmp_path / "m.xml", 1), Runtime().load(model, 1)
    assert "openvino" in Runtime().version()
    for feed in load_feeds(feeds):
        np.testing.assert_allclose(ours.run(feed)[0], theirs.run(feed)[0], rtol=1e-5, atol=1e-7)
