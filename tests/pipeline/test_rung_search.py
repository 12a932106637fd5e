"""A search with rungs, its trainings made up: who stops, who goes on later, and what a kill leaves behind."""

from __future__ import annotations

import sqlite3
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import synthetic
import torch
from untracked import Untracked
from watching import Heard, Killed

import pipeline.trial as journey
from pipeline.at_rungs import Climb
from pipeline.errors import ConfigError, Stopped
from pipeline.preflight import needed_bytes
from pipeline.record import TrialRecord, read_records, write_record
from pipeline.screening import Twin
from pipeline.search import loop
from pipeline.search.deaths import MOST_DEATHS
from pipeline.search.waiting import Waiting
from pipeline.tracking import Tracker
from pipeline.training_state import TrainingState

EPOCHS = 4
SPACE = {"students": ["convnet"], "distill": {"epochs": EPOCHS}, "prune": {"ratio": 0}, "quantize": {"scheme": "none"}}
RUNGS: dict[str, Any] = {"rungs": [1, 2], "reduction": 2}


class School:
    """Trainings by a rule: an epoch moves a student a quarter of the way to its accuracy. `epochs` remembers them."""

    def __init__(self) -> None:
        self.epochs: list[tuple[str, int]] = []
        self.kill_after: int | None = None  # epochs from now on
        self.failing: set[str] = set()

    def figures(self, number: int, candidate: Any, bench: Any) -> TrialRecord:
        return synthetic.record(0, candidate, bench, lambda _: None).with_(number=number)

    def train(self, student: Any, *_: Any, seed: int, on_epoch: Any, begin: Any, between: Any, **__: Any) -> Any:
        done = 0 if begin is None else begin.state.epoch
        for epoch in range(done + 1, EPOCHS + 1):
            if self.kill_after == 0:
                raise Killed
            self.kill_after = None if self.kill_after is None else self.kill_after - 1
            self.epochs.append((student.candidate.key, epoch))
            accuracy = student.accuracy * epoch / EPOCHS
            on_epoch({"loss": 1 / epoch, "rung_accuracy": accuracy, "seconds": float(epoch)})
            if between is not None and epoch < EPOCHS:
                between(epoch, lambda at=epoch: TrainingState(at, {"weights.seed": torch.tensor([seed])}))
        return student, []


@pytest.fixture
def school(monkeypatch: pytest.MonkeyPatch) -> School:
    made = School()

    def screened(candidate: Any, bench: Any, _folder: Any, found: dict[str, Any], _peers: Any) -> Twin:
        record = made.figures(0, candidate, bench)
        found["screened"] = {name: record.metrics[name] for name in ("latency_p50_ms", "energy_mj", "size_mb")}
        return Twin(found["screened"], record.measurement or {})

    def judge(
        shipped: Any, bench: Any, _folder: Any, _clock: Any, _step: Any, found: dict[str, Any], _tier: str
    ) -> None:
        record = made.figures(0, shipped.candidate, bench)
        found.update(metrics=record.metrics, intervals=record.intervals, measurement=record.measurement, notes=())

    def build(candidate: Any, bench: Any, **_: Any) -> Any:
        record = made.figures(0, candidate, bench)
        return SimpleNamespace(candidate=candidate, accuracy=record.metrics["accuracy"], to_json=dict)

    monkeypatch.setattr(journey, "screened", screened)
    monkeypatch.setattr(journey, "build", build)
    monkeypatch.setattr(journey, "distill", made.train)
    monkeypatch.setattr(journey, "rounding", lambda student, *_: student)
    monkeypatch.setattr(journey, "save_student", lambda *_: None)
    monkeypatch.setattr(journey, "export_student", lambda student, *_: student)
    monkeypatch.setattr(journey, "quantized", lambda student, *_: student)
    monkeypatch.setattr(journey, "judge", judge)
    return made


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store_in: Any, school: School) -> Any:  # noqa: ARG001
    monkeypatch.setattr(loop, "write_front", lambda *_: [])
    monkeypatch.setattr(loop, "drop_models", lambda *_: [])
    monkeypatch.setattr(loop, "Tracker", Untracked)
    store_in(tmp_path / "mlruns")

    def prepare(*given: Any) -> Any:
        made = synthetic.bench(*given)
        made.chance, made.reference, made.rows = {"accuracy": 0.1}, SimpleNamespace(sha256="t"), 1.0
        made.in_full = False
        made.task = made.targets = made.inner_teacher = None
        return made

    def run(count: int, /, heard: Heard | None = None, **changes: Any) -> list[TrialRecord]:
        values = {"space": SPACE, "recipes": "none", "trials": RUNGS, "sampler": "random", **changes}
        config = synthetic.config(count, **values)
        workspace = synthetic.workspace(tmp_path / "mlruns", config)
        loop.run_search(config, workspace, heard or Heard(), prepare=prepare)
        return read_records(workspace.folder)

    return run


@pytest.fixture
def tracked(go: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The same with MLflow, which takes most of the time."""
    monkeypatch.setattr(loop, "Tracker", Tracker)
    return go


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    return tmp_path / "mlruns" / "searches" / "synthetic" / "checkpoints"


def optuna_trials(tmp_path: Path) -> dict[int, str]:
    with sqlite3.connect(tmp_path / "mlruns" / "study.db") as db:
        return dict(db.execute("select number, state from trials where state != 'WAITING'"))


def runs(tmp_path: Path) -> dict[int, dict[str, str]]:
    query = """select n.value, t.key, t.value from tags n join tags t using (run_uuid) join runs r using (run_uuid)
               where n.key = 'niwaki.trial' and r.lifecycle_stage = 'active'"""
    found: dict[int, dict[str, str]] = {}
    with sqlite3.connect(tmp_path / "mlruns" / "mlflow.db") as db:
        for number, key, value in db.execute(query):
            assert found.setdefault(int(number), {}).setdefault(key, value) == value, "a trial has two runs"
    return found


def whole(records: list[TrialRecord], school: School, stored: Path, tmp_path: Path) -> None:
    """What holds after any search with rungs that came to its end, however often it was killed."""
    assert [record.number for record in records] == list(range(len(records)))
    counted = [record for record in records if record.counts]
    assert len({record.candidate.key for record in counted}) == len(counted), "a candidate has two records"
    by_number = {record.number: record for record in records}
    for record in counted:
        if record.resumed_from is not None:
            before = by_number[record.resumed_from]
            assert (before.end, before.continued_in) == ("stopped", record.number)
            assert before.candidate == record.candidate  # the seed too
            assert [row["epoch"] for row in record.curve] == list(range(1, len(record.curve) + 1))
    waiting = {record.candidate.key for record in counted if record.end == "stopped"}
    assert {path.stem for path in stored.glob("*")} == waiting
    states = {"complete": "COMPLETE", "stopped": "PRUNED", "interrupted": "FAIL", "failed": "FAIL"}
    assert optuna_trials(tmp_path) == {record.number: states[record.end] for record in records}
    ends = {record.candidate.key: record for record in counted}
    for key, record in ends.items():
        last = EPOCHS if record.end == "complete" else record.rung
        assert {epoch for name, epoch in school.epochs if name == key} == set(range(1, (last or 0) + 1))


def agree(records: list[TrialRecord], runs: dict[int, dict[str, str]]) -> None:
    """MLflow has one run for each record, and says the same."""
    assert set(runs) == {record.number for record in records}
    for record in records:
        told = None if record.continued_in is None else str(record.continued_in)
        assert (runs[record.number]["end"], runs[record.number].get("continued_in")) == (record.end, told)


def test_some_stop_and_some_of_them_go_on_later(go, school, stored: Path, tmp_path: Path) -> None:
    heard = Heard()
    records = go(16, heard)
    whole(records, school, stored, tmp_path)
    assert max(Counter(school.epochs).values()) == 1  # no epoch twice
    stopped = [record for record in records if record.end == "stopped"]
    assert any(record.continued_in is not None for record in stopped) and any(record.counts for record in stopped)
    assert sum(record.counts for record in records) == 16
    for record in stopped:
        assert record.rung in (1, 2) and record.rung_accuracy == record.curve[-1]["rung_accuracy"]
        assert "accuracy" not in record.metrics and record.metrics["latency_p50_ms"] > 0
        assert record.violations["stopped"] > 0
        assert f"after {record.rung} of {EPOCHS} epochs" in str(record.reason)
    assert not any("cannot go on" in sentence for sentence in heard.said)
    promoted = next(record for record in records if record.resumed_from is not None)
    with sqlite3.connect(tmp_path / "mlruns" / "study.db") as db:
        query = """select value_json from trial_user_attributes join trials using (trial_id)
                   where key = 'resumed_from' and number = ?"""
        assert db.execute(query, (promoted.number,)).fetchone() == (str(promoted.resumed_from),)


def test_without_rungs_nobody_stops(go, school) -> None:
    assert {record.end for record in go(6, trials={})} == {"complete"}
    assert len(school.epochs) == 6 * EPOCHS


@pytest.mark.parametrize("after", [3, 11])
def test_killed_between_two_epochs_it_goes_on_from_the_last_checkpoint(
    go, school, stored: Path, tmp_path: Path, after: int
) -> None:
    school.kill_after = after
    with pytest.raises(Killed):
        go(12)
    before = list(school.epochs)
    school.kill_after = None
    records = go(12)
    whole(records, school, stored, tmp_path)
    again = [key_epoch for key_epoch, times in Counter(school.epochs).items() if times > 1]
    # rungs are at 1 and 2: of four epochs only the third is neither kept by a checkpoint nor by a record
    assert again == ([before[-1]] if before[-1][1] == 3 else [])
    cut_off = next(record for record in records if record.end == "interrupted")
    ours = next(record for record in records if record.counts and record.candidate.key == cut_off.candidate.key)
    assert ours.candidate.seed == cut_off.candidate.seed or before[-1][0] != cut_off.candidate.key


MOMENTS = {
    "judging": (Climb, "_judge"),
    "telling": (loop.studies, "tell"),
    "marking": (Waiting, "mark_continued"),
    "tidying": (Waiting, "tidy"),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_at_any_moment_stopped_and_promoted_students_survive(
    go, school, monkeypatch, stored: Path, tmp_path: Path, moment: str
) -> None:
    place, name = MOMENTS[moment]
    usual, calls = getattr(place, name), [0]

    def kill(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] == 9:
            raise Killed
        return usual(*args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(place, name, kill)
        with pytest.raises(Killed):
            go(12)
    before = {record.number: record for record in read_records(stored.parent)}
    records = go(12)
    whole(records, school, stored, tmp_path)
    for number, record in before.items():
        assert records[number].with_(continued_in=record.continued_in) == record
    assert max(Counter(school.epochs).values()) == 1


def test_killed_before_it_was_judged_a_student_is_judged_where_it_was_left(
    go, school, monkeypatch, stored: Path, tmp_path: Path
) -> None:
    usual, died = Climb._judge, list[tuple[str, int]]()

    def kill(self: Climb, rung: int) -> None:
        try:
            usual(self, rung)
        except Stopped:
            died.append((self.candidate.key, rung))
            raise Killed from None

    with monkeypatch.context() as patched:
        patched.setattr(Climb, "_judge", kill)
        with pytest.raises(Killed):
            go(10)
    records = go(10)
    whole(records, school, stored, tmp_path)
    (key, rung) = died[0]
    ours = next(record for record in records if record.candidate.key == key and record.end != "interrupted")
    assert (ours.end, ours.rung, ours.seconds.get("distill")) == ("stopped", rung, None)


def test_a_mark_that_was_not_written_is_written_at_the_next_start(go, stored: Path) -> None:
    records = go(14)
    went_on = next(record for record in records if record.continued_in is not None)
    write_record(stored.parent, went_on.with_(continued_in=None))
    assert go(14) == records


def test_a_promotion_that_kills_the_process_is_given_up(go, school, monkeypatch) -> None:
    usual = school.train

    def deadly(student: Any, *args: Any, **kwargs: Any) -> Any:
        if kwargs["begin"] is not None:
            raise Killed
        return usual(student, *args, **kwargs)

    monkeypatch.setattr(journey, "distill", deadly)
    for _ in range(MOST_DEATHS):
        with pytest.raises(Killed):
            go(14)
    monkeypatch.setattr(journey, "distill", usual)
    records = go(14)
    failed = next(record for record in records if record.end == "failed")
    assert "not tried again" in str(failed.reason)
    assert records[failed.resumed_from].continued_in == failed.number
    assert sum(record.candidate.key == failed.candidate.key and record.counts for record in records) == 1


def test_ctrl_c_during_a_promotion(go, school, monkeypatch, stored: Path, tmp_path: Path) -> None:
    usual = school.train

    def stop(student: Any, *args: Any, **kwargs: Any) -> Any:
        if kwargs["begin"] is not None:
            raise KeyboardInterrupt
        return usual(student, *args, **kwargs)

    monkeypatch.setattr(journey, "distill", stop)
    with pytest.raises(KeyboardInterrupt):
        go(14)
    monkeypatch.setattr(journey, "distill", usual)
    records = go(14)
    whole(records, school, stored, tmp_path)
    cut_off = next(record for record in records if record.end == "interrupted")
    assert "goes on again" in str(cut_off.reason) and cut_off.resumed_from is not None


def test_an_equal_candidate_is_told_as_stopped_and_not_trained(go, school, tmp_path: Path) -> None:
    shape = {"resolution": 16, "stem_stride": 1, "stages": 2, "width": [8, 16, 24, 32], "depth": 1, "block": "plain"}
    lessons = {"temperature": 4, "soft_weight": 1, "hard_weight": 0, "hidden_weight": 0, "learning_rate": 0.001}
    space = {**SPACE, "convnet": shape, "distill": {**lessons, "epochs": EPOCHS, "augment": ["none", "shift"]}}
    records = go(8, space=space, objectives=["accuracy", "size_mb"])
    again = [record for record in records if record.end == "stopped" and record.same_as is not None]
    assert again and not any(record.curve for record in again)
    assert max(Counter(school.epochs).values()) == 1
    assert {optuna_trials(tmp_path)[record.number] for record in again} == {"PRUNED"}


def test_students_that_wait_share_a_bounded_disk(go, stored: Path) -> None:
    heard = Heard()
    go(16, heard, trials={**RUNGS, "checkpoints_gb": 1e-6})  # a kilobyte
    assert sum(path.stat().st_size for path in stored.glob("*")) <= 1000
    assert any("cannot go on any more" in sentence for sentence in heard.said)


@pytest.mark.parametrize("name", ["tpe", "nsga2"])
def test_every_sampler_is_told_of_stopped_students(go, tmp_path: Path, name: str) -> None:
    records = go(12, sampler={"name": name, "startup_trials": 3})
    stopped = [record.number for record in records if record.end == "stopped"]
    assert stopped
    expected = "PRUNED" if name == "tpe" else "COMPLETE"
    assert {optuna_trials(tmp_path)[number] for number in stopped} == {expected}
    with sqlite3.connect(tmp_path / "mlruns" / "study.db") as db:
        query = """select count(*) from trial_system_attributes join trials using (trial_id)
                   where key = 'constraints:stopped' and cast(value_json as real) > 0"""
        assert db.execute(query).fetchone() == (len(stopped),)


def test_a_lost_study_is_written_again(go, school, stored: Path, tmp_path: Path) -> None:
    before = go(16)
    (tmp_path / "mlruns" / "study.db").unlink()
    records = go(16)
    assert records == before
    whole(records, school, stored, tmp_path)


def test_mlflow_says_the_same_after_a_kill_before_it_was_told_of_a_promotion(
    tracked, school, monkeypatch, stored: Path, tmp_path: Path
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Tracker, "replace", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            tracked(14)
    records = tracked(14)
    whole(records, school, stored, tmp_path)
    agree(records, runs(tmp_path))


def test_device_figures_that_could_not_be_had_stop_nobody(go, monkeypatch, stored: Path) -> None:
    monkeypatch.setattr(journey, "screened", lambda *_: None)
    assert {record.end for record in go(5)} == {"complete"}
    assert not list(stored.glob("*"))


def test_the_disk_set_apart_for_them_is_asked_for_beforehand() -> None:
    needed = [needed_bytes(synthetic.config(1, trials=trials)) for trials in ({}, {**RUNGS, "checkpoints_gb": 3})]
    assert needed[1] - needed[0] == 3e9


@pytest.mark.parametrize("rungs", [[2, 1], [1, 1], [0]])
def test_rungs_rise(rungs: list[int]) -> None:
    with pytest.raises(ConfigError, match="are no rungs; give rising numbers of epochs"):
        synthetic.config(1, trials={"rungs": rungs})
