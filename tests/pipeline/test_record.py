"""Records: round trip, the atomic write, damaged files."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.artifact import OnnxArtifact, view_of
from pipeline.record import TrialRecord, read_records, trial_folder, write_json, write_record
from search_spaces.candidate import Candidate

scalars = st.one_of(st.booleans(), st.integers(-5, 5), st.floats(-5, 5), st.text(max_size=5))
names = st.text(st.characters(codec="ascii", categories=["Ll"]), min_size=1, max_size=6)
figures = st.dictionaries(names, st.floats(-1e6, 1e6), max_size=3)


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(names, scalars, max_size=4),
    st.integers(0, 9),
    st.sampled_from(["complete", "refused", "failed", "duplicate", "interrupted"]),
    figures,
    figures,
)
def test_a_record_survives_json(values, seed, end, metrics, violations) -> None:
    candidate = Candidate.of({"student": "convnet", **values}, seed)
    record = TrialRecord(
        3, candidate, end, "why", metrics, dict.fromkeys(metrics, (0.0, 1.0)), violations, curve=({"epoch": 1.0},)
    )
    again = TrialRecord.from_json(json.loads(json.dumps(record.to_json())))
    assert again == record
    assert again.candidate.key == candidate.key


def test_the_key_leaves_out_the_seed() -> None:
    one, two = Candidate.of({"student": "a"}, 1), Candidate.of({"student": "a"}, 2)
    assert one.key == two.key != Candidate.of({"student": "b"}, 1).key


def test_feasible_needs_completion_and_every_budget() -> None:
    candidate = Candidate.of({"student": "a"}, 0)
    assert TrialRecord(0, candidate, "complete", violations={"size_mb": 0.0}).feasible
    assert not TrialRecord(0, candidate, "complete", violations={"size_mb": 0.01}).feasible
    assert not TrialRecord(0, candidate, "refused").feasible


def test_what_another_trial_went_on_with_counts_no_longer() -> None:
    stopped = TrialRecord(3, Candidate.of({"student": "convnet"}, 0), "stopped", rung=1, rung_accuracy=0.5)
    assert stopped.counts and not stopped.feasible
    assert not stopped.with_(continued_in=7).counts
    assert TrialRecord.from_json(stopped.with_(continued_in=7).to_json()).continued_in == 7


def test_drift_is_the_shipped_file_against_its_untrained_twin() -> None:
    screened = {"latency_p50_ms": 2.0, "size_mb": 0.0, "cpu_ms": 1.0}
    record = TrialRecord(3, Candidate.of({"student": "convnet"}, 0), "complete", screened=screened)
    record = record.with_(metrics={"latency_p50_ms": 2.5, "size_mb": 1.0, "accuracy": 0.9})
    assert record.drift == {"latency_p50_ms": pytest.approx(0.25)}
    assert record.with_(end="stopped").drift == {}


def test_a_write_that_dies_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "record.json"
    write_json(path, {"a": 1})

    def broken(_: int) -> None:
        raise OSError("power cut")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="power cut"):
        write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [item.name for item in tmp_path.iterdir()] == ["record.json"]


def test_nan_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        write_json(tmp_path / "x.json", {"accuracy": float("nan")})
    assert not (tmp_path / "x.json").exists()


def test_a_damaged_record_is_left_out(tmp_path: Path) -> None:
    good = TrialRecord(0, Candidate.of({"student": "a"}, 0), "complete")
    write_record(tmp_path, good)
    bad = trial_folder(tmp_path, 1) / "record.json"
    bad.parent.mkdir(parents=True)
    bad.write_text("{")
    assert read_records(tmp_path) == [good]


def test_an_artifact_comes_back_and_an_old_one_is_read_as_of_an_image(tmp_path: Path) -> None:
    view = {"max_length": 64, "vocabulary": "used"}
    made = OnnxArtifact(tmp_path / "a.onnx", ("input_ids",), view, 10, 20, "none", "tracing", "abc", 30)
    plain = json.loads(json.dumps(made.to_json()))
    assert OnnxArtifact.from_json(plain, tmp_path / "a.onnx") == made
    assert view_of(plain) == view
    old = {name: value for name, value in plain.items() if name not in ("inputs", "view")}
    old |= {"input_name": "pixels", "input_shape": [1, 3, 28, 28]}
    read = OnnxArtifact.from_json(old, tmp_path / "b.onnx")
    assert (read.inputs, read.view, read.path) == (("pixels",), {"input_size": 28}, tmp_path / "b.onnx")
