"""A search's yardstick is frozen: what it was made of must still be there."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import synthetic

from pipeline.artifact import OnnxArtifact, sha256_of
from pipeline.errors import ConfigError
from pipeline.record import write_json
from pipeline.workbench import _reference, has_percentiles
from pipeline.workspace import Workspace

TEACHER, ROWS = "hash of the teacher", "hash of the rows"


@pytest.fixture
def resumed(tmp_path: Path) -> Any:
    """`resumed(teacher=..., rows=..., kept=...)`: what a resumed search finds; `kept` changes what lies there."""
    workspace = Workspace(tmp_path, "letters")
    folder = workspace.folder / "teacher"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"a model")
    stored = {
        "teacher": TEACHER, "task": ROWS, "sha256": sha256_of(folder / "model.onnx"),
        "artifact": OnnxArtifact(folder / "model.onnx", ("x",), {}, 1, 1, "none", "by hand", "-", 7).to_json(),
    }  # fmt: skip

    def find(teacher: str = TEACHER, rows: str = ROWS, **kept: Any) -> Any:
        frozen = {name: value for name, value in {**stored, **kept}.items() if value is not None}
        write_json(folder / "figures.json", frozen)
        args: tuple[Any, ...] = (
            SimpleNamespace(fingerprint=rows), SimpleNamespace(sha256=teacher), None, SimpleNamespace(name="letters")
        )  # fmt: skip
        return _reference(workspace, *args)[1]

    return find


def test_what_was_frozen_is_read_back(resumed: Any) -> None:
    assert resumed()["task"] == ROWS


def test_a_search_that_kept_no_rows_goes_on(resumed: Any) -> None:
    assert "task" not in resumed(task=None)


@pytest.mark.parametrize("changed", [{"teacher": "of another"}, {"sha256": "of another"}])
def test_another_teacher_is_refused(resumed: Any, changed: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="the teacher of search 'letters' has changed since its first trial"):
        resumed(**changed)


def test_other_rows_are_refused(resumed: Any) -> None:
    with pytest.raises(ConfigError, match="the rows of search 'letters' have changed since its first trial"):
        resumed(rows="of others")


def test_a_percentile_that_the_teacher_has_too_few_calls_for_ranks_nothing() -> None:
    config = synthetic.config(3, objectives=["accuracy", "latency_p99_ms"])
    with pytest.raises(ConfigError, match=r"latency_p99_ms.*too few single calls.*raise target.seconds"):
        has_percentiles({"latency_p50_ms": 9.0, "latency_p90_ms": 11.0}, config)
    has_percentiles({"latency_p50_ms": 9.0, "latency_p99_ms": 11.0}, config)
    has_percentiles({"latency_p50_ms": 9.0}, synthetic.config(3))
