"""The search's own energy: an account of processor time that survives kills, and what is made of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import synthetic
from fakes import conditions
from records_helper import make_record

from hardware_targets import Unmeasured, host_conditions, host_energy
from pipeline.cpu_time import cpu_seconds
from pipeline.own_energy import MJ_PER_KWH, OwnEnergy, over_limit, own_energy, sentences
from pipeline.phases import Phases
from pipeline.progress import Quiet
from pipeline.record import read_json, write_json
from pipeline.search import loop
from pipeline.spent import Ledger, kept, read_spent
from pipeline.workspace import Workspace

ROME = {"cpu_vendor": "AuthenticAMD", "cpu_family": 23, "cpu_number": 49}  # 1.69 W per thread
HASWELL = {"cpu_vendor": "GenuineIntel", "cpu_family": 6, "cpu_number": 63}  # 6.01 W


def run(cpu: float | None, started: str = "2026-11-27T10:00:00+00:00", **changes: Any) -> dict[str, Any]:
    row = {"verb": "search", "process": 1, "started": started, "ended": started, "host": conditions(**ROME).to_json()}
    return {**row, "cpu_seconds": cpu, **changes}


def found(runs: list[dict[str, Any]], trials: tuple[float, ...] = (), **more: Any) -> OwnEnergy:
    records = [
        make_record(number).with_(cpu_seconds={"distill": used}, started="2026-11-27T11:00:00+00:00")
        for number, used in enumerate(trials)
    ]
    own = own_energy({"runs": runs, **more}, records)
    assert isinstance(own, OwnEnergy)
    return own


def test_processor_time_counts_children_that_ended() -> None:
    import subprocess
    import sys

    before = cpu_seconds()
    subprocess.run([sys.executable, "-c", "sum(range(3_000_000))"], check=True)
    after = cpu_seconds()
    assert before is not None and after is not None and after - before > 0.02


def test_phases_keep_processor_time_beside_the_clock() -> None:
    moments, used = iter([0.0, 5.0, 5.0, 6.0]), iter([1.0, 3.0, 3.0, 3.5])
    clock = Phases(lambda: next(moments), lambda: next(used))
    for _ in range(2):
        with clock("distill"):
            pass
    assert (clock.seconds(), clock.cpu_seconds()) == ({"distill": 6.0}, {"distill": 2.5})


def test_phases_without_processor_time_say_nothing_of_it() -> None:
    clock = Phases(cpu=lambda: None)
    with clock("distill"):
        pass
    assert clock.cpu_seconds() == {} and "distill" in clock.seconds()


def test_parts_add_up_to_the_whole() -> None:
    rows = [run(100.0, preparation_cpu_seconds=30.0, teacher_cpu_seconds=20.0)]
    own = found(rows, (25.0, 15.0), teacher={"trained": True, "here": True, "cpu_seconds": 20.0})
    assert own.kwh == pytest.approx(1.69 * 100 / 3.6e6)
    parts = (own.teacher_kwh, own.preparation_kwh, own.trials_kwh, own.rest_kwh)
    assert [part / own.kwh for part in parts] == pytest.approx([0.2, 0.1, 0.4, 0.3])
    assert own.trials[1] == pytest.approx(1.69 * 15 / 3.6e6)
    assert (own.kwh_low, own.kwh_high) == (pytest.approx(own.kwh / 1.5), pytest.approx(own.kwh * 1.5))
    assert own.kind == "modelled-generic" and "wall" in own.boundary and own.missing == ()


def test_a_teacher_of_another_command_is_added_and_one_of_this_search_is_not_counted_twice() -> None:
    teacher = {"trained": True, "cpu_seconds": 50.0, "host": conditions(**HASWELL).to_json()}
    other = found([run(100.0)], teacher={**teacher, "here": False})
    assert other.teacher_kwh == pytest.approx(6.01 * 50 / 3.6e6)
    assert other.kwh == pytest.approx((1.69 * 100 + 6.01 * 50) / 3.6e6)
    rows = [run(100.0, preparation_cpu_seconds=60.0, teacher_cpu_seconds=50.0)]
    assert found(rows, teacher={**teacher, "here": True}).kwh == pytest.approx(1.69 * 100 / 3.6e6)


def test_a_trial_is_charged_to_the_machine_that_ran_it() -> None:
    rows = [run(100.0), run(40.0, "2026-11-27T10:30:00+00:00", host=conditions(**HASWELL).to_json())]
    assert found(rows, (10.0,)).trials[0] == pytest.approx(6.01 * 10 / 3.6e6)


def test_what_is_missing_is_said_and_makes_a_lower_bound() -> None:
    own = own_energy(
        {"runs": [run(10.0, ended=None)], "teacher": {"trained": True, "here": False, "cpu_seconds": None}},
        [make_record(0), make_record(1).with_(same_as=0)],
    )
    assert isinstance(own, OwnEnergy)
    said = "\n".join(sentences(own))
    assert "at least" in said and "1 killed run " in said and "1 trial without" in said and "teacher's training" in said
    assert "modelled-generic" in said and "boundary: server share" in said


def test_what_another_search_has_trained_is_not_in_it_and_said_so() -> None:
    lent = [make_record(number).with_(lent_by=f"big#{number}", cpu_seconds={"measure": 1.0}) for number in (3, 4)]
    own = own_energy({"runs": [run(10.0)]}, [*lent, lent[0].with_(number=9, same_as=3)])
    assert isinstance(own, OwnEnergy) and own.missing == ("the training of 2 models lent by search big",)


def test_the_run_that_is_going_on_is_not_taken_for_a_killed_one() -> None:
    assert found([run(10.0, ended=None, process=os.getpid())]).missing == ()


def test_absent_is_never_zero() -> None:
    for spent, why in (({"runs": []}, "kept no account"), ({"runs": [run(None)]}, "does not tell")):
        own = own_energy(spent, [])
        assert isinstance(own, Unmeasured) and why in own.reason
        assert "no figure" in sentences(own)[0]


def test_the_ledger_is_whole_after_a_failure_and_open_after_a_kill(tmp_path: Path) -> None:
    workspace, used = Workspace(tmp_path, "x"), iter(range(100))
    with pytest.raises(RuntimeError), kept(workspace, "search"):
        raise RuntimeError
    killed = Ledger(workspace, "search", lambda: float(next(used)))
    killed.note()
    first, second = read_spent(workspace)["runs"]
    assert first["ended"] is not None and first["cpu_seconds"] >= 0
    assert (second["ended"], second["cpu_seconds"]) == (None, 2.0)


def test_a_later_run_does_not_charge_the_teacher_again(tmp_path: Path) -> None:
    workspace, teacher = Workspace(tmp_path, "x"), {"trained": True, "cpu_seconds": 3.0, "host": {}}
    for here in (True, False):
        with kept(workspace, "search") as ledger:
            ledger.prepared({**teacher, "here": here})
    spent = read_spent(workspace)
    assert spent["teacher"]["here"] and [row["teacher_cpu_seconds"] for row in spent["runs"]] == [3.0, 0.0]


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store_in: Any) -> Any:
    def trial(number: int, candidate: Any, bench: Any, step: Any, **_: Any) -> Any:
        return synthetic.record(number, candidate, bench, step).with_(cpu_seconds={"distill": 1.5})

    monkeypatch.setattr(loop, "run_trial", trial)
    monkeypatch.setattr(loop, "write_front", lambda *_: [])
    store_in(tmp_path / "mlruns")

    def search(trials: int, **changes: Any) -> Any:
        settings = synthetic.config(trials, recipes="none", **changes)
        place = synthetic.workspace(tmp_path / "mlruns", settings)
        return loop.run_search(settings, place, Quiet(), prepare=synthetic.bench)

    return search


def test_a_search_stops_at_its_limit_and_goes_on_with_a_higher_one(go: Any) -> None:
    one_trial = host_energy(1.5, host_conditions()).mj / MJ_PER_KWH
    first = go(30, limits={"trials": 30, "max_kwh": 1.5 * one_trial})
    done = len(first.report.records)
    assert 1 <= done <= 2 and "limits.max_kwh" in first.reason and "modelled-generic" in first.reason
    again = go(30, limits={"trials": 30, "max_kwh": 1.5 * one_trial})
    assert len(again.report.records) == done
    more = go(30, limits={"trials": 30, "max_kwh": 3.5 * one_trial})
    assert done < len(more.report.records) <= 4


def test_a_system_without_processor_time_refuses_the_limit(go: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline import preflight
    from pipeline.errors import Unavailable

    monkeypatch.setattr(preflight, "cpu_seconds", lambda: None)
    with pytest.raises(Unavailable, match=r"limits\.max_kwh.*limits\.hours"):
        go(3, limits={"trials": 3, "max_kwh": 1})


def test_the_report_and_mlflow_have_the_total_with_its_kind(go: Any) -> None:
    from pipeline.tracking import client

    result = go(6)
    footprint = result.report.footprint
    assert footprint["search"]["kwh"] > 0 and footprint["search"]["kind"] == "modelled-generic"
    assert set(footprint["trials"]) >= {"0", "1"} and footprint["trials"]["0"]["kwh"] > 0
    store = client(result.workspace)
    experiment = store.get_experiment_by_name("synthetic")
    (parent,) = store.search_runs([experiment.experiment_id], "tags.`niwaki.search` = 'synthetic'")
    assert parent.data.metrics["search.kwh"] == pytest.approx(footprint["search"]["kwh"], rel=0.5)
    assert parent.data.tags["search.energy.kind"] == "modelled-generic"
    assert "boundary" in str(sorted(parent.data.tags))


def test_over_limit_is_silent_without_a_figure(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, "x")
    assert over_limit(workspace, [], 1e-9) is None
    write_json(workspace.folder / "spent.json", {"runs": [run(3600.0)]})
    assert over_limit(workspace, [], 1e-9) is not None
    assert read_json(workspace.folder / "spent.json")["runs"][0]["cpu_seconds"] == 3600.0
