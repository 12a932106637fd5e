"""A real small search with rungs, killed at each and during a promotion; the same command goes on every time."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from pipeline.record import TrialRecord, read_records

pytestmark = pytest.mark.timeout(600)

SEARCH = ("search", "small.yaml")
# One shape, so that all cost the same and accuracy alone decides; rates so far apart that one epoch tells them apart;
# by chance, so that who comes when hangs on no figure.
RUNGS: dict[str, Any] = {
    "space": {
        "students": ["convnet"],
        "convnet": {"width": 8, "depth": 1, "stages": 2, "resolution": 8, "stem_stride": 1, "block": "plain"},
        "distill": {
            "epochs": 3, "learning_rate": [0.0003, 0.001, 0.003, 0.01], "temperature": [1, 2, 4, 8],
            "soft_weight": 1, "hard_weight": 0, "hidden_weight": 0, "augment": "none",
        },
        "prune": {"ratio": 0},
        "quantize": {"scheme": "none"},
    },
    "objectives": ["accuracy", "size_mb"],
    "trials": {"rungs": [1, 2], "reduction": 2},
    "sampler": "random",
    "limits": {"trials": 8},
}  # fmt: skip


@pytest.fixture(scope="module")
def climbed(home: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, list[TrialRecord]]:
    home = replace(home, folder=tmp_path_factory.mktemp("rungs"))
    home.write(**RUNGS)
    for moment in ("at_a_rung", "at_the_next_rung", "during_a_promotion"):
        before = {record.number: record for record in read_records(home.search)}
        done = home.killed(moment, *SEARCH)
        assert done.returncode == -9, f"{moment}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        after = {record.number: record for record in read_records(home.search)}
        assert all(after[number].with_(continued_in=None) == record for number, record in before.items()), moment
        assert list((home.search / "checkpoints").glob("*.safetensors")), f"{moment}: no checkpoint was left"
    done = home.killed("never", *SEARCH)
    assert done.returncode == 0, done.stdout + done.stderr
    return home, read_records(home.search)


def test_no_epoch_is_repeated_beyond_the_last_checkpoint(climbed: Any) -> None:
    home, records = climbed
    times = Counter((home.folder / "epochs.log").read_text().splitlines())
    # Twice it died at a rung, right after the checkpoint; once at the end of an epoch of a promotion, before the next.
    assert sorted(times.values())[-2:] == [1, 2]
    assert len(times) == sum(len(record.curve) for record in records if record.counts)


def test_every_candidate_has_one_record_that_counts(climbed: Any) -> None:
    _, records = climbed
    counted = [record.candidate.key for record in records if record.counts]
    assert len(counted) == len(set(counted)) == 8
    promoted = [record for record in records if record.resumed_from is not None and record.counts]
    assert promoted
    for record in promoted:
        before = records[record.resumed_from]
        assert (before.end, before.continued_in, before.candidate) == ("stopped", record.number, record.candidate)
        assert [row["epoch"] for row in record.curve] == list(range(1, len(record.curve) + 1))
    cut_off = [record for record in records if record.end == "interrupted"]
    assert len(cut_off) == 3 and {record.candidate.key for record in cut_off} <= set(counted)


def test_the_study_and_mlflow_say_the_same(climbed: Any) -> None:
    home, records = climbed
    expected = {"complete": "COMPLETE", "stopped": "PRUNED", "interrupted": "FAIL"}
    with sqlite3.connect(home.root / "study.db") as db:
        states = dict(db.execute("select number, state from trials where state != 'WAITING'"))
    assert states == {record.number: expected[record.end] for record in records}
    query = """select n.value, e.value from tags n join tags e using (run_uuid) join runs r using (run_uuid)
               where n.key = 'niwaki.trial' and e.key = 'end' and r.lifecycle_stage = 'active'"""
    with sqlite3.connect(home.root / "mlflow.db") as db:
        rows = db.execute(query).fetchall()
    assert sorted((int(number), end) for number, end in rows) == [(record.number, record.end) for record in records]


def test_only_students_that_wait_keep_a_checkpoint(climbed: Any) -> None:
    home, records = climbed
    waiting = {record.candidate.key for record in records if record.end == "stopped" and record.counts}
    assert {path.stem for path in (home.search / "checkpoints").iterdir()} == waiting


def test_front_and_show_say_it(climbed: Any) -> None:
    home, records = climbed
    front = home.niwaki("front", "small")
    assert "students were stopped at a rung (trials" in front.stdout, front.stdout + front.stderr
    stopped = next(record for record in records if record.end == "stopped")
    shown = home.niwaki("show", "small", str(stopped.number))
    assert f"stopped after {stopped.rung} epochs: rung_accuracy {stopped.rung_accuracy:.4f}" in shown.stdout
    assert "figures of the untrained twin" in shown.stdout and "  accuracy " not in shown.stdout
    finished = next(record for record in records if record.end == "complete")
    assert finished.drift["size_mb"] == pytest.approx(0, abs=0.02)
    plain = home.niwaki("show", "small", str(finished.number))
    assert "against its untrained twin: " in plain.stdout
    told = json.loads(home.niwaki("show", "small", str(finished.number), "--json").stdout)
    assert told["screened"]["size_mb"] > 0
