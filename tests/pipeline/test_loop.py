"""The loop around synthetic trials: order, limits, repetition, interruption, a full disk, an MLflow that fails."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path
from typing import Any

import optuna
import pytest
import synthetic
import yaml
from watching import Heard, Killed

import search_spaces
from pipeline.cli import run as command_line
from pipeline.errors import ConfigError, Failed, Refused, Unavailable
from pipeline.harvest import lends, training
from pipeline.phases import Phases
from pipeline.record import UNPRUNED, TrialRecord, read_records, write_record
from pipeline.search import loop
from pipeline.search import study as studies
from pipeline.search.deaths import MOST_DEATHS
from pipeline.student_files import SHAPE, WEIGHTS
from search_spaces.candidate import Candidate

SPACE = {"students": ["convnet", "identity"], "convnet": {"depth": 1}}


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store_in):
    monkeypatch.setattr(loop, "run_trial", synthetic.record)
    monkeypatch.setattr(loop, "write_front", lambda *_: [])  # the pictures have tests of their own
    monkeypatch.setattr(loop, "learned", lambda *_: False)  # nothing can be measured here
    store_in(tmp_path / "mlruns")

    def run(count: int, /, heard: Heard | None = None, **changes: Any) -> loop.SearchResult:
        settings = synthetic.config(count, **{"space": SPACE, "recipes": "none", **changes})
        workspace = synthetic.workspace(tmp_path / "mlruns", settings)
        return loop.run_search(settings, workspace, heard or Heard(), prepare=synthetic.bench)

    return run


def states(tmp_path: Path) -> dict[int, str]:
    with sqlite3.connect(tmp_path / "mlruns" / "study.db") as db:
        return dict(db.execute("select number, state from trials"))


def test_identity_comes_first_and_the_limit_holds(go) -> None:
    result = go(9)
    records = result.report.records
    assert [record.candidate.student for record in records[:5]] == ["identity"] * 5
    assert len({record.precision for record in records[:5]}) == 5
    assert sum(record.counts for record in records) == 9
    assert "limits.trials" in result.reason


def test_recipes_come_after_the_identities(go) -> None:
    records = go(7, recipes=["hinton", "small_separable"], space="default").report.records
    assert [record.candidate.flat().get("convnet.block") for record in records[5:7]] == ["plain", "separable"]
    assert records[6].precision == "static_int8"


@pytest.mark.parametrize(
    ("sampler", "asked", "count"),
    [("device_aware", "all", 2), ("tpe", "all", 3), ("device_aware", ["hinton", "hotter", "small_separable"], 3)],
)
def test_a_second_recipe_of_a_shape_is_left_to_a_sampler_that_knows(
    go, monkeypatch, sampler: str, asked: Any, count: int
) -> None:
    """Unless it is asked for by its name. A resumed search says nothing of it, and queues no other ones."""
    known = search_spaces.recipes("image")
    hinton, other = known["hinton"], known["small_separable"]
    some = {"hinton": hinton, "hotter": {**hinton, "distill.temperature": 6.0}, "small_separable": other}
    monkeypatch.setattr(search_spaces, "recipes", lambda *_: some)
    heard = Heard()
    changes: dict[str, Any] = {"recipes": asked, "space": "default", "sampler": sampler}
    records = go(5 + count, heard, **changes).report.records
    temperatures = [record.candidate.flat()["distill.temperature"] for record in records[5:]]
    assert temperatures == ([4.0, 4.0] if count == 2 else [4.0, 6.0, 4.0])
    left = [line for line in heard.said if "is left to the sampler" in line]
    assert left == (["recipe hotter is left to the sampler: it has the shape of hinton"] if count == 2 else [])
    again = Heard()
    assert len(go(5 + count, again, **changes).report.records) == 5 + count
    assert not [line for line in again.said if "recipe" in line]


@pytest.mark.parametrize(
    ("sampler", "asked", "slower", "left"),
    [
        ("device_aware", "all", 2.0, "hinton is left to the sampler: on this device it is no better than the teacher"),
        ("device_aware", "all", 1.9, None),
        ("device_aware", "all", None, None),
        ("tpe", "all", 2.0, None),
        ("device_aware", ["hinton", "small_separable"], 2.0, None),
    ],
)
def test_a_recipe_that_gains_nothing_is_left_to_a_sampler_that_knows(
    go, monkeypatch, sampler: str, asked: Any, slower: float | None, left: str | None
) -> None:
    """By its untrained twin; one of which no figure is known is tried."""
    known = search_spaces.recipes("image")
    monkeypatch.setattr(search_spaces, "recipes", lambda *_: {k: known[k] for k in ("hinton", "small_separable")})
    plain, seen = known["hinton"]["convnet.block"], set[str]()

    def learned(candidate: Candidate, *_: Any) -> bool:
        seen.add(candidate.key)
        return slower is not None

    def figures(wanted: list[Candidate], **_: Any) -> list[dict[str, float] | None]:
        found = [slower if one.flat()["convnet.block"] == plain else 0.5 for one in wanted]
        return [{"latency_p50_ms": ms} if one.key in seen and ms and slower else None
                for one, ms in zip(wanted, found, strict=True)]  # fmt: skip

    monkeypatch.setattr(loop, "learned", learned)
    monkeypatch.setattr(loop, "known_figures", figures)
    monkeypatch.setattr(loop, "run_trial", lambda *given, **more: untimed(synthetic.record(*given, **more)))
    heard = Heard()
    records = go(7, heard, recipes=asked, space="default", sampler=sampler).report.records
    assert [line for line in heard.said if "left to" in line] == ([] if left is None else [f"recipe {left}"])
    recipe = Candidate.of(known["small_separable"], 0).flat()["convnet.block"]
    assert records[5].candidate.flat()["convnet.block"] == (plain if left is None else recipe)
    # trainings are known to be short once the first has had one: looking at the next would take as long
    assert len(seen) == (0 if sampler == "tpe" or asked != "all" else 2 if left else 1)


def untimed(record: TrialRecord) -> TrialRecord:
    """The teacher's own files are not trained."""
    return record.with_(seconds={"measure": 3.0}) if record.candidate.student == "identity" else record


def test_a_recipe_whose_look_kills_the_process_is_tried_unseen(go, monkeypatch) -> None:
    """A look is no trial, so nothing else would count its deaths; Ctrl-C is none."""
    looked, ends = list[str](), iter([Killed, KeyboardInterrupt] * MOST_DEATHS)

    def kills(candidate: Candidate, *_: Any) -> bool:
        looked.append(candidate.key)
        raise next(ends)

    monkeypatch.setattr(loop, "learned", kills)
    monkeypatch.setattr(loop, "known_figures", lambda wanted, **_: [None] * len(wanted))
    monkeypatch.setattr(loop, "run_trial", lambda *given, **more: untimed(synthetic.record(*given, **more)))
    hinton = search_spaces.recipes("image")["hinton"]
    monkeypatch.setattr(search_spaces, "recipes", lambda *_: {"hinton": hinton})
    changes: dict[str, Any] = {"recipes": "all", "space": "default", "sampler": "device_aware"}
    for end in [Killed, KeyboardInterrupt] * (MOST_DEATHS - 1) + [Killed]:
        with pytest.raises(end):
            go(7, **changes)
    records = go(7, **changes).report.records
    assert records[5].candidate.key == looked[0] and len(set(looked)) == 1 and len(looked) == 2 * MOST_DEATHS - 1


def test_a_longer_limit_goes_on(go) -> None:
    first = go(7).report.records
    second = go(9).report.records
    assert list(second[: len(first)]) == list(first)
    assert sum(record.counts for record in second) == 9


def test_a_space_that_has_been_seen_ends_the_search(go) -> None:
    space = {"students": ["identity"], "quantize": {"scheme": ["none", "fp16", "static_int8"], "per_channel": True}}
    result = go(50, space=space)
    assert "space has been seen" in result.reason
    assert sum(record.counts for record in result.report.records) == 3


def test_an_end_by_repetitions_claims_no_more_than_was_seen(go, monkeypatch) -> None:
    monkeypatch.setattr(loop, "REPEATS_BEFORE_END", 1)
    space = {
        "students": ["convnet"],
        "convnet": {"width": [8, 16], "depth": 1, "stages": 2, "resolution": 16, "stem_stride": 1, "block": "plain"},
        "distill": {"temperature": [2, 4, 8], "soft_weight": 1, "hard_weight": 0, "hidden_weight": 0, "epochs": 4,
                    "learning_rate": 0.001, "augment": "none"},
        "prune": {"ratio": 0}, "quantize": {"scheme": "none"},
    }  # fmt: skip
    result = go(50, space=space, sampler="random", recipes="none")
    seen = sum(record.counts for record in result.report.records)
    assert seen < 6 and result.reason == (
        f"1 proposals in a row were repetitions: {seen} of 6 different candidates have been seen"
    )


def test_equal_candidates_are_not_run_twice(go, monkeypatch) -> None:
    ran: list[str] = []

    def watched(number: int, candidate: Any, *rest: Any, **_: Any) -> TrialRecord:
        ran.append(candidate.key)
        return synthetic.record(number, candidate, *rest)

    monkeypatch.setattr(loop, "run_trial", watched)
    space = {
        "students": ["convnet"],
        "convnet": {"depth": 1, "width": [8, 16], "stages": 2, "resolution": 16, "stem_stride": 1, "block": "plain"},
        "distill": {"temperature": 4, "soft_weight": 1, "hard_weight": 0},
        "quantize": {"scheme": "none"},
        "prune": {"ratio": 0},
    }
    space["distill"] |= {"hidden_weight": 0, "learning_rate": 0.001, "epochs": 4, "augment": ["none", "shift"]}
    go(20, space=space)
    assert len(ran) == len(set(ran)) == 4


def test_refused_and_failed_trials_are_recorded_and_told(go, monkeypatch, tmp_path: Path) -> None:
    def sometimes(number: int, candidate: Any, bench: Any, step: Any, **_: Any) -> TrialRecord:
        record = synthetic.record(number, candidate, bench, step)
        if number == 5:
            return record.with_(end="refused", reason="too slow", violations={"latency_p50_ms": 0.7})
        if number == 6:
            return record.with_(end="failed", reason="diverged", metrics={})
        return record

    monkeypatch.setattr(loop, "run_trial", sometimes)
    result = go(9, budget={"latency_p50_ms": 1.0})
    assert {record.number: record.end for record in result.report.records if record.number in (5, 6)} == {
        5: "refused",
        6: "failed",
    }
    assert (states(tmp_path)[5], states(tmp_path)[6]) == ("PRUNED", "FAIL")


def test_the_genetic_sampler_is_told_of_refusals_as_complete(go, monkeypatch, tmp_path: Path) -> None:
    def refuse(number: int, candidate: Any, bench: Any, step: Any, **_: Any) -> TrialRecord:
        record = synthetic.record(number, candidate, bench, step)
        return record.with_(end="refused", reason="slow", violations={"latency_p50_ms": 1.0}) if number > 4 else record

    monkeypatch.setattr(loop, "run_trial", refuse)
    go(8, sampler="nsga2", budget={"latency_p50_ms": 1.0})
    assert states(tmp_path)[6] == "COMPLETE"


@pytest.mark.parametrize("name", ["tpe", "nsga2", "nsga3", "gp", "random", "device_aware"])
def test_every_sampler_runs(go, name: str) -> None:
    result = go(9, sampler={"name": name, "startup_trials": 3})
    assert sum(record.counts for record in result.report.records) == 9


@pytest.mark.parametrize("name", ["nsga2", "gp"])
def test_the_teachers_own_files_do_not_leave_a_sampler_without_common_parameters(go, tmp_path: Path, name: str) -> None:
    go(9, sampler={"name": name, "startup_trials": 3})
    study = optuna.load_study(study_name="synthetic", storage=f"sqlite:///{tmp_path}/mlruns/study.db")
    shared = optuna.search_space.intersection_search_space(study.get_trials())
    assert {"distill.temperature", "convnet.width"} <= {name.split("@")[0] for name in shared}


def test_interruption_queues_the_candidate_again(go, monkeypatch, tmp_path: Path) -> None:
    def interrupted(number: int, candidate: Any, *rest: Any, **_: Any) -> TrialRecord:
        if number == 6:
            raise KeyboardInterrupt
        return synthetic.record(number, candidate, *rest)

    monkeypatch.setattr(loop, "run_trial", interrupted)
    with pytest.raises(KeyboardInterrupt):
        go(9)
    assert states(tmp_path)[6] == "FAIL"
    monkeypatch.setattr(loop, "run_trial", synthetic.record)
    records = go(9).report.records
    assert records[6].end == "interrupted"
    assert records[6].candidate.key in {record.candidate.key for record in records if record.counts}
    assert sum(record.counts for record in records) == 9


def test_a_candidate_that_kills_the_process_is_given_up(go, monkeypatch) -> None:
    deadly: set[str] = set()

    def kill(number: int, candidate: Any, *rest: Any, **_: Any) -> TrialRecord:
        if number == 5:
            deadly.add(candidate.key)
        if candidate.key in deadly:
            raise Killed
        return synthetic.record(number, candidate, *rest)

    monkeypatch.setattr(loop, "run_trial", kill)
    for _ in range(MOST_DEATHS):
        with pytest.raises(Killed):
            go(8)
    monkeypatch.setattr(loop, "run_trial", synthetic.record)
    result = go(8)
    given_up = [record for record in result.report.records if record.end == "failed"]
    assert [record.candidate.key for record in given_up] == list(deadly)
    assert "not tried again" in str(given_up[0].reason)


def test_a_full_disk_is_said_and_resumed(go, monkeypatch, tmp_path: Path, capsys) -> None:
    import pipeline.record

    usual = pipeline.record.os.fsync

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    go(5)
    monkeypatch.setattr(pipeline.record.os, "fsync", full)
    monkeypatch.setattr("pipeline.api.search", lambda *_, **__: go(8))
    assert command_line(["search", "any.yaml"]) == 3
    assert "disk is full" in capsys.readouterr().err
    monkeypatch.setattr(pipeline.record.os, "fsync", usual)
    assert not list((tmp_path / "mlruns").rglob("*.part"))
    assert sum(record.counts for record in go(8).report.records) == 8


def test_an_mlflow_that_fails_ends_nothing_and_is_mended(go, monkeypatch, tmp_path: Path) -> None:
    from pipeline.tracking import Tracker

    usual = Tracker._log
    monkeypatch.setattr(Tracker, "_log", lambda *_: (_ for _ in ()).throw(OSError("no such database")))
    heard = Heard()
    go(6, heard)
    assert any("MLflow could not be written (no such database)" in sentence for sentence in heard.said)
    assert len(read_records(tmp_path / "mlruns" / "searches" / "synthetic")) == 6
    monkeypatch.setattr(Tracker, "_log", usual)
    go(6)
    with sqlite3.connect(tmp_path / "mlruns" / "mlflow.db") as db:
        query = "select count(*) from tags where key = 'niwaki.trial'"
        assert db.execute(query).fetchone() == (6,)


def test_notes_are_said_stored_and_logged(go, monkeypatch) -> None:
    from pipeline.tracking import client

    told = ("3 of 80 rows of train hold an empty text", "the teacher names no classes")
    usual = synthetic.bench

    def with_notes(*given: Any) -> Any:
        made = usual(*given)
        made.notes = told
        given[3](f"note: {told[0]}")
        return made

    monkeypatch.setattr(synthetic, "bench", with_notes)
    heard = Heard()
    workspace = go(1, heard).workspace
    assert heard.said == [f"note: {told[0]}"]
    assert workspace.state()["notes"] == list(told)
    store = client(workspace)
    experiment = store.get_experiment_by_name("synthetic").experiment_id
    (parent,) = store.search_runs([experiment], "tags.`niwaki.search` = 'synthetic'")
    assert parent.data.tags["notes"].splitlines() == list(told)


def test_a_second_process_is_refused(go, tmp_path: Path) -> None:
    settings = synthetic.config(1)
    workspace = synthetic.workspace(tmp_path / "mlruns", settings)
    workspace.make()
    with workspace.lock(), pytest.raises(Unavailable, match="is being run by process"):
        go(1)


def test_a_changed_configuration_is_refused_with_the_keys(go) -> None:
    go(5)
    with pytest.raises(ConfigError, match="seed: 0 -> 3"):
        go(5, seed=3)


def test_a_space_that_was_edited_is_refused_with_the_axes(go, tmp_path: Path) -> None:
    """The configuration names a file, whose content is no part of it."""
    file = tmp_path / "space.yaml"
    file.write_text(yaml.safe_dump(SPACE))
    go(4, space=str(file))
    go(5, space=str(file))
    file.write_text(yaml.safe_dump({**SPACE, "distill": {"temperature": [3.0]}}))
    with pytest.raises(ConfigError, match=r"begun with another space: distill.temperature: .* -> 3.0\. Put"):
        go(6, space=str(file))


def test_no_finished_record_is_overwritten_where_two_processes_died(go, tmp_path: Path) -> None:
    """One in a trial, the next between the record of a further trial and its row in the study."""
    workspace, config = go(8).workspace, synthetic.config(9, space=SPACE)
    bench = synthetic.bench(config, workspace)
    running = studies.open_study(config, workspace.study_url).ask()
    candidate = bench.space.trained().sample(running, 0)
    studies.note_candidate(running, candidate)
    final = synthetic.record(9, Candidate.of({**candidate.flat(), "distill.epochs": 99}, 3), bench, print)
    write_record(workspace.folder, final.with_(final_of=4))
    records = {record.number: record for record in go(12).report.records}
    assert running.number == 8 and records[8].end == "interrupted"
    assert records[9].final_of == 4 and records[9].candidate == final.candidate
    assert sorted(records) == list(range(len(records))) and len(states(tmp_path)) == len(records)


def test_who_was_taken_out_of_the_queue_and_not_begun_with_is_queued_again(go, monkeypatch) -> None:
    def interrupted(number: int, candidate: Any, *rest: Any, **_: Any) -> TrialRecord:
        if number == 6:
            raise KeyboardInterrupt
        return synthetic.record(number, candidate, *rest)

    def ended(*_: Any) -> None:
        raise Killed

    monkeypatch.setattr(loop, "run_trial", interrupted)
    with pytest.raises(KeyboardInterrupt):
        go(8)
    monkeypatch.setattr(loop, "run_trial", synthetic.record)
    note = studies.note_candidate
    monkeypatch.setattr(studies, "note_candidate", ended)  # taken out of the queue, and nobody knows for whom
    with pytest.raises(Killed):
        go(8)
    monkeypatch.setattr(studies, "note_candidate", note)
    records = go(8).report.records
    cut_off = next(record for record in records if record.end == "interrupted")
    same = [record.end for record in records if record.candidate.key == cut_off.candidate.key]
    assert same == ["interrupted", "complete"]


def test_only_models_on_the_front_are_kept(go, tmp_path: Path) -> None:
    result = go(12)
    folder = tmp_path / "mlruns" / "searches" / "synthetic" / "trials"
    there = {int(path.parent.name) for path in folder.glob("*/model.onnx")}
    assert set(result.report.front_numbers) <= there
    assert len(there) < 12


def test_refusals_and_failures_carry_what_they_know() -> None:
    refused = Refused("why", violations={"size_mb": 0.5}, metrics={"size_mb": 3.0})
    assert (str(refused), refused.violations, refused.metrics) == ("why", {"size_mb": 0.5}, {"size_mb": 3.0})
    assert str(Failed("diverged")) == "diverged"


def test_phases_add_up() -> None:
    moments = iter([0.0, 1.5, 2.0, 2.25, 5.0, 6.0])
    clock = Phases(lambda: next(moments))
    for name in ("distill", "export", "distill"):
        with clock(name):
            pass
    assert clock.seconds() == {"distill": 2.5, "export": 0.25}


def harvested(number: int, candidate: Any, bench: Any, step: Any, begun: Any = None, **_: Any) -> TrialRecord:
    """A synthetic trial that leaves a student behind, or begins with one."""
    record = synthetic.record(number, candidate, bench, step)
    if begun is not None:
        return record.with_(trained_by=begun.number, seconds={})
    pruned = bool(candidate.section("prune").get("ratio", 0))
    for place in [bench.workspace.trial(number), *([bench.workspace.trial(number) / UNPRUNED] if pruned else [])]:
        place.mkdir(exist_ok=True)
        for name in (SHAPE, WEIGHTS):
            (place / name).write_text("{}")
    return record


def test_a_harvest_is_done_once(go, monkeypatch, tmp_path: Path) -> None:
    """The student that a pruned one was is gone after the harvest, and the next start finds nothing left to do."""
    monkeypatch.setattr(loop, "run_trial", harvested)
    last = set()
    for trials in range(3, 22, 3):  # each student and what it serves
        changes: dict[str, Any] = {
            "name": f"small{trials}", "space": {"students": ["convnet"]}, "trials": {"harvest": 2}, "recipes": "none",
            "sampler": "tpe",
        }  # fmt: skip
        first, again = go(trials, **changes).report.records, go(trials, **changes).report.records
        assert [record.number for record in again] == [record.number for record in first]
        parent = [record for record in first if record.trained_by is None][-1]
        last.add(bool(parent.candidate.section("prune").get("ratio", 0)))
        children = [record.trained_by for record in first if record.trained_by is not None]
        assert max(children.count(number) for number in children) == 2
    assert last == {True, False}
    assert not list(tmp_path.rglob(UNPRUNED))


def test_a_trained_student_is_harvested_and_the_study_told(go, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(loop, "run_trial", harvested)
    records = go(12, space="default", trials={"harvest": 2}, sampler="tpe").report.records
    children = [record for record in records if record.trained_by is not None]
    assert children
    for child in children:
        parent = records[child.trained_by]
        assert parent.candidate.section("distill") == child.candidate.section("distill")
        assert parent.candidate.seed == child.candidate.seed and parent.candidate.key != child.candidate.key
        assert child.number - parent.number in (1, 2)
    assert [record.number for record in records] == list(range(len(records)))
    assert states(tmp_path) == {record.number: "COMPLETE" for record in records}


def test_who_begins_with_a_student_inherits_from_whom_it_did(go, monkeypatch) -> None:
    """Its training is that student's, so a rerun or a final of it begins where that one began."""

    def inherits(number: int, *rest: Any, **more: Any) -> TrialRecord:
        record = harvested(number, *rest, **more)
        return record if record.trained_by is not None else record.with_(inherited_from=number + 100)

    monkeypatch.setattr(loop, "run_trial", inherits)
    records = go(12, space="default", trials={"harvest": 2}, sampler="tpe").report.records
    children = [record for record in records if record.trained_by is not None]
    assert children and all(child.inherited_from == child.trained_by + 100 for child in children)


def test_a_sampler_that_knows_asks_for_what_a_student_serves(go, monkeypatch, tmp_path: Path) -> None:
    """At first what takes no epoch; later what promises enough, with its student's seed, trained long ago or not."""
    there = list[bool]()

    def watched(number: int, candidate: Any, bench: Any, step: Any, begun: Any = None, **_: Any) -> TrialRecord:
        if begun is not None:
            there.append((begun.folder / WEIGHTS).exists())
        return harvested(number, candidate, bench, step, begun)

    monkeypatch.setattr(loop, "run_trial", watched)
    monkeypatch.setattr(loop, "FRONT_EVERY_S", 0.0)  # models off the front go after every trial
    records = go(40, space="default", trials={"harvest": 4}, sampler="device_aware").report.records
    children = [record for record in records if record.trained_by is not None]
    assert all(there) and len(there) == len(children)
    for child in children:
        parent = records[child.trained_by]
        assert training(parent.candidate) == training(child.candidate)
        assert parent.candidate.seed == child.candidate.seed and parent.candidate.key != child.candidate.key
    away = [child.number - child.trained_by for child in children]
    assert max(away) > 4  # asked for, not harvested at once
    trained = [record for record in records if lends(record)]
    assert [child.trained_by for child in children].count(trained[0].number) == 4
    served = [sum(child.trained_by == record.number for child in children) for record in trained[4:]]
    assert min(served) < 4
    assert not list(tmp_path.rglob(UNPRUNED)) and states(tmp_path) == dict.fromkeys(range(40), "COMPLETE")


def test_a_harvest_keeps_to_the_limit_and_a_wider_one_goes_on(go, monkeypatch) -> None:
    monkeypatch.setattr(loop, "run_trial", harvested)
    for ratio in (0, 0.5):
        space = {"students": ["convnet"], "prune": {"ratio": ratio}}
        changes: dict[str, Any] = {"name": f"pruned{ratio}", "space": space, "trials": {"harvest": 3}, "keep": "all"}
        whole = go(4, sampler="tpe", **{**changes, "name": f"whole{ratio}"}).report.records
        served = sum(record.trained_by == 0 for record in whole)
        assert served > 1
        for count in range(2, served + 3):
            records = go(count, sampler="tpe", **changes).report.records
            assert [record.trained_by for record in records] == [None, *[0] * served, None][:count]
        first = slice(served + 1)
        assert [record.candidate.key for record in records[first]] == [record.candidate.key for record in whole[first]]


@pytest.mark.parametrize("sampler", ["tpe", "device_aware"])
def test_a_harvested_candidate_that_kills_the_process_is_given_up(go, monkeypatch, sampler: str) -> None:
    """The others that begin with the same student are tried all the same; Ctrl-C is no death."""
    deadly, ends = list[str](), iter([Killed, KeyboardInterrupt] * MOST_DEATHS)

    def kill(number: int, candidate: Any, bench: Any, step: Any, begun: Any = None, **_: Any) -> TrialRecord:
        if begun is not None and candidate.key in (deadly or [candidate.key]):
            deadly.append(candidate.key)
            raise next(ends)
        return harvested(number, candidate, bench, step, begun)

    monkeypatch.setattr(loop, "run_trial", kill)
    changes: dict[str, Any] = {"space": {"students": ["convnet"], "prune": {"ratio": 0}}, "trials": {"harvest": 2}}
    for end in [Killed, KeyboardInterrupt] * (MOST_DEATHS - 1) + [Killed]:
        with pytest.raises(end):
            go(4, sampler=sampler, **changes)
    records = go(4, sampler=sampler, **changes).report.records
    given_up = [record for record in records if record.end == "failed"]
    assert [record.candidate.key for record in given_up] == deadly[:1] and len(set(deadly)) == 1
    assert f"ended {MOST_DEATHS} times" in str(given_up[0].reason)
    assert sum(record.trained_by == 0 for record in records) == 1 and len(records) == 4


def test_a_killed_harvest_is_finished(go, monkeypatch, tmp_path: Path) -> None:
    def kill(number: int, candidate: Any, bench: Any, step: Any, begun: Any = None, **_: Any) -> TrialRecord:
        if begun is not None:
            raise Killed
        return harvested(number, candidate, bench, step)

    monkeypatch.setattr(loop, "run_trial", kill)
    space = {"students": ["convnet"], "prune": {"ratio": 0}}
    changes: dict[str, Any] = {"space": space, "trials": {"harvest": 1}, "sampler": "tpe"}
    with pytest.raises(Killed):
        go(4, **changes)
    monkeypatch.setattr(loop, "run_trial", harvested)
    records = go(4, **changes).report.records
    assert (records[0].trained_by, records[1].trained_by) == (None, 0)
    assert len({record.candidate.key for record in records}) == len(records) == 4
    assert states(tmp_path) == dict.fromkeys(range(4), "COMPLETE")
