"""The window over a study's history: what it shows, that it changes nothing while all fits, what stays on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import synthetic

from pipeline.progress import Quiet
from pipeline.record import read_records
from pipeline.search import loop
from pipeline.search import study as studies
from pipeline.search.window import BEST, SLACK, Window, chosen

DIRECTIONS = ["maximize", "minimize"]


def study_on(storage: Any, seed: int = 0) -> optuna.Study:
    study = optuna.create_study(study_name="one", storage=storage, directions=DIRECTIONS, load_if_exists=True)
    study.sampler = studies.make_sampler(synthetic.config(1, sampler={"name": "tpe", "startup_trials": 5}), seed)
    return study


def step(study: optuna.Study) -> dict[str, Any]:
    """Ask and tell a trial of a conditional space; some are refused, some fail."""
    trial = study.ask()
    family = trial.suggest_categorical("family", ["a", "b"])
    width = trial.suggest_float(f"{family}.width", 1, 9, log=True)
    cut = trial.suggest_float("cut", 0, 1)
    trial.set_constraint("limit", width - 6)
    if trial.number % 7 == 3:
        study.tell(trial, state=optuna.trial.TrialState.PRUNED if width > 6 else optuna.trial.TrialState.FAIL)
    else:
        study.tell(trial, [-((width - 4) ** 2) - cut, width * (1 - cut)])
    return trial.params


def test_a_history_that_fits_gives_the_suggestions_of_plain_tpe() -> None:
    plain, behind = optuna.storages.InMemoryStorage(), optuna.storages.InMemoryStorage()
    there, here = study_on(plain), study_on(Window(behind, "one", most=40))
    assert [step(here) for _ in range(40)] == [step(there) for _ in range(40)]


def test_a_longer_history_does_not() -> None:
    there, here = (
        study_on(optuna.storages.InMemoryStorage()),
        study_on(Window(optuna.storages.InMemoryStorage(), "one", most=10)),
    )
    assert [step(here) for _ in range(40)] != [step(there) for _ in range(40)]


def test_the_view_stays_small_and_the_disk_keeps_all() -> None:
    disk = optuna.storages.InMemoryStorage()
    study = study_on(Window(disk, "one", most=8))
    waits = study.ask()  # a pending trial: stays open however long the search goes on
    study.enqueue_trial({"cut": 0.5})
    study.enqueue_trial({"cut": 0.25})
    for _ in range(30):
        step(study)
    view = studies.trials(study)
    assert len(view) <= SLACK * 8 + 1 and studies.count(study) == 31
    assert view[0].number == waits.number and [each.number for each in view] == sorted(each.number for each in view)
    assert len(optuna.load_study(study_name="one", storage=disk).trials) == 31
    assert not studies.waiting(study)


def test_the_best_stay_whatever_their_age_and_the_rest_are_the_latest() -> None:
    costs = np.full((100, 2), 5.0) + np.arange(100)[:, None] / 100
    costs[3], costs[4], costs[5] = (1.0, 9.0), (9.0, 1.0), (0.0, np.inf)  # the last one breaks a constraint
    kept = chosen(costs, 20)
    assert len(kept) == 20 and kept == sorted(kept)
    assert {3, 4} <= set(kept) and 5 not in kept
    assert set(range(100 - (20 - int(BEST * 20)), 100)) <= set(kept)
    assert chosen(costs[:20], 20) == list(range(20))
    assert chosen(np.full((30, 2), np.inf), 20) == list(range(10, 30))


def test_a_study_is_counted_without_its_records() -> None:
    """Trials that left no record are in the study only, also at its end; records that the study lost are not shown."""
    for trials in (0, 1, 2, 3, 4, 5, 8, 13):
        disk = optuna.storages.InMemoryStorage()
        study = study_on(disk)
        for _ in range(trials):
            step(study)
        history = [trial for trial in study.get_trials() if trial.number != trials - 1]
        more = optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL)
        more.number = trials + 2
        again = study_on(Window(disk, "one", [*history, more]))
        assert studies.count(again) == trials == len(studies.trials(again))


@pytest.fixture
def searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store_in) -> Any:
    monkeypatch.setattr(loop, "run_trial", varied)
    monkeypatch.setattr(loop, "write_front", lambda *_: [])
    root = tmp_path / "mlruns"
    store_in(root)
    settings = synthetic.config(16, space="default", budget={"latency_p50_ms": 1.0})
    workspace = synthetic.workspace(root, settings)
    loop.run_search(settings, workspace, Quiet(), prepare=synthetic.bench)
    return settings, workspace, synthetic.bench(settings, workspace).space.trained()


def varied(number: int, candidate: Any, bench: Any, step: Any, **_: Any) -> Any:
    record = synthetic.record(number, candidate, bench, step)
    if number in (6, 11):
        return record.with_(end="refused", reason="too slow", violations={"latency_p50_ms": 0.7})
    return record.with_(end="failed", metrics={}) if number == 8 else record


def test_a_resumed_search_shows_its_sampler_what_study_db_holds(searched: Any) -> None:
    settings, workspace, space = searched
    seen = studies.seen(read_records(workspace.folder), settings, space)
    view = studies.trials(studies.open_study(settings, workspace.study_url, seen))
    whole = optuna.load_study(study_name=settings.name, storage=workspace.study_url).get_trials()
    assert len(view) == len(whole) >= 16
    for ours, theirs in zip(view, whole, strict=True):
        assert (ours.number, ours.state, ours.values) == (theirs.number, theirs.state, theirs.values)
        assert (ours.params, ours.distributions) == (theirs.params, theirs.distributions)
        assert (ours.constraints, ours.user_attrs) == (theirs.constraints, theirs.user_attrs)


def test_a_sampler_without_a_window_reads_study_db(searched: Any) -> None:
    _, workspace, space = searched
    genetic = synthetic.config(16, space="default", sampler="nsga2")
    assert studies.seen(read_records(workspace.folder), genetic, space) == []
    assert studies.count(studies.open_study(genetic, workspace.study_url)) >= 16
