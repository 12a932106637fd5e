"""Picks are written down with the files of their finals, and only as long as the test split is sealed."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import synthetic
import yaml

from pipeline.record import write_record
from pipeline.workspace import Workspace
from search_spaces.candidate import Candidate

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import fix_picks

FILE = "examples/digits.yaml"


@pytest.fixture
def digits(tmp_path: Path) -> Workspace:
    """A search of two trials and a final of the first."""
    workspace = Workspace(tmp_path / "runs", "digits")
    flat = {"student": "convnet", "convnet.width": 16, "distill.epochs": 6, "quantize.scheme": "none"}
    bench = SimpleNamespace(labels=np.zeros(synthetic.ROWS, dtype=int), workspace=workspace)
    for number, (seed, final_of) in enumerate([(7, None), (8, None), (1007, 0)]):
        record = synthetic.record(number, Candidate.of(flat, seed), bench, print)
        write_record(workspace.folder, record.with_(final_of=final_of))
    return workspace


def test_a_pick_and_its_finals_are_written(digits: Workspace, tmp_path: Path) -> None:
    out = tmp_path / "picks" / "digits.yaml"
    fix_picks.main([FILE, "9:0", "--root", str(digits.root), "--out", str(out)])
    found = yaml.safe_load(out.read_text())
    assert found["search"] == FILE
    (pick,) = found["picks"]
    assert pick["budget"] == {"speedup": 9.0}
    assert (pick["trial"], pick["seed"]) == (0, 7)
    assert pick["candidate"]["convnet.width"] == 16
    assert pick["finals"] == [{"trial": 2, "seed": 1007, "epochs": 6, "sha256": "0" * 64}]


def test_nothing_is_fixed_after_the_test_split_was_scored(digits: Workspace, tmp_path: Path) -> None:
    digits.test_file.write_text("{}")
    with pytest.raises(SystemExit, match="has been scored"):
        fix_picks.main([FILE, "9:0", "--root", str(digits.root), "--out", str(tmp_path / "picks.yaml")])
    assert not (tmp_path / "picks.yaml").exists()


def test_a_trial_that_is_not_there_is_no_pick(digits: Workspace, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no complete trial 5"):
        fix_picks.main([FILE, "9:5", "--root", str(digits.root), "--out", str(tmp_path / "picks.yaml")])
