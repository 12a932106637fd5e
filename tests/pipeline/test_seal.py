"""Figures of the test split are what was scored, or none."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from pipeline.findings import _test
from pipeline.record import read_json, write_json
from pipeline.seal import sealed, unsealed
from pipeline.workspace import Workspace

FIGURES = {"date": "2026-11-30", "rows": 4, "teacher": {"metrics": {"accuracy": 0.9}}, "trials": {}, "finals": {}}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path, "letters")
    made.folder.mkdir(parents=True)
    write_json(made.test_file, sealed(FIGURES))
    return made


def test_what_was_sealed_is_read_back(workspace: Workspace) -> None:
    found, void = _test(workspace)
    assert found is not None and found["teacher"] == {"accuracy": 0.9} and void is None
    assert {**unsealed(workspace), "seal": None} == {**FIGURES, "seal": None}


@pytest.mark.parametrize("content", ["edited", "no seal", "no JSON", "no mapping"])
def test_what_was_edited_is_void(workspace: Workspace, content: str) -> None:
    path = workspace.test_file
    if content == "edited":
        write_json(path, {**read_json(path), "teacher": {"metrics": {"accuracy": 1.0}}})
    elif content == "no seal":
        write_json(path, FIGURES)
    else:
        path.write_text("{" if content == "no JSON" else "[1]")
    with pytest.raises(ConfigError, match="was changed after it was sealed"):
        unsealed(workspace)
    found, void = _test(workspace)
    assert found is None and "its figures are void" in str(void)


def test_where_nothing_was_scored_nothing_is_void(workspace: Workspace) -> None:
    workspace.test_file.unlink()
    assert _test(workspace) == (None, None)
