"""Trials that were timed on a disturbed machine: timed again without training, and the quieter figure stays."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fakes
import numpy as np
import pytest
import small_bench
import synthetic
from untracked import Untracked
from watching import Killed

from hardware_targets import BadModel, DeviceAway
from pipeline import pending, remeasuring
from pipeline.artifact import sha256_of
from pipeline.errors import ConfigError
from pipeline.findings import find
from pipeline.front_words import footer
from pipeline.pending import measure_pending, sentences
from pipeline.preflight import REMEASURING, whole
from pipeline.progress import Quiet
from pipeline.record import TrialRecord, read_records, write_record
from pipeline.remeasuring import MOST_BUSY, timed_again
from pipeline.search import loop
from pipeline.trial import run_trial
from search_spaces.candidate import Candidate

IDENTITY = Candidate.of({"student": "identity", "quantize.scheme": "none"}, 0)
BAD = {4, 5, 6}
SPACE = {"students": ["convnet", "identity"], "convnet": {"depth": 1}}


# ---- one trial ------------------------------------------------------------------------------------------------------


@pytest.fixture
def bench(tmp_path: Path) -> Any:
    return small_bench.tight(tmp_path / "mlruns", fakes.ScriptedTarget(latency_ms=2.0, void=15))


def test_a_quieter_session_replaces_the_figures_and_keeps_the_old(bench: Any) -> None:
    old = run_trial(0, IDENTITY, bench)
    assert old.unreliable and not old.feasible, "2 ms are over the budget"
    bench.target.latency_ms, bench.target.void = 1.0, 0
    new, still = timed_again(old, bench, lambda _: None)
    assert still is None and not new.unreliable and new.feasible
    assert (new.metrics["latency_p50_ms"], new.metrics["accuracy"]) == (1.0, old.metrics["accuracy"])
    assert new.intervals["latency_ratio"] == pytest.approx((0.099, 0.101))
    assert new.intervals["accuracy"] == old.intervals["accuracy"]
    (before,) = new.earlier_timing
    assert before["measurement"] == old.measurement and before["metrics"]["latency_p50_ms"] == 2.0
    assert "accuracy" not in before["metrics"], "quality is not the machine's"
    assert any("before, 15 of 20 rounds were void" in note for note in new.notes)
    assert bench.target.calls[-1] == ("measure", bench.workspace.trial(0) / "model.onnx"), "nothing is scored again"
    assert TrialRecord.from_json(new.to_json()) == new


def test_warnings_of_the_old_session_go_with_it(bench: Any) -> None:
    old = run_trial(0, IDENTITY, bench)
    warned = {**(old.measurement or {}), "warnings": ["15 of 20 rounds were void"]}
    old = old.with_(measurement=warned, notes=("unscreened", "15 of 20 rounds were void"))
    bench.target.void = 0
    notes = timed_again(old, bench, lambda _: None)[0].notes
    assert notes[0] == "unscreened" and len(notes) == 2 and notes[1].startswith("timed again on ")


@pytest.mark.parametrize(("void", "bettered"), [(20, False), (15, False), (10, True)])
def test_a_machine_that_is_busy_still_gives_the_better_of_both(bench: Any, void: int, bettered: bool) -> None:
    old = run_trial(0, IDENTITY, bench)
    bench.target.void, bench.target.latency_ms = void, 1.0
    new, still = timed_again(old, bench, lambda _: None)
    assert still == f"{void} of 20 rounds were void (foreign CPU: {void})"
    assert (new is not old) == bettered and new.unreliable
    assert new.metrics["latency_p50_ms"] == (1.0 if bettered else 2.0)


@pytest.mark.parametrize("void", [0, 20])
def test_raw_timings_are_those_of_the_figure(bench: Any, void: int, monkeypatch: pytest.MonkeyPatch) -> None:
    old = run_trial(0, IDENTITY, bench)
    blocks = bench.workspace.trial(0) / "blocks.npz"
    blocks.write_bytes(b"old")
    usual = bench.target.measure

    def measure(*files: Path, raw: Path, **rest: Any) -> Any:
        assert raw.suffix == ".npz"  # numpy adds the ending to any other name
        np.savez(raw, new=np.ones(1))
        return usual(*files, **rest)

    monkeypatch.setattr(bench.target, "measure", measure)
    bench.target.void = void
    timed_again(old, bench, lambda _: None)
    assert (blocks.read_bytes() == b"old") == (void == 20)
    assert [path.name for path in blocks.parent.glob("*.npz")] == ["blocks.npz"]


def test_a_device_that_fails_leaves_the_record_as_it_was(bench: Any) -> None:
    old = run_trial(0, IDENTITY, bench)
    bench.target.fail = small_bench.away("measure")
    with pytest.raises(DeviceAway):
        timed_again(old, bench, lambda _: None)
    bench.target.fail, bench.target.void, bench.target.energy = lambda *_: None, 0, False
    with pytest.raises(remeasuring.TargetError, match="no figure for energy_mj"):
        timed_again(old, bench, lambda _: None)


# ---- the search around it -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Searches are dear, copies of their folders are not: nine synthetic trials, of which BAD are unreliable."""
    settings = synthetic.config(9, space=SPACE, recipes="none")
    workspace = synthetic.workspace(tmp_path_factory.mktemp("searched") / "mlruns", settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "Tracker", Untracked)
        patch.setattr(loop, "write_front", lambda *_: [])
        patch.setattr(loop, "run_trial", lambda *rest, **_: disturbed(synthetic.record(*rest), BAD, rest[2]))
        loop.run_search(settings, workspace, Quiet(), prepare=synthetic.bench)
    return workspace.root


@pytest.fixture
def home(searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """That search; `later()` measures again, and finds `quiet` trials faster and the machine busy at the others."""
    quiet, tried = set[int](), list[int]()
    for room in (loop, pending):
        monkeypatch.setattr(room, "Tracker", Untracked)
        monkeypatch.setattr(room, "write_front", lambda *_: [])

    def again(record: TrialRecord, _bench: Any, _step: Any) -> tuple[TrialRecord, str | None]:
        tried.append(record.number)
        if record.number not in quiet:
            return record, "9 of 9 rounds were void"
        return calm(record), None

    monkeypatch.setattr(remeasuring, "timed_again", again)
    shutil.copytree(searched, tmp_path / "mlruns")
    settings = synthetic.config(9, space=SPACE, recipes="none")
    workspace = synthetic.workspace(tmp_path / "mlruns", settings)
    made = SimpleNamespace(quiet=quiet, tried=tried, workspace=workspace, settings=settings)
    made.search = lambda: loop.run_search(settings, workspace, Quiet(), prepare=synthetic.bench)
    made.later = lambda: measure_pending(settings, workspace, Quiet(), prepare=synthetic.bench)
    return made


def disturbed(record: TrialRecord, bad: set[int], bench: Any) -> TrialRecord:
    artifact = {**(record.artifact or {}), "sha256": sha256_of(bench.workspace.trial(record.number) / "model.onnx")}
    latency = {"unreliable": record.number in bad}
    return record.with_(artifact=artifact, measurement={**(record.measurement or {}), "latency": latency})


def calm(record: TrialRecord) -> TrialRecord:
    """Twice as fast as it was found before."""
    metrics = {**record.metrics, "latency_p50_ms": record.metrics["latency_p50_ms"] / 2}
    earlier = ({"measurement": {}, "metrics": dict(record.metrics), "until": synthetic.MOMENT},)
    quiet = {**(record.measurement or {}), "latency": {"unreliable": False}}
    return record.with_(metrics=metrics, measurement=quiet, earlier_timing=earlier)


def told(home: Any) -> dict[int, float]:
    """Trial -> the latency that the study knows."""
    with sqlite3.connect(home.workspace.root / "study.db") as db:
        place = home.settings.objectives.index("latency_p50_ms")
        query = "select number, value from trials join trial_values using (trial_id) where objective = ?"
        return dict(db.execute(query, (place,)))


def latencies(home: Any) -> dict[int, float]:
    return {record.number: record.metrics["latency_p50_ms"] for record in read_records(home.workspace.folder)}


def test_records_study_and_front_take_the_new_figures(home: Any) -> None:
    before = told(home)
    assert not {4, 5, 6} & set(find(home.workspace).front_numbers)
    home.quiet |= {4, 5}
    settled = home.later()
    assert [record.number for record in settled.again] == [4, 5] and settled.unquiet == {6: "9 of 9 rounds were void"}
    assert told(home) == pytest.approx(latencies(home))
    assert told(home)[4] == pytest.approx(before[4] / 2) and told(home)[6] == pytest.approx(before[6])
    report = find(home.workspace)
    able = [record.number for record in report.records if not record.unreliable]
    assert {4, 5} <= set(able) and set(report.front_numbers) <= set(able)
    assert home.search().reason.startswith("9 trials"), "the search goes on as before"
    home.quiet.add(6)
    assert [record.number for record in home.later().again] == [6]
    assert home.later() == pending.Settled((), {})


def test_front_and_command_name_each_other(home: Any, capsys: pytest.CaptureFixture[str]) -> None:
    from pipeline.cli import run

    line = next(line for line in footer(find(home.workspace), home.workspace.root) if "machine was busy" in line)
    assert line.startswith("3 trials") and f"niwaki measure-pending synthetic --root {home.workspace.root}" in line
    home.quiet.add(4)
    said = sentences(home.later(), "synthetic", "")
    assert any(line.startswith("trial 4: measured again, ") and "(before " in line for line in said)
    assert said[-2:] == [
        "0 measured, 0 pending; 1 measured again, 2 unreliable",
        "next: niwaki measure-pending synthetic",
    ]
    assert run(["show", "synthetic", "4", "--root", str(home.workspace.root)]) == 0
    assert "timed before on a disturbed machine" in capsys.readouterr().out


def test_a_machine_that_stays_busy_ends_it_early(home: Any) -> None:
    for record in read_records(home.workspace.folder):
        if record.number != 8:
            bad = {**(record.measurement or {}), "latency": {"unreliable": True}}
            write_record(home.workspace.folder, record.with_(measurement=bad))
            (home.workspace.trial(record.number) / "model.onnx").write_bytes(b"x" * 1000)  # the search dropped some
    unquiet = home.later().unquiet
    assert len(home.tried) == MOST_BUSY and len(unquiet) == 8
    assert unquiet[7].startswith(f"not tried: {MOST_BUSY} trials in a row")
    home.tried.clear()
    home.quiet |= {1, 3}
    home.later()
    assert home.tried == [0, 1, 2, 3, 4, 5, 6], "three in a row, not three in all"


def test_a_lost_file_and_a_refusing_device_are_said(home: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (home.workspace.trial(4) / "model.onnx").unlink()

    def refuse(*_: Any) -> Any:
        raise BadModel("no such operator")

    monkeypatch.setattr(remeasuring, "timed_again", refuse)
    unquiet = home.later().unquiet
    assert "niwaki rerun synthetic 4" in unquiet[4] and unquiet[5] == "no such operator"
    monkeypatch.setattr(remeasuring, "timed_again", lambda *_: small_bench.away("measure")("measure", Path()))
    assert all("does not answer" in home.later().unquiet[number] for number in (5, 6))


def test_a_repetition_takes_its_original_along(home: Any) -> None:
    first = next(record for record in read_records(home.workspace.folder) if record.number == 4)
    write_record(home.workspace.folder, first.with_(number=9, end="duplicate", same_as=4))
    home.quiet.add(4)
    home.later()
    assert latencies(home)[9] == latencies(home)[4] == pytest.approx(first.metrics["latency_p50_ms"] / 2)


@pytest.mark.parametrize("moment", ["write", "rebuild"])
def test_killed_in_between_the_study_is_told_by_the_same_command(home: Any, moment: str) -> None:
    home.quiet |= {4, 5, 6}
    usual = pending.write_record

    def kill(*_: Any) -> None:
        raise Killed

    def write(folder: Path, record: TrialRecord) -> None:
        if moment == "write" and record.number == 5:
            raise Killed
        usual(folder, record)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(pending, "write_record", write)
        patch.setattr(remeasuring.studies, "rebuild", kill)  # the dead do nothing in their `finally`
        home.later()
    assert (home.workspace.folder / REMEASURING).exists() and told(home)[4] != latencies(home)[4]
    with pytest.raises(ConfigError, match="finish it first: niwaki measure-pending synthetic --root"):
        home.search()
    home.later()
    whole(home.workspace)
    assert told(home) == pytest.approx(latencies(home))
    assert not any(record.unreliable for record in read_records(home.workspace.folder))


def test_ctrl_c_leaves_nothing_to_finish(home: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    home.quiet |= {4, 5, 6}
    usual = remeasuring.timed_again

    def stop(record: TrialRecord, *rest: Any) -> Any:
        if record.number == 5:
            raise KeyboardInterrupt
        return usual(record, *rest)

    monkeypatch.setattr(remeasuring, "timed_again", stop)
    with pytest.raises(KeyboardInterrupt):
        home.later()
    whole(home.workspace)
    assert told(home) == pytest.approx(latencies(home))


def test_mlflow_shows_the_new_figure_and_the_old(store_in: Any, tmp_path: Path) -> None:
    from pipeline.tracking import Tracker, client

    store_in(tmp_path / "mlruns")
    settings = synthetic.config(3)
    workspace = synthetic.workspace(tmp_path / "mlruns", settings)
    workspace.make()
    old = synthetic.record(0, IDENTITY, synthetic.bench(settings, workspace), lambda _: None)
    tracker = Tracker(workspace, settings, print)
    with tracker.running():
        tracker.log(old)
    mended = Tracker(workspace, settings, print)  # killed between record and MLflow: the next start finds it out
    with mended.running():
        mended.repair([calm(old)])
    store = client(workspace)
    runs = store.search_runs([store.get_experiment_by_name("synthetic").experiment_id])
    (run,) = [run for run in runs if "niwaki.trial" in run.data.tags]
    assert run.data.metrics["latency_p50_ms"] == pytest.approx(old.metrics["latency_p50_ms"] / 2)
    assert run.data.tags["measured.again"] == f"{synthetic.MOMENT}, 1x"
    assert run.data.tags["latency_p50_ms.before"].endswith(" ms, unreliable")
