"""`niwaki calibrate`: from a table, or from a metered search, to a file that a target models its energy by."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import random
from pathlib import Path

import fakes
import pytest

import hardware_targets
from hardware_targets import MeteredRow
from hardware_targets._energy_model import is_extrapolated
from hardware_targets._null_model import write_null_model
from pipeline.calibrating import metered
from pipeline.cli import run
from pipeline.errors import ConfigError
from pipeline.modelled import energy_model, no_model, of_device, told
from pipeline.record import TrialRecord, write_json, write_record
from pipeline.workspace import Workspace
from search_spaces.candidate import Candidate

WATTS = {"none": 20.0, "static_int8": 12.0}


def rows(count: int = 10) -> list[MeteredRow]:
    """Watts by precision, whatever the family: a truth that a fit must find."""
    drawn, found = random.Random(1), []
    for family in ("convnet", "transformer", "identity"):
        for _ in range(count):
            for precision, watts in WATTS.items():
                latency, macs = math.exp(drawn.uniform(-1, 3)), math.exp(drawn.uniform(2, 6))
                mj = watts * latency * math.exp(drawn.gauss(0, 0.02))
                found.append(MeteredRow("onnxruntime", 1, precision, family, latency, mj, macs))
    return found


def table(path: Path) -> Path:
    lines = [dataclasses.asdict(row) for row in rows()]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    return path


@pytest.fixture
def board(tmp_path: Path) -> Path:
    calibrated_from(table(tmp_path / "rows.csv"), tmp_path / "board.yaml")
    return tmp_path / "board.yaml"


def calibrated_from(source: Path, out: Path) -> None:
    command = ["calibrate", str(source), "--out", str(out), "--boundary", "wall"]
    assert run([*command, "--date", "2026-01-02", "--source", "a wall meter"]) == 0


def test_the_round_trip_from_a_table_to_a_target(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    board = tmp_path / "board.yaml"
    calibrated_from(table(tmp_path / "rows.csv"), board)
    said = capsys.readouterr().out
    assert "unseen families: median error" in said and f"written to {board}" in said
    target = hardware_targets.load("local_cpu", meter="calibrated", meter_options={"device": str(board)})
    assert target.energy_kind() == "modelled-calibrated"
    found = target.energy_of(fakes.latency(5.0), fakes.conditions(), precision="static_int8", macs_m=100.0)
    assert (found.kind, found.boundary) == ("modelled-calibrated", "wall")
    assert found.mj == pytest.approx(60.0, rel=0.05)
    assert found.mj_low < 60.0 < found.mj_high < 1.3 * found.mj
    assert "a wall meter" in found.source and "2026-01-02" in found.source
    assert not is_extrapolated(found)


def test_a_measurement_on_it_bears_kind_and_flag(
    board: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    capsys.readouterr()
    monkeypatch.setattr("hardware_targets._sitting.PROCESSES", 2)  # eight of them are another test's
    settings = ["--set", "meter=calibrated", "--set", f"meter_options={{device: {board}, precision: none}}"]
    assert run(["measure", str(write_null_model(tmp_path)[0]), *settings, "--seconds", "1", "--json"]) == 0
    energy = json.loads(capsys.readouterr().out)["energy"]
    assert (energy["kind"], energy["boundary"]) == ("modelled-calibrated", "wall")
    assert energy["source"].startswith("extrapolated: "), "nothing so small was metered"


@pytest.mark.parametrize(
    ("conditions", "precision", "latency_ms"),
    [
        ({"runtime": "openvino"}, "none", 5.0),
        ({"threads": 4}, "none", 5.0),
        ({}, "fp16", 5.0),
        ({}, "none", 5000.0),
    ],
)
def test_outside_the_domain_it_is_extrapolated(
    board: Path, conditions: dict, precision: str, latency_ms: float
) -> None:
    target = hardware_targets.load("local_cpu", meter="calibrated", meter_options={"device": str(board)})
    found = target.energy_of(fakes.latency(latency_ms), fakes.conditions(**conditions), precision=precision, macs_m=90)
    assert is_extrapolated(found)
    assert found.mj_high >= 2.5 * found.mj


def test_a_measurement_is_told_what_the_file_holds(board: Path, tmp_path: Path) -> None:
    target = hardware_targets.load("local_cpu", meter="calibrated", meter_options={"device": str(board)})
    model = energy_model(Workspace(tmp_path, "none"), target)
    blind = fakes.ScriptedTarget(latency_ms=5.0).measure(board, board, board, board, seed=0)
    told_of = told(blind, model, "none", 100_000_000)
    assert not is_extrapolated(told_of.energy) and told_of.energy.mj == pytest.approx(100.0, rel=0.05)
    assert told(blind, no_model, "none", 1) is blind


def test_a_pinned_model_comes_before_the_targets(board: Path, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "mlruns", "s")
    workspace.make()
    (workspace.folder / "energy_model.yaml").write_bytes(board.read_bytes())
    found = energy_model(workspace, hardware_targets.load("local_cpu"))(fakes.latency(5.0), fakes.conditions())
    assert found.kind == "modelled-calibrated"
    with pytest.raises(ConfigError, match="no device description"):
        of_device(tmp_path / "absent.yaml")


def search(root: Path, kind: str, boundaries: tuple[str, ...] = ("package",)) -> Workspace:
    workspace = Workspace(root, "twin")
    workspace.make()
    settings = {"name": "twin", "task": {"data": {"source": "sklearn", "name": "digits"}}, "teacher": {"path": "t"}}
    write_json(workspace.state_file, {"config": settings})
    for number, row in enumerate(rows()):
        energy = fakes.ScriptedTarget().measure(root, root, root, root, seed=0).energy
        energy = dataclasses.replace(
            energy, mj=row.energy_mj, mj_low=row.energy_mj, mj_high=row.energy_mj, kind=kind, source="rapl",
            boundary=boundaries[number % len(boundaries)],
        )  # fmt: skip
        measurement = fakes.ScriptedTarget(latency_ms=row.latency_ms).measure(root, root, root, root, seed=0)
        candidate = Candidate.of({"student": row.family, "quantize.scheme": row.precision, "n": number}, 0)
        record = TrialRecord(
            number, candidate, "complete", measurement=dataclasses.replace(measurement, energy=energy).to_json(),
            artifact={"macs": int((row.macs_m or 0) * 1e6)},
        )  # fmt: skip
        write_record(workspace.folder, record)
    return workspace


def test_a_metered_search_is_a_twin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    search(tmp_path, "measured")
    out = tmp_path / "twin.yaml"
    assert run(["calibrate", "twin", "--root", str(tmp_path), "--out", str(out), "--json"]) == 0
    told_of = json.loads(capsys.readouterr().out)
    assert told_of["boundary"] == "package" and told_of["source"] == "search twin, rapl"
    assert told_of["models"][0]["families"] == ["convnet", "identity", "transformer"]
    found = of_device(out)(fakes.latency(5.0), fakes.conditions(), precision="none", macs_m=50.0)
    assert found.mj == pytest.approx(100.0, rel=0.05)


def test_a_search_that_was_modelled_teaches_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    search(tmp_path, "modelled-generic")
    assert run(["calibrate", "twin", "--root", str(tmp_path), "--out", str(tmp_path / "b.yaml")]) == 2
    assert "modelled figures would know nothing" in capsys.readouterr().err
    assert not (tmp_path / "b.yaml").exists()


def test_two_boundaries_make_no_fit(tmp_path: Path) -> None:
    from pipeline.record import read_records

    workspace = search(tmp_path, "measured", ("package", "wall"))
    with pytest.raises(ConfigError, match="package and wall"):
        metered(read_records(workspace.folder))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing", "--out", "b.yaml"], "no search"),
        (["rows.csv", "--out", "b.yaml"], "there is no table"),
        (["there.csv", "--out", "b.txt", "--boundary", "wall"], "is no YAML file"),
        (["there.csv", "--out", "b.yaml"], "--boundary"),
        (["there.csv", "--out", "b.yaml", "--boundary", "wall", "--latency-statistic", "mean"], "give median or p90"),
    ],
)
def test_bad_input_is_a_sentence(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    table(tmp_path / "there.csv")
    assert run(["calibrate", *arguments]) == 2
    assert said in capsys.readouterr().err
