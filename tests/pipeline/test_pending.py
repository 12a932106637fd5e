"""A device that goes away: what was trained is kept, and measured when it is back; nothing is lost in between."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fakes
import pytest
import small_bench
import synthetic
from untracked import Untracked
from watching import Killed

from pipeline import pending
from pipeline.artifact import sha256_of
from pipeline.cli import run as command_line
from pipeline.findings import drop_models, find
from pipeline.pending import measure_pending, measured, sentences
from pipeline.progress import Quiet
from pipeline.record import TrialRecord, read_records, write_record
from pipeline.search import loop
from pipeline.trial import run_trial
from search_spaces.candidate import Candidate

SPACE = {"students": ["convnet", "identity"], "convnet": {"depth": 1}}
IDENTITY = Candidate.of({"student": "identity", "quantize.scheme": "none"}, 0)


# ---- one trial ------------------------------------------------------------------------------------------------------


@pytest.fixture
def bench(tmp_path: Path) -> Any:
    return small_bench.tight(tmp_path / "mlruns", fakes.ScriptedTarget(latency_ms=1.0))


@pytest.mark.parametrize("verb", ["measure", "predict"])
def test_a_trained_trial_is_kept_when_the_device_goes(bench: Any, verb: str) -> None:
    bench.target.fail = small_bench.away(verb)
    record = run_trial(0, IDENTITY, bench)
    assert record.end == "pending" and "does not answer" in str(record.reason)
    assert not record.metrics and record.measurement is None and not record.feasible and record.counts
    assert sha256_of(bench.workspace.trial(0) / "model.onnx") == record.artifact["sha256"]


def test_it_is_measured_later_as_it_would_have_been(bench: Any) -> None:
    whole = run_trial(0, IDENTITY, bench)
    bench.target.fail = small_bench.away("measure")
    record = run_trial(1, IDENTITY, bench)
    with pytest.raises(pending.DeviceAway):
        measured(record, bench, lambda _: None)
    bench.target.fail = lambda *_: None
    later = measured(record, bench, lambda _: None)
    assert (later.end, later.reason) == ("complete", None)
    assert later.metrics == whole.metrics and later.metrics["accuracy"] == 7 / 8
    assert later.intervals == whole.intervals and later.violations == whole.violations
    assert later.measurement == whole.measurement
    assert later.seconds.keys() == whole.seconds.keys() and later.started == record.started
    assert any("measured later" in note for note in later.notes)
    assert (bench.workspace.trial(1) / "predictions.npy").exists()


@pytest.mark.parametrize(("final_of", "tier"), [(None, "trial"), (3, "final")])
def test_a_final_is_measured_as_one_however_late(bench: Any, final_of: int | None, tier: str) -> None:
    bench.in_full = final_of is not None
    run_trial(0, IDENTITY, bench)
    bench.target.fail = small_bench.away("measure")
    record = run_trial(1, IDENTITY, bench).with_(final_of=final_of)
    bench.target.fail, bench.in_full = (lambda *_: None), False
    assert measured(record, bench, lambda _: None).end == "complete"
    assert bench.target.tiers == [tier, tier]


def test_what_the_device_refuses_then_fails(bench: Any) -> None:
    from hardware_targets import BadModel

    def refuse(*_: object) -> None:
        raise BadModel("no such operator")

    bench.target.fail = small_bench.away("measure")
    record = run_trial(0, IDENTITY, bench)
    bench.target.fail = refuse
    later = measured(record, bench, lambda _: None)
    assert (later.end, later.reason) == ("failed", "no such operator")


# ---- the search around it -------------------------------------------------------------------------------------------


class Heard(Quiet):
    def __init__(self) -> None:
        self.ended: list[tuple[int, str]] = []

    def end(self, record: TrialRecord, report: Any) -> None:  # noqa: ARG002
        self.ended.append((record.number, record.end))


@pytest.fixture
def tracked(store_in: Any, tmp_path: Path) -> None:
    """Asked for by a test that reads MLflow."""
    store_in(tmp_path / "mlruns")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Any:
    """`search(trials)` and `later()`: a search of synthetic trials, whose device is away for the numbers in `away`."""
    away: set[int] = set()
    if "tracked" not in request.fixturenames:
        for room in (loop, pending):
            monkeypatch.setattr(room, "Tracker", Untracked)
    monkeypatch.setattr(loop, "write_front", lambda *_: [])
    monkeypatch.setattr(pending, "write_front", lambda *_: [])
    monkeypatch.setattr(loop, "run_trial", lambda *rest, **_: cut(synthetic.record(*rest), away, rest[2]))
    monkeypatch.setattr(pending, "measured", lambda record, bench, step: whole(record, away, bench, step))
    settings = synthetic.config(9, space=SPACE, recipes="none")
    workspace = synthetic.workspace(tmp_path / "mlruns", settings)

    def search(trials: int = 9, **changes: Any) -> loop.SearchResult:
        config = synthetic.config(trials, **{"space": SPACE, "recipes": "none", **changes})
        return loop.run_search(config, workspace, Quiet(), prepare=synthetic.bench)

    def later(heard: Heard | None = None) -> pending.Settled:
        return measure_pending(settings, workspace, heard or Heard(), prepare=synthetic.bench)

    return SimpleNamespace(away=away, workspace=workspace, search=search, later=later, settings=settings)


def cut(record: TrialRecord, away: set[int], bench: Any) -> TrialRecord:
    if record.number not in away:
        return record
    artifact = {**record.artifact, "sha256": sha256_of(bench.workspace.trial(record.number) / "model.onnx")}
    return record.with_(
        end="pending", reason="pi is away", metrics={}, intervals={}, measurement=None, artifact=artifact
    )


def whole(record: TrialRecord, away: set[int], bench: Any, step: Any) -> TrialRecord:
    if record.number in away:
        raise pending.DeviceAway("pi is still away")
    return synthetic.record(record.number, record.candidate, bench, step)


def states(home: Any) -> dict[int, str]:
    with sqlite3.connect(home.workspace.root / "study.db") as db:
        return dict(db.execute("select number, state from trials"))


def ends(home: Any) -> dict[int, str]:
    return {record.number: record.end for record in read_records(home.workspace.folder)}


def runs(home: Any) -> dict[int, str]:
    """Trial -> the tag `end` of its live runs; two runs of one trial would be an error."""
    from pipeline.tracking import client

    store = client(home.workspace)
    experiment = store.get_experiment_by_name("synthetic").experiment_id
    found = [run.data.tags for run in store.search_runs([experiment]) if "niwaki.trial" in run.data.tags]
    assert len({tags["niwaki.trial"] for tags in found}) == len(found)
    return {int(tags["niwaki.trial"]): tags["end"] for tags in found}


@pytest.mark.usefixtures("tracked")
def test_the_search_goes_on_and_the_trials_are_measured_later(home: Any) -> None:
    home.away |= {5, 7}
    result = home.search()
    assert "limits.trials" in result.reason
    assert (ends(home)[5], ends(home)[7], ends(home)[8]) == ("pending", "pending", "complete")
    assert (states(home)[5], states(home)[8]) == ("RUNNING", "COMPLETE")
    assert runs(home)[5] == "pending"
    assert not {5, 7} & set(result.report.front_numbers)
    assert (home.workspace.trial(5) / "model.onnx").exists(), "kept, though it is not on the front"
    assert home.workspace.trial(5) / "model.onnx" not in drop_models(result.report, home.workspace, dry_run=True)
    home.away.clear()
    heard = Heard()
    settled = home.later(heard)
    assert heard.ended == [(5, "complete"), (7, "complete")] and not settled.left
    assert "pending" not in ends(home).values()
    assert (states(home)[5], states(home)[7]) == ("COMPLETE", "COMPLETE")
    assert runs(home)[5] == runs(home)[7] == "complete"
    assert home.later() == pending.Settled((), {})


def test_what_waits_may_come_to_the_front(home: Any) -> None:
    home.search(6)
    front = set(find(home.workspace).front_numbers)
    best = next(iter(front))
    records = {record.number: record for record in read_records(home.workspace.folder)}
    home.away.add(best)
    bench = SimpleNamespace(workspace=home.workspace)
    write_record(home.workspace.folder, cut(records[best], home.away, bench))
    assert best not in find(home.workspace).front_numbers
    home.away.clear()
    home.later()
    assert set(find(home.workspace).front_numbers) == front


@pytest.mark.parametrize("sampler", ["nsga2", "gp"])
def test_every_sampler_bears_open_trials(home: Any, sampler: str) -> None:
    home.away |= {4, 6}
    home.search(9, sampler={"name": sampler, "startup_trials": 3})
    assert sum(end == "pending" for end in ends(home).values()) == 2
    assert home.search(11, sampler={"name": sampler, "startup_trials": 3}).reason.startswith("11 trials")


def test_a_device_that_stays_away_ends_the_search_with_a_sentence(home: Any) -> None:
    home.away |= set(range(4, 100))
    result = home.search(30)
    assert "niwaki measure-pending synthetic" in result.reason
    assert list(ends(home).values()).count("pending") == loop.MOST_AWAY


def test_an_equal_candidate_is_not_trained_again_while_one_waits(home: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    home.away |= {5, 6}
    home.search(7)
    waiting = next(record for record in read_records(home.workspace.folder) if record.number == 5)
    monkeypatch.setattr(loop.studies, "sampling", loop.studies.sampling)
    params = synthetic.bench(home.settings, home.workspace).space.params_of(waiting.candidate.flat())
    study = loop.studies.open_study(home.settings, home.workspace.study_url)
    loop.studies.enqueue(study, params)
    home.search(8)
    twin = next(record for record in read_records(home.workspace.folder) if record.same_as == 5)
    assert twin.end == "duplicate"
    home.away.clear()
    assert [record.number for record in home.later().done] == [5, 6]


def test_a_device_that_goes_away_again_leaves_the_rest(home: Any) -> None:
    home.away |= {5, 7}
    home.search()
    home.away.remove(5)
    settled = home.later()
    assert [record.number for record in settled.done] == [5] and settled.left == {7: "pi is still away"}
    assert (ends(home)[5], ends(home)[7], states(home)[7]) == ("complete", "pending", "RUNNING")
    said = sentences(settled, "synthetic", "")
    assert said[-1] == "next: niwaki measure-pending synthetic" and "1 measured, 1 pending" in said


@pytest.mark.usefixtures("tracked")
@pytest.mark.parametrize("moment", ["settle", "replace"])
def test_killed_in_between_nothing_is_lost(home: Any, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    home.away |= {5, 6}
    home.search(7)
    home.away.clear()
    owner = {"settle": pending.studies, "replace": pending.Tracker}[moment]
    usual = getattr(owner, moment)

    def kill(*_: Any, **__: Any) -> None:
        raise Killed

    monkeypatch.setattr(owner, moment, kill)
    with pytest.raises(Killed):
        home.later()
    monkeypatch.setattr(owner, moment, usual)
    assert (ends(home)[5], ends(home)[6]) == ("complete", "pending")
    assert [record.number for record in home.later().done] == [6]
    home.search(7)  # the next start mends the study, as after every kill
    assert (states(home)[5], states(home)[6]) == ("COMPLETE", "COMPLETE")
    assert runs(home)[5] == runs(home)[6] == "complete"


def test_a_study_that_was_lost_holds_them_open_again(home: Any) -> None:
    home.away |= {5}
    home.search(8)
    (home.workspace.root / "study.db").unlink()
    home.search(9)
    assert states(home)[5] == "RUNNING"
    home.away.clear()
    home.later()
    assert states(home)[5] == "COMPLETE"


def test_a_file_that_is_gone_or_another_is_said(home: Any) -> None:
    home.away |= {5, 7}
    home.search()
    home.away.clear()
    (home.workspace.trial(5) / "model.onnx").unlink()
    (home.workspace.trial(7) / "model.onnx").write_bytes(b"another")
    left = home.later().left
    assert "is gone" in left[5] and "niwaki rerun synthetic 5" in left[5]
    assert "is not the file that was trained" in left[7]
    assert (ends(home)[5], ends(home)[7]) == ("pending", "pending")


def test_the_command(home: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    home.away |= {5}
    home.search()
    root = str(home.workspace.root)
    assert command_line(["front", "synthetic", "--root", root]) == 0
    said = capsys.readouterr().out
    assert "1 pending" in said and "niwaki measure-pending synthetic" in said
    home.away.clear()
    monkeypatch.setattr("pipeline.pending.measure_pending", lambda *_, **__: home.later())
    assert command_line(["measure-pending", "synthetic", "--root", root, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["measured"] == {"5": "complete"}
    assert command_line(["measure-pending", "synthetic", "--root", root]) == 0
    assert "no trial of synthetic is pending" in capsys.readouterr().out
    assert command_line(["measure-pending", "sinthetic", "--root", root]) == 2
    assert "did you mean 'synthetic'" in capsys.readouterr().err


def test_a_device_that_is_away_outside_a_trial_is_a_sentence(
    home: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def gone(*_: Any, **__: Any) -> None:
        raise pending.DeviceAway("pi does not answer")

    home.search(6)
    monkeypatch.setattr("pipeline.pending.measure_pending", gone)
    assert command_line(["measure-pending", "synthetic", "--root", str(home.workspace.root)]) == 3
    assert capsys.readouterr().err == "niwaki: pi does not answer\n"
