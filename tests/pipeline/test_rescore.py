"""Old trials under a better energy model: all of them or none, the old figure beside the new, nothing else touched."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import random
import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fakes
import pytest
import synthetic
from untracked import Untracked

from hardware_targets import MeteredRow, calibrate_rows
from pipeline import rescore as room
from pipeline.cli import run as command_line
from pipeline.errors import ConfigError
from pipeline.findings import find
from pipeline.modelled import PINNED, energy_model, of_device
from pipeline.preflight import RESCORING, preflight
from pipeline.progress import Quiet
from pipeline.record import TrialRecord, read_json, read_records, write_json, write_record
from pipeline.rescore import anew, rescore, sentences
from pipeline.search import loop
from search_spaces.candidate import Candidate

SPACE = {"students": ["convnet", "identity"], "convnet": {"depth": 1}}
WATTS = {"none": 20.0, "fp16": 18.0, "dynamic_int8": 14.0, "static_int8": 12.0, "weight_int8": 16.0}


BUDGET_MJ = 7.5


class Killed(BaseException):
    """Stands for a kill -9."""


def board(path: Path, times: float = 1.0) -> Path:
    drawn, rows = random.Random(1), []
    for family in ("a", "b", "c"):
        for precision, watts in WATTS.items():
            for _ in range(6):
                latency, macs = math.exp(drawn.uniform(-6, 3)), math.exp(drawn.uniform(0, 6))
                mj = times * watts * latency * math.exp(drawn.gauss(0, 0.01))
                rows.append(MeteredRow("onnxruntime", 1, precision, family, latency, mj, macs))
    calibrate_rows(rows, path, source="a test", boundary="wall", date="2026-01-01")
    return path


def with_columns(record: TrialRecord, kind: str = "modelled-generic") -> TrialRecord:
    """The synthetic record with what a target stores: latency, conditions, energy."""
    ms, mj = record.metrics["latency_p50_ms"], record.metrics["energy_mj"]
    energy = fakes.ScriptedTarget().measure(*[Path()] * 4, seed=0).energy
    energy = dataclasses.replace(energy, mj=mj, mj_low=mj / 1.5, mj_high=mj * 1.5, kind=kind)
    found = fakes.ScriptedTarget(latency_ms=ms).measure(*[Path()] * 4, seed=0)
    measurement = dataclasses.replace(found, energy=energy).to_json()
    over = {"energy_mj": mj / BUDGET_MJ - 1}
    return record.with_(measurement=measurement, metrics={**record.metrics, "macs_m": 10.0}, violations=over)


def synthetic_candidate() -> Candidate:
    return Candidate.of({"student": "convnet", "convnet.width": 16, "quantize.scheme": "none"}, 0)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Any:
    if "tracked" not in request.fixturenames:
        monkeypatch.setattr(loop, "Tracker", Untracked)
        monkeypatch.setattr(room, "Tracker", Untracked)
    monkeypatch.setattr(loop, "write_front", lambda *_: [])
    monkeypatch.setattr(room, "write_front", lambda *_: [])
    monkeypatch.setattr(loop, "run_trial", lambda *rest, **_: with_columns(synthetic.record(*rest)))
    changes = {"space": SPACE, "recipes": "none", "budget": {"energy_mj": BUDGET_MJ}}
    workspace = synthetic.workspace(tmp_path / "mlruns", synthetic.config(8, **changes))

    def search(trials: int = 8) -> loop.SearchResult:
        return loop.run_search(synthetic.config(trials, **changes), workspace, Quiet(), prepare=synthetic.bench)

    def again(device: Path | None = None) -> room.Rescored:
        space = lambda config, place: synthetic.bench(config, place).space.trained()  # noqa: E731
        figures = read_json(workspace.folder / "teacher" / "figures.json")
        keep = lambda config, place: (space(config, place), write_json(teacher(workspace), figures))[0]  # noqa: E731
        config = synthetic.config(8, **changes)
        return rescore(config, workspace, device, lambda _: None, space=keep, command="niwaki rescore synthetic")

    search()
    whole = with_columns(synthetic_teacher())
    write_json(
        teacher(workspace),
        {
            "metrics": whole.metrics, "intervals": {}, "measurement": whole.measurement,
            "artifact": {"macs": 50_000_000},
        },
    )  # fmt: skip
    return SimpleNamespace(
        workspace=workspace, search=search, again=again, board=board(tmp_path / "board.yaml"), tmp=tmp_path,
        config=synthetic.config(8, **changes),
    )  # fmt: skip


def synthetic_teacher() -> TrialRecord:
    from search_spaces.candidate import Candidate

    metrics = {"accuracy": 0.95, "latency_p50_ms": 2.0, "energy_mj": 8.0, "speedup": 1.0}
    return TrialRecord(0, Candidate.of({"student": "identity"}, 0), "complete", metrics=metrics)


def teacher(workspace: Any) -> Path:
    return workspace.folder / "teacher" / "figures.json"


def records(home: Any) -> dict[int, TrialRecord]:
    return {record.number: record for record in read_records(home.workspace.folder)}


def told(home: Any) -> dict[int, float]:
    """Trial -> the energy that the study knows."""
    query = """select trials.number, trial_values.value from trial_values join trials using (trial_id)
               where trial_values.objective = 2"""
    with sqlite3.connect(home.workspace.root / "study.db") as db:
        return dict(db.execute(query))


def test_every_trial_and_the_teacher_are_rescored_and_the_old_figure_stays(home: Any) -> None:
    before = records(home)
    found = home.again(home.board)
    after = records(home)
    assert found.kind == "modelled-calibrated" and found.boundary == "wall" and len(found.changed) == len(before)
    for number, record in after.items():
        old = before[number]
        watts = WATTS[record.precision]
        assert record.metrics["energy_mj"] == pytest.approx(watts * old.metrics["latency_p50_ms"], rel=0.05)
        assert record.energy_kind == "modelled-calibrated"
        low, high = record.intervals["energy_mj"]
        assert low < record.metrics["energy_mj"] < high
        earlier = record.earlier_energy[-1]
        assert earlier["energy_mj"] == old.metrics["energy_mj"] and earlier["energy"] == old.measurement["energy"]
        assert earlier["until"].startswith("20")
        others = {name: value for name, value in record.metrics.items() if name != "energy_mj"}
        assert others == {name: value for name, value in old.metrics.items() if name != "energy_mj"}
        assert record.measurement["latency"] == old.measurement["latency"]
    report = find(home.workspace, home.config)
    assert (report.energy_kind, report.energy_boundary) == ("modelled-calibrated", "wall")
    assert {record.energy_kind for record in report.front} == {"modelled-calibrated"}
    assert report.teacher["energy_mj"] == pytest.approx(40.0, rel=0.05)


def test_budgets_are_judged_anew_and_the_study_knows(home: Any) -> None:
    before = told(home)
    home.again(home.board)
    after = records(home)
    assert any(record.violations["energy_mj"] > 0 for record in after.values())
    for record in after.values():
        assert record.violations["energy_mj"] == pytest.approx(record.metrics["energy_mj"] / BUDGET_MJ - 1)
    now = told(home)
    assert now == {number: record.metrics["energy_mj"] for number, record in after.items()} and now != before


def test_the_figure_before_training_goes_with_the_old_model(tmp_path: Path) -> None:
    """Students are compared at a rung by it, or, where it is gone, by the new one."""
    config, twin = synthetic.config(1), {"energy_mj": 3.0, "size_mb": 2.0}
    bench = synthetic.bench(config, synthetic.workspace(tmp_path, config))
    candidate = synthetic_candidate()
    record = with_columns(synthetic.record(0, candidate, bench, lambda _: None)).with_(screened=twin)
    model = of_device(board(tmp_path / "board.yaml"))
    assert anew(record, model, config, "now").screened == {"size_mb": 2.0}
    assert record.screened == twin


def test_the_same_model_again_changes_nothing_and_a_better_one_adds_to_the_history(home: Any) -> None:
    home.again(home.board)
    once = records(home)
    assert not home.again().changed, "without --device it is the model that was pinned"
    assert records(home) == once
    assert "nothing changed" in sentences(home.again(home.board), "synthetic", "")[0]
    home.again(board(home.tmp / "better.yaml", times=1.1))
    for record in records(home).values():
        assert [item["energy"]["kind"] for item in record.earlier_energy] == ["modelled-generic", "modelled-calibrated"]


def test_later_trials_use_the_pinned_model(home: Any) -> None:
    home.again(home.board)
    home.board.unlink()
    energy = energy_model(home.workspace, fakes.ScriptedTarget())(fakes.latency(2.0), fakes.conditions())
    assert energy.kind == "modelled-calibrated"


def test_sealed_figures_stay_sealed(home: Any) -> None:
    sealed = {"date": "2026-01-01", "rows": 4, "teacher": {"metrics": {"accuracy": 0.9}}, "trials": {}, "seal": "x"}
    write_json(home.workspace.test_file, sealed)
    before = home.workspace.test_file.read_bytes()
    home.again(home.board)
    assert home.workspace.test_file.read_bytes() == before


def test_measured_figures_are_never_replaced(home: Any) -> None:
    write_record(home.workspace.folder, with_columns(records(home)[3], kind="measured"))
    before = records(home)
    with pytest.raises(ConfigError, match="is measured, and a model would put a guess"):
        home.again(home.board)
    assert records(home) == before and not (home.workspace.folder / PINNED).exists()


def test_without_a_model_nothing_is_written(home: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room.workbench, "prepare_target", lambda _: fakes.ScriptedTarget())
    before = records(home)
    with pytest.raises(ConfigError, match="give --device"):
        home.again()
    assert records(home) == before and not (home.workspace.folder / RESCORING).exists()


def test_the_targets_own_model_as_it_is_now(home: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    device = SimpleNamespace(energy_of=of_device(home.board))
    monkeypatch.setattr(room.workbench, "prepare_target", lambda _: device)
    assert home.again().changed
    assert not (home.workspace.folder / PINNED).exists(), "the target reads it by itself"


def test_a_refusal_without_columns_loses_the_figure_that_nothing_compares_with(home: Any) -> None:
    refused = records(home)[4].with_(end="refused", reason="slow", measurement=None, violations={"energy_mj": 0.1})
    new = anew(refused, of_device(home.board), home.config, "2026-01-02")
    assert "energy_mj" not in new.metrics and new.earlier_energy[0]["energy_mj"] == refused.metrics["energy_mj"]
    screened = refused.with_(measurement=records(home)[4].measurement)
    again = anew(screened, of_device(home.board), home.config, "2026-01-02")
    assert again.metrics["energy_mj"] != refused.metrics["energy_mj"] and again.end == "refused"


def test_cut_off_it_is_finished_before_anything_else(home: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    usual, written = room.write_record, []

    def kill(folder: Path, record: TrialRecord) -> None:
        if len(written) == 3:
            raise Killed
        written.append(record.number)
        usual(folder, record)

    monkeypatch.setattr(room, "write_record", kill)
    with pytest.raises(Killed):
        home.again(home.board)
    monkeypatch.setattr(room, "write_record", usual)
    assert {record.energy_kind for record in records(home).values()} == {"modelled-generic", "modelled-calibrated"}
    with pytest.raises(ConfigError, match="finish it first: niwaki rescore synthetic"):
        preflight(home.config, home.workspace)
    found = home.again()
    assert len(found.changed) == len(records(home)) - 3
    assert {record.energy_kind for record in records(home).values()} == {"modelled-calibrated"}
    assert {len(record.earlier_energy) for record in records(home).values()} == {1}
    assert told(home) == {number: record.metrics["energy_mj"] for number, record in records(home).items()}
    preflight(home.config, home.workspace)


@pytest.fixture
def tracked(tmp_path: Path, store_in: Any) -> None:
    store_in(tmp_path / "mlruns")


@pytest.mark.usefixtures("tracked")
def test_mlflow_shows_the_new_figures_and_says_what_was_before(home: Any) -> None:
    from pipeline.tracking import client

    before = records(home)
    home.again(home.board)
    store = client(home.workspace)
    experiment = store.get_experiment_by_name("synthetic").experiment_id
    runs = [run for run in store.search_runs([experiment]) if "niwaki.trial" in run.data.tags]
    assert len(runs) == len(before)
    for run in runs:
        number = int(run.data.tags["niwaki.trial"])
        assert run.data.metrics["energy_mj"] == records(home)[number].metrics["energy_mj"]
        assert run.data.tags["energy.kind"] == "modelled-calibrated"
        assert run.data.tags["energy.before"].startswith(f"{before[number].metrics['energy_mj']:.4g} mJ, modelled-gen")


def test_the_command(home: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(room, "rescore", lambda config, place, device, say, command: home.again(device))  # noqa: ARG005
    root = ["--root", str(home.workspace.root)]
    assert command_line(["rescore", "synthetic", "--device", str(home.board), "--json", *root]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "modelled-calibrated"
    assert command_line(["rescore", "synthetic", *root]) == 0
    assert "nothing changed" in capsys.readouterr().out
    assert command_line(["rescore", "synthetic", "--device", "none.yaml", *root]) == 2
    assert "there is no device description" in capsys.readouterr().err
    with (home.tmp / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerow(["x"])
    assert command_line(["rescore", "synthetic", "--device", str(home.tmp / "rows.csv"), *root]) == 2
