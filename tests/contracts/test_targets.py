"""What every hardware target promises; a new file in hardware_targets/ is tested the day it appears."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import hardware_targets
from hardware_targets import HardwareTarget, Measurement, TargetError
from hardware_targets._null_model import write_null_model


@pytest.fixture(params=hardware_targets.available())
def target(request: pytest.FixtureRequest) -> HardwareTarget:
    built = hardware_targets.load(request.param)
    if reason := built.unavailable():
        pytest.skip(f"{request.param}: {reason}")
    return built


@pytest.mark.parametrize("name", hardware_targets.available())
def test_it_knows_its_name_and_threads(name: str) -> None:
    built = hardware_targets.load(name)
    assert built.name == name
    assert built.threads >= 1
    reason = built.unavailable()
    assert reason is None or reason.strip()


def test_it_measures_a_model_against_itself(target: HardwareTarget, tmp_path: Path) -> None:
    """With all that a search gives it."""
    model, feeds = write_null_model(tmp_path)
    given = {"seconds": 1, "tier": "trial", "raw": tmp_path / "blocks.npz", "over": None}
    found = target.measure(model, feeds, model, feeds, seed=0, **given)  # type: ignore[arg-type]
    assert 0.5 < found.latency.ratio < 2
    assert found.latency.batch_size == 1
    assert found.conditions.threads == target.threads
    assert Measurement.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))) == found


def test_it_predicts_row_by_row(target: HardwareTarget, tmp_path: Path) -> None:
    model, feeds = write_null_model(tmp_path)
    hardware_targets.save_feeds(feeds, ({"x": np.asarray([row], dtype=np.float32)} for row in (4, 2)))
    assert target.predict(model, feeds).ravel().tolist() == [4.0, 2.0]
    assert [item.name for item in target.inputs(model)] == ["x"]


def test_it_refuses_what_is_no_model(target: HardwareTarget, tmp_path: Path) -> None:
    model, feeds = write_null_model(tmp_path)
    model.write_bytes(b"not a model")
    with pytest.raises(TargetError, match=r"null\.onnx"):
        target.predict(model, feeds)
    with pytest.raises(TargetError, match="absent"):
        target.predict(tmp_path / "absent.onnx", feeds)
