"""What an earlier search leaves: files measured again and not trained, or candidates to try first; nothing twice."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fakes
import numpy as np
import pytest
import small_bench
import synthetic
from untracked import Untracked
from watching import Heard, Killed

from pipeline.artifact import sha256_of
from pipeline.errors import ConfigError
from pipeline.record import TrialRecord, read_json, read_records, write_json
from pipeline.search import loop
from pipeline.search.deaths import MOST_DEATHS
from pipeline.student_files import SHAPE, WEIGHTS
from pipeline.trial import run_trial
from pipeline.warm_start import borrowed, differs, files, fitting, lender
from search_spaces import ImageInput, load
from search_spaces.candidate import Candidate

SPACE = {"students": ["convnet", "identity"], "convnet": {"depth": 1}}
IDENTITY = Candidate.of({"student": "identity", "quantize.scheme": "none"}, 0)


# ---- one file -------------------------------------------------------------------------------------------------------


@pytest.fixture
def lent(tmp_path: Path) -> Any:
    """`(bench, run)`: a bench of another search, and what measures trial 0 of the first one there."""
    benches = []
    for name, latency_ms in (("first", 1.0), ("second", 4.0)):
        config = synthetic.config(3, name=name, warm_start=None if name == "first" else "first")
        workspace = synthetic.workspace(tmp_path / "mlruns", config)
        workspace.make()
        benches.append(small_bench.bench(config, workspace, fakes.ScriptedTarget(latency_ms=latency_ms)))
    theirs = run_trial(0, IDENTITY, benches[0])
    return benches[1], partial(borrowed, 7, theirs, benches[1], lambda _: None), theirs


def test_a_file_is_copied_and_measured_on_the_new_target(lent: Any) -> None:
    bench, run, theirs = lent
    record = run()
    assert (record.number, record.end, record.lent_by) == (7, "complete", "first#0")
    assert sha256_of(bench.workspace.trial(7) / "model.onnx") == theirs.artifact["sha256"] == record.artifact["sha256"]
    assert record.metrics["latency_p50_ms"] == pytest.approx(4 * theirs.metrics["latency_p50_ms"])
    assert record.metrics["accuracy"] == theirs.metrics["accuracy"]
    assert record.candidate.key == theirs.candidate.key
    assert "distill" not in record.seconds and not record.curve
    assert any("trial 0 of search first" in note for note in record.notes)
    assert record.teacher == bench.reference.sha256


def test_a_file_that_was_chosen_after_its_test_says_so_here_too(lent: Any) -> None:
    bench, run, theirs = lent
    assert run().test_seen is False
    seen = partial(borrowed, 8, theirs.with_(test_seen=True), bench, lambda _: None)
    assert seen().test_seen is True


def test_a_device_that_goes_away_leaves_it_pending(lent: Any) -> None:
    bench, run, theirs = lent
    bench.target.fail = small_bench.away("measure")
    record = run()
    assert record.end == "pending" and not record.metrics and record.measurement is None
    assert record.artifact["sha256"] == theirs.artifact["sha256"]


def test_a_file_that_answers_nonsense_here_fails(lent: Any) -> None:
    bench, run, _ = lent
    bench.target.predictions = lambda *_: np.full((8, 2), np.nan, dtype=np.float32)
    assert run().end == "failed"


# ---- who may lend ---------------------------------------------------------------------------------------------------


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`go(name, trials, heard=None, ...)`: a synthetic search; its trials' files carry a hash, its teacher one, too."""

    def train(number: int, candidate: Candidate, bench: Any, step: Any, begun: Any = None, **_: Any) -> TrialRecord:
        record = synthetic.record(number, candidate, bench, step)
        path = bench.workspace.trial(number) / "model.onnx"
        path.write_bytes(candidate.key.encode() * 20)
        trained.append(candidate.key)
        took = {"seconds": {"distill": 10.0}} if begun is None else {"seconds": {}, "trained_by": begun.number}
        return record.with_(artifact={**record.artifact, "sha256": sha256_of(path)}, **took)

    def lend(number: int, theirs: TrialRecord, bench: Any, step: Any) -> TrialRecord:
        record = synthetic.record(number, theirs.candidate, bench, step)
        return record.with_(artifact=theirs.artifact, lent_by=f"first#{theirs.number}", seconds={})

    def prepare(settings: Any, workspace: Any, *_: Any) -> Any:
        bench = synthetic.bench(settings, workspace)
        frozen = workspace.folder / "teacher" / "figures.json"
        data = settings.task.data.name
        bench.teacher, bench.task = (
            SimpleNamespace(sha256=f"teacher of {data}"),
            SimpleNamespace(fingerprint=f"rows of {data}"),
        )
        write_json(frozen, {**read_json(frozen), "teacher": bench.teacher.sha256, "task": bench.task.fingerprint})
        return bench

    trained: list[str] = []
    monkeypatch.setattr(loop, "run_trial", train)
    monkeypatch.setattr(loop, "borrowed", lend)
    monkeypatch.setattr(loop, "write_front", lambda *_: [])
    monkeypatch.setattr(loop, "Tracker", Untracked)

    def run(name: str, count: int, heard: Heard | None = None, **changes: Any) -> list[TrialRecord]:
        settings = synthetic.config(
            count, **{"name": name, "space": SPACE, "recipes": "none", "keep": "all", **changes}
        )
        workspace = synthetic.workspace(tmp_path / "mlruns", settings)
        return list(loop.run_search(settings, workspace, heard or Heard(), prepare=prepare).report.records)

    run.trained = trained  # type: ignore[attr-defined]
    return run


def test_nothing_is_trained_that_another_search_has_trained(go: Any) -> None:
    first = [record for record in go("first", 9) if record.candidate.student != "identity"]
    go.trained.clear()
    heard = Heard()
    second = go("second", 12, heard, warm_start="first")
    lent = [record for record in second if record.lent_by and record.counts]
    assert [record.lent_by for record in lent] == [f"first#{record.number}" for record in first]
    assert not set(go.trained) & {record.candidate.key for record in first}
    assert sum(record.counts for record in second) == 12
    assert [record.number for record in second] == list(range(len(second)))
    assert f"{len(first)} models of search first are measured here; none is trained again" in heard.said


def test_what_a_killed_search_did_not_take_is_taken_then(go: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first = [record for record in go("first", 9) if record.candidate.student != "identity"]
    lend, taken = loop.borrowed, []

    def kill(number: int, *rest: Any) -> TrialRecord:
        if len(taken) == 2:
            raise Killed
        taken.append(number)
        return lend(number, *rest)

    monkeypatch.setattr(loop, "borrowed", kill)
    with pytest.raises(Killed):
        go("second", 12, warm_start="first")
    monkeypatch.setattr(loop, "borrowed", lend)
    second = go("second", 12, warm_start="first")
    lent = [record.lent_by for record in second if record.lent_by]
    assert lent == [f"first#{record.number}" for record in first]


def test_what_is_lent_counts_as_trials_and_ends_with_the_limit(go: Any) -> None:
    first = [record for record in go("first", 12) if record.candidate.student != "identity"]
    second = go("second", 7, warm_start="first")
    assert sum(record.counts for record in second) == 7
    own = [record for record in second if record.candidate.student == "identity"]
    assert len([record for record in second if record.lent_by]) == 7 - len(own) < len(first)


def test_a_lent_student_is_harvested_like_a_trained_one(go: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lend = loop.borrowed

    def with_student(number: int, theirs: TrialRecord, bench: Any, step: Any) -> TrialRecord:
        record = lend(number, theirs, bench, step)
        for name in (SHAPE, WEIGHTS):
            (bench.workspace.trial(number) / name).write_text("{}")
        return record

    go("first", 7)
    monkeypatch.setattr(loop, "borrowed", with_student)
    second = go("second", 12, warm_start="first", trials={"harvest": 1})
    lent = {record.number for record in second if record.lent_by and record.counts}
    assert lent & {record.trained_by for record in second}


def test_of_equal_candidates_the_one_that_was_trained_in_full_is_lent(go: Any) -> None:
    trial = next(record for record in go("first", 7) if record.candidate.student != "identity")
    final = trial.with_(number=90, final_of=trial.number)
    space = load(SPACE, input=ImageInput(channels=1, size=16, classes=10), augmentations=["none", "shift"])
    assert [record.number for record, _ in fitting([trial, final], space)] == [90]


def test_only_what_lies_in_the_space_and_is_still_there_is_taken(go: Any, tmp_path: Path) -> None:
    first = [record for record in go("first", 12) if record.candidate.student != "identity"]
    (tmp_path / "mlruns" / "searches" / "first" / "trials" / f"{first[0].number:05d}" / "model.onnx").unlink()
    (tmp_path / "mlruns" / "searches" / "first" / "trials" / f"{first[1].number:05d}" / "model.onnx").write_bytes(b"y")
    narrow = {**SPACE, "quantize": {"scheme": ["static_int8", "none"]}}
    second = go("second", 12, space=narrow, warm_start="first")
    lent = {record.lent_by for record in second if record.lent_by}
    fits = {f"first#{record.number}" for record in first[2:] if record.precision in ("static_int8", "none")}
    assert lent == fits and fits


def test_another_teacher_lends_its_front_only(go: Any, tmp_path: Path) -> None:
    go("first", 12)
    best = lender(tmp_path / "mlruns", "first", synthetic.config(1, name="second")).best
    heard = Heard()
    other = {"data": {"source": "sklearn", "name": "others"}, "size": 16, "channels": 1}
    second = go("second", 14, heard, warm_start="first", task=other)
    assert not any(record.lent_by for record in second)
    assert any("tried first; its models cannot be used: its teacher is another one" in line for line in heard.said)
    students = [record for record in second if record.candidate.student != "identity"]
    inorder = [record.candidate.key for record in sorted(best, key=lambda record: record.number)]
    assert [record.candidate.key for record in students[: len(best)]] == inorder


@pytest.mark.parametrize("rows", ["of other rows at the same place", None])
def test_other_rows_would_let_students_have_seen_what_they_are_judged_by(
    go: Any, tmp_path: Path, rows: str | None
) -> None:
    """What the lender saw counts, not what lies there now; a search that did not keep it may have seen anything."""
    go("first", 8)
    settings = synthetic.config(1, name="second")
    lends = lender(tmp_path / "mlruns", "first", settings)
    task = SimpleNamespace(fingerprint="rows of digits")
    bench = SimpleNamespace(teacher=SimpleNamespace(sha256="teacher of digits"), config=settings, task=task)
    assert differs(lends, bench) is None  # type: ignore[arg-type]
    frozen = lends.workspace.folder / "teacher" / "figures.json"
    write_json(frozen, {**read_json(frozen), "task": rows})
    assert differs(lends, bench) == "its rows, or how they are split, are others"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "changes", "sentence"),
    [
        ("second", {}, "cannot begin with its own trials"),
        ("frist", {}, "no search named 'frist' under .*did you mean 'first'"),
        ("first", {"input_kind": "text"}, "is of images and this one of texts"),
    ],
)
def test_who_cannot_lend_is_said_before_anything_is_made(
    go: Any, tmp_path: Path, name: str, changes: dict[str, Any], sentence: str
) -> None:
    go("first", 7)
    settings: Any = SimpleNamespace(name="second", task=SimpleNamespace(input_kind=changes.get("input_kind", "image")))
    with pytest.raises(ConfigError, match=sentence):
        lender(tmp_path / "mlruns", name, settings)


def test_a_search_without_students_has_nothing_to_lend(go: Any, tmp_path: Path) -> None:
    go("first", 3)  # the teacher's own quantizations only
    with pytest.raises(ConfigError, match="no complete student to begin with"):
        lender(tmp_path / "mlruns", "first", synthetic.config(1, name="second"))
    with pytest.raises(ConfigError, match="no complete student"):
        go("second", 3, warm_start="first")
    assert not read_records(tmp_path / "mlruns" / "searches" / "second")


def test_a_file_that_was_replaced_is_not_lent(go: Any, tmp_path: Path) -> None:
    first = [record for record in go("first", 8) if record.candidate.student != "identity"]
    lends = lender(tmp_path / "mlruns", "first", synthetic.config(1, name="second"))
    assert sorted(files(lends)) == [record.number for record in first]
    (lends.workspace.trial(first[0].number) / "model.onnx").write_bytes(b"another")
    assert sorted(files(lends)) == [record.number for record in first[1:]]


def test_a_lent_file_that_kills_the_process_is_given_up(go: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are taken all the same, and the search goes on."""
    go("first", 9)
    lend, deadly = loop.borrowed, list[str]()

    def dies(number: int, theirs: TrialRecord, bench: Any, step: Any) -> TrialRecord:
        if theirs.candidate.key in (deadly or [theirs.candidate.key]):
            deadly.append(theirs.candidate.key)
            raise Killed
        return lend(number, theirs, bench, step)

    monkeypatch.setattr(loop, "borrowed", dies)
    for _ in range(MOST_DEATHS):
        with pytest.raises(Killed):
            go("second", 9, warm_start="first")
    records = go("second", 9, warm_start="first")
    assert [record.candidate.key for record in records if record.end == "failed"] == deadly[:1]
    assert len(set(deadly)) == 1 and len(deadly) == MOST_DEATHS
    assert sum(record.lent_by is not None for record in records) > 1
