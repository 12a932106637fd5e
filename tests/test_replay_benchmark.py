"""A search replayed on an invented bank: what it tries, what it pays, and how strategies are compared."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import synthetic_bank
import yaml

from pipeline.harvest import training
from pipeline.record import TrialRecord, read_json, write_json
from pipeline.search.standing import felt
from search_spaces import IDENTITY
from search_spaces.candidate import Candidate

import bank_design  # isort: skip - synthetic_bank has put benchmarks/ on the path
import bank_figures  # isort: skip
import bank_store  # isort: skip
import replay  # isort: skip
import replay_bank  # isort: skip
import replay_rules  # isort: skip
import replay_table  # isort: skip
import replay_search  # isort: skip
import replay_tpe  # isort: skip
from replay_search import Mark, Run, Search, Strategy, best_volume  # isort: skip

Make = Callable[..., replay_bank.Stored]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("replay")
    bank_figures.table(synthetic_bank.write(root), "screen")
    return root


@pytest.fixture(scope="module")
def make(folder: Path) -> Make:
    def stored(**changes: Any) -> replay_bank.Stored:
        settings = synthetic_bank.config(**changes)
        return replay_bank.stored(bank_store.Bank(folder, settings.name), settings, synthetic_bank.INPUT)

    return stored


def keys(run: Run) -> list[str]:
    return [record.candidate.key for record in run.records]


def never(*_: Any) -> None:
    """A rule that lets everything pass."""


def everything(*_: Any) -> dict[str, float]:
    return {"never": 1.0}


def test_a_bank_is_read_with_its_figures(make: Make) -> None:
    found = make()
    assert len(found.students()) == 6 * len({p.candidate.seed for p in found.students()})
    assert len(found.identities()) == 2
    point = found.students()[0]
    flat = point.candidate.flat()
    assert point.metrics["accuracy"] == synthetic_bank.accuracy(flat)
    assert point.metrics["speedup"] == pytest.approx(synthetic_bank.TEACHER_MS / point.metrics["latency_p50_ms"])
    assert point.metrics["energy_mj"] > 0 and found.teacher_metrics["latency_p50_ms"] == synthetic_bank.TEACHER_MS
    assert point.train_s == point.curve[-1]["cpu_seconds"] + point.recover_s
    pruned = next(point for point in found.students() if dict(point.candidate.values)["prune.ratio"] > 0)
    assert pruned.recover_s == 0.5 * synthetic_bank.size(pruned.candidate.flat())
    assert (found.screen_s, found.measure_s) == (3.5, replay_bank.SESSION_S["trial"])


def test_a_candidate_without_figures_is_left_out(folder: Path, tmp_path: Path) -> None:
    rows = (folder / "bank/synthetic_bank/table.csv").read_text().splitlines()
    (tmp_path / "table.csv").write_text("\n".join(rows[:20]) + "\n")
    described = (folder / "bank/synthetic_bank/table.yaml").read_text()
    (tmp_path / "table.yaml").write_text(described)
    settings = synthetic_bank.config()
    known = bank_store.Bank(folder, settings.name)
    found = replay_bank.stored(known, settings, synthetic_bank.INPUT, tmp_path / "table.yaml")
    assert len(found.points) == 18  # a heading and the teacher


@pytest.mark.parametrize("sampler", ["tpe", "random", "nsga2"])
def test_identities_then_recipes_then_the_sampler_and_nothing_twice(make: Make, sampler: str) -> None:
    found = make()
    run = Search(found, Strategy(sampler), 0).until(trials=16)
    tried = keys(run)
    assert len(tried) == len(set(tried)) == 16
    recipes = [Candidate.of(flat, 0).key for flat in bank_design.recipe_candidates(found.space).values()]
    first = [point.candidate.key for point in found.identities()] + recipes
    assert recipes and tried[: len(first)] == first
    assert run.trained == sum(record.candidate.student != IDENTITY for record in run.records)


def test_a_second_recipe_of_a_shape_is_left_to_a_chooser(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the product's loop; every other sampler is given both."""
    found = make()
    alike: dict[Any, list[replay_bank.Point]] = {}
    for point in found.students():
        alike.setdefault(felt(point.candidate), []).append(point)
    first, second = next(points for points in alike.values() if len(points) > 1)[:2]
    flats = {str(number): point.candidate.flat() for number, point in enumerate((first, second))}
    monkeypatch.setattr(replay_search, "recipe_candidates", lambda _: flats)
    count = len(found.identities()) + 2
    plain = keys(Search(found, Strategy(), 0).until(trials=count))
    assert plain[-2:] == [first.candidate.key, second.candidate.key]
    chooses = Strategy(choose=lambda search: search.bank.students()[-1].candidate)
    assert keys(Search(found, chooses, 0).until(trials=count))[-2:] == [
        first.candidate.key,
        found.students()[-1].candidate.key,
    ]


def test_the_study_learns_of_what_was_met(make: Make) -> None:
    search = Search(make(), Strategy(), 0)
    run = search.until(trials=10)
    complete = [trial for trial in search.study.trials if trial.state.name == "COMPLETE"]
    assert [trial.number for trial in complete] == [record.number for record in run.records]
    for trial, record in zip(complete, run.records, strict=True):
        assert trial.values == [record.metrics[name] for name in search.config.objectives]
        if record.candidate.student != IDENTITY:
            assert trial.params == search.space.params_of(record.candidate.flat())


def test_nsga2_breeds(make: Make) -> None:
    search = Search(make(), Strategy("nsga2"), 0)
    search.until(trials=20)
    generations = {value for t in search.study.trials for key, value in t.system_attrs.items() if "generation" in key}
    assert max(generations) >= 2
    assert keys(search.run) != keys(Search(make(), Strategy("random"), 0).until(trials=20))


def test_training_is_paid_as_it_was_stored(make: Make) -> None:
    found = make()
    run = Search(found, Strategy("random"), 3).until(trials=12)
    trained = [found.points[key] for key in keys(run)]
    assert run.last.train_s == pytest.approx(sum(point.train_s for point in trained))
    more = sum(point.make_s + found.measure_s for point in trained)
    assert run.last.wall_s == pytest.approx(run.last.train_s + more)
    assert [mark.volume for mark in run.marks] == sorted(mark.volume for mark in run.marks)


def screened_s(points: Sequence[replay_bank.Point]) -> float:
    """Each file is made and measured once, untrained, when it first comes."""
    first = {point.file: point.twin_s for point in reversed(points)}
    return sum(first.values()) + 3.5 * len(first)


def test_what_is_over_budget_is_refused_for_the_price_of_its_measurement(make: Make) -> None:
    found = make(budget={"speedup": 12})
    rule = Strategy("random", refuses=(replay_rules.over_budget,))
    run = Search(found, rule, 0).until(trials=25)
    refused = [record for record in run.records if record.end == "refused"]
    assert refused and all(record.metrics["speedup"] < 12 / 1.05 for record in refused)
    assert run.refused == {"over_budget": len(refused)} and run.wronged == {"over_budget": 0}
    trained = [found.points[r.candidate.key] for r in run.records if r.end == "complete"]
    assert run.last.train_s == pytest.approx(sum(point.train_s for point in trained))
    tried = [found.points[r.candidate.key] for r in run.records if r.candidate.student != IDENTITY]
    made = sum(point.make_s + found.measure_s for point in trained)
    assert run.last.wall_s == pytest.approx(run.last.train_s + made + screened_s(tried))


def test_who_comes_to_a_rung_is_measured_before(make: Make) -> None:
    found = make()

    def never(own: Any, others: Any, bank: Any) -> None:  # noqa: ARG001
        return None

    run = Search(found, Strategy("random", stops=never, rungs=(2,)), 0).until(trials=12)
    points = [found.points[key] for key in keys(run)]
    more = sum(point.make_s + found.measure_s for point in points)
    more += screened_s([point for point in points if point.candidate.student != IDENTITY])
    assert run.last.wall_s == pytest.approx(run.last.train_s + more)


def test_a_refusal_that_wrongs_is_counted(make: Make) -> None:
    run = Search(make(), Strategy("random", refuses=(everything,)), 0).until(trials=12)
    assert run.refused["everything"] == 12 - 2  # all but the identities
    assert 0 < run.wronged["everything"] <= 10 and run.trained == 0


def test_a_stopped_student_pays_up_to_its_rung(make: Make) -> None:
    found = make()
    run = Search(found, Strategy("random", stops=everything, rungs=(2,)), 0).until(trials=8)
    students = [found.points[r.candidate.key] for r in run.records if r.candidate.student != IDENTITY]
    assert run.stopped == len(students) == 6 and run.trained == 0
    assert run.last.train_s == pytest.approx(sum(point.curve[1]["cpu_seconds"] for point in students))
    assert all((r.violations, r.rung) == ({"never": 1.0}, 2) for r in run.records if r.end == "stopped")


def test_a_stopped_student_goes_on_where_it_was_left(make: Make) -> None:
    found = make()

    def once(own: replay_rules.Reached, others: Any, bank: Any) -> dict[str, float] | None:  # noqa: ARG001
        return {"never": 1.0} if own.rung == 2 else None

    def first(reached: Any, waiting: dict[str, int], bank: Any) -> str | None:  # noqa: ARG001
        return next(iter(waiting))

    run = Search(found, Strategy("random", stops=once, resumes=first, rungs=(2, 4)), 0).until(trials=8)
    assert run.stopped == run.resumed == run.trained == 3
    tried = keys(run)[2:]
    assert tried[0::2] == tried[1::2]  # each is taken up at once
    ends = [record.end for record in run.records[2:]]
    assert ends == ["stopped", "complete"] * 3
    for left, later in zip(run.records[2::2], run.records[3::2], strict=True):
        assert (left.continued_in, later.resumed_from, left.counts) == (later.number, left.number, False)
    assert run.last.train_s == pytest.approx(sum(found.points[key].train_s for key in tried[0::2]))
    assert run.wronged == {"stopped": 0}


def test_a_chooser_takes_the_place_of_the_sampler(make: Make) -> None:
    found = make()

    def cheapest(search: Search) -> Candidate | None:
        left = [point for key, point in search.bank.points.items() if key not in search.tried]
        return min(left, key=lambda point: point.train_s).candidate if len(search.run.records) < 10 else None

    run = Search(found, Strategy(choose=cheapest), 0).until(trials=12)
    chosen = [found.points[key].train_s for key in keys(run)[3:10]]
    assert chosen == sorted(chosen) and chosen[0] == min(p.train_s for p in found.students())
    assert len(set(keys(run))) == 12


def test_who_is_met_by_chance_saves_no_training(make: Make) -> None:
    """A proposal that no student serves is trained, though whom the bank has for it is served."""
    found = make()
    one = found.students()[0]
    other = next(p for p in found.students() if p is not one and training(p.candidate) == training(one.candidate))
    elsewhere = Candidate.of({**other.candidate.flat(), "distill.temperature": 3.3}, 0)
    for asked, paid, by in ((other.candidate, other.recover_s, True), (elsewhere, other.train_s, False)):
        wanted = [one.candidate, asked]
        search = Search(found, Strategy(choose=lambda _: wanted.pop(0) if wanted else None, harvest=4), 0)  # noqa: B023
        search._identities, search._recipes = [], []
        search._harvest = lambda *_: None  # type: ignore[method-assign]
        run = search.until(trials=2)
        assert keys(run) == [one.candidate.key, other.candidate.key]
        assert run.last.train_s == pytest.approx(one.train_s + paid)
        assert (run.records[1].trained_by is not None) == by


def test_who_is_beaten_by_a_longer_training_is_stopped(make: Make) -> None:
    found = make()
    one, two = (point for point in found.students()[:2])

    def reached(accuracy: float, ms: float, epochs: int) -> replay_rules.Reached:
        metrics = {**one.metrics, "accuracy": accuracy, "latency_p50_ms": ms, "energy_mj": ms}
        record = TrialRecord(0, two.candidate, "complete", metrics=metrics, measurement=one.measurement)
        return replay_rules.Reached(record, 2, epochs)

    own = reached(0.8, 2.0, 8)
    stop = replay_rules.beaten_at_rung
    assert stop(own, [reached(0.85, 1.0, 8)], found) == {"stopped": pytest.approx(0.05)}
    assert stop(own, [reached(0.85, 1.0, 4)], found) is None  # its learning rate has fallen further
    assert stop(own, [reached(0.85, 3.0, 8)], found) is None  # slower
    assert stop(own, [], found) is None


def test_harvest_begins_with_a_trained_student(make: Make) -> None:
    found = make()
    run = Search(found, Strategy("random", harvest=4), 0).until(train_s=400)
    dense = [i for i, r in enumerate(run.records) if r.candidate.section("prune").get("ratio") == 0.0]
    place = next(i for i in dense if i + 3 < len(run.records))
    family = [found.points[key] for key in keys(run)[place : place + 4]]
    assert len({json.dumps(bank_design.student_of(point.candidate.flat())) for point in family}) == 1
    spent = run.marks[place + 3].train_s - (run.marks[place - 1].train_s if place else 0.0)
    assert spent == pytest.approx(family[0].train_s + sum(point.recover_s for point in family[1:]))
    assert [record.trained_by for record in run.records[place : place + 4]] == [None, *[run.records[place].number] * 3]
    assert family[0].train_s > 0 and max(run.points_per_student) >= 2
    assert len(run.points_per_student) == run.trained < len(run.records)


def test_the_nearest_has_the_same_file_where_one_is_left(make: Make) -> None:
    found = make()
    point = found.students()[7]

    def nearest(tried: set[str]) -> replay_bank.Point | None:
        return found.nearest(point.candidate, tried)

    assert nearest(set()) is point
    again = nearest({point.candidate.key})
    assert again is not None and again.file == point.file and again is not point
    same = {p.candidate.key for p in found.students() if p.file == point.file}
    other = nearest(same)
    assert other is not None and other.file != point.file
    theirs, ours = dict(other.candidate.values), dict(point.candidate.values)
    kinds = {name.split(".")[0] for name in {*theirs, *ours} if theirs.get(name) != ours.get(name)} - {"distill"}
    assert len(kinds) == 1  # the shape, the ratio or the scheme
    assert nearest(set(found.points)) is None


def test_tpe_told_what_the_bank_holds_chooses_only_that(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is never met by another, repeats nothing, is the same for the same seed, and ends with the bank."""
    found = make()
    chosen: list[str] = []
    listed = replay_search.Search._listed

    def noted(search: Search, *asked: Any) -> Candidate | None:
        if (candidate := listed(search, *asked)) is not None:
            chosen.append(candidate.key)
        return candidate

    monkeypatch.setattr(replay_search.Search, "_listed", noted)
    run = Search(found, Strategy(listed=True), 0).until(trials=30)
    first = len(run.records) - len(chosen)
    assert chosen == keys(run)[first:] and len(set(keys(run))) == 30 and len(chosen) > 20
    assert keys(Search(found, Strategy(listed=True), 0).until(trials=30)) == keys(run)
    assert keys(Search(found, Strategy(listed=True), 1).until(trials=30)) != keys(run)
    assert len(Search(found, Strategy(listed=True), 0).until(trials=10_000).records) == len(found.points)


def test_what_it_chooses_is_what_its_densities_favour(make: Make) -> None:
    """With every figure known it comes to the bank's volume sooner than chance does, in the mean of some seeds."""
    found = make()
    trials = len(found.points) // 4

    def volume(strategy: Strategy) -> float:
        return float(np.mean([Search(found, strategy, seed).until(trials=trials).last.volume for seed in range(6)]))

    assert volume(Strategy(listed=True)) > volume(Strategy("random"))


def test_tpe_draws_from_the_good_and_takes_the_largest_ratio() -> None:
    chance = np.random.default_rng(0)
    good, other = np.log([0.5, 0.3, 0.2, 1e-300]), np.log([0.5, 0.1, 0.4, 1e-320])
    assert replay_tpe.drawn(good, other, chance) == 1  # the last has the largest ratio and is never drawn
    alike = np.zeros(1000)
    assert len({replay_tpe.drawn(alike, alike, chance) for _ in range(50)}) > 25  # draws, not always the same place


def test_the_end_of_the_bank_ends_a_search(make: Make) -> None:
    found = make()
    run = Search(found, Strategy("random"), 0).until(trials=10_000)
    assert len(run.records) == len(found.points)
    assert run.last.volume == pytest.approx(best_volume(found))


def test_the_bound_is_optimistic(make: Make) -> None:
    found = make()
    run = Search(found, Strategy("random"), 1).until(trials=40)
    left = [point for point in found.students() if point.candidate.key not in set(keys(run))]
    bounds = [replay_rules.optimistic(point, run.records, found) for point in left]
    assert all(bound is not None for bound in bounds)
    above = np.mean([bound >= point.metrics["accuracy"] for bound, point in zip(bounds, left, strict=True)])
    assert above > 0.97
    assert all(bound <= synthetic_bank.TEACHER_QUALITY for bound in bounds)
    spread = [bound - point.metrics["accuracy"] for bound, point in zip(bounds, left, strict=True)]
    assert np.median(spread) < 0.08  # and still says something
    assert replay_rules.optimistic(left[0], run.records[:5], found) is None


def test_what_is_certainly_dominated_is_not_trained(make: Make) -> None:
    found = make()
    run = Search(found, Strategy("random", refuses=(replay_rules.dominated,)), 1).until(trials=80)
    assert run.refused["dominated"] >= 5
    assert run.wronged["dominated"] <= 0.05 * (run.wronged["dominated"] + run.entered)
    for record in run.records:
        if record.end == "refused":
            assert record.violations["dominated"] > 0


def test_energy_of_a_table_of_watts_is_no_axis_of_its_own(folder: Path, tmp_path: Path) -> None:
    generic = synthetic_bank.write(tmp_path, "modelled-generic")
    bank_figures.table(generic, "screen")
    settings = synthetic_bank.config()
    poor = replay_bank.stored(generic, settings, synthetic_bank.INPUT)
    rich = replay_bank.stored(bank_store.Bank(folder, settings.name), settings, synthetic_bank.INPUT)
    assert best_volume(poor) < best_volume(rich)


def test_a_table_leaves_out_what_is_known_less_well_than_asked(tmp_path: Path) -> None:
    bank = synthetic_bank.write(tmp_path)
    files = sorted((bank.folder / "device" / "screen").glob("*.json"))
    vague = files[0]
    told = read_json(vague)
    ratio = told["measurement"]["latency"]["ratio"]
    told["measurement"]["latency"] |= {"ratio_low": ratio / 1.2, "ratio_high": ratio * 1.2}
    write_json(vague, told)
    assert bank_figures.well_known(vague, 0.1) is None
    assert bank_figures.well_known(vague, 0.2) is not None
    assert all(bank_figures.well_known(file, 0.1) for file in files[1:])
    served = sum(
        variant["shape"] == vague.stem for member in bank.read_members() for variant in member["variants"]
    )  # fmt: skip
    _, every = bank_figures.table(bank, "screen")
    path, rows = bank_figures.table(bank, "screen", known_to=0.1)
    assert served and rows == every - served
    assert "worse than 10% is left out" in yaml.safe_load(path.read_text(encoding="utf-8"))["source"]


def run_of(*marks: tuple[float, float]) -> Run:
    return Run(marks=[Mark(train_s, 2 * train_s, volume) for train_s, volume in marks])


def test_seconds_to_a_volume() -> None:
    run = run_of((10.0, 1.0), (20.0, 3.0), (30.0, 3.0))
    assert replay.seconds_to(run, 3.0, "train_s") == (20.0, True)
    assert replay.seconds_to(run, 2.0, "wall_s") == (40.0, True)
    assert replay.seconds_to(run, 4.0, "train_s") == (30.0, False)


def test_who_has_not_come_to_the_volume_goes_on_to_three_times_the_training(make: Make) -> None:
    found, strategy = make(), Strategy("random")
    plain = replay.run(found, strategy, (0, {"train_s": 60.0}))
    first, last = plain.marks[0].volume, plain.last.volume
    there = replay.run(found, strategy, (0, {"train_s": 60.0, "volume": first}))
    assert [mark.train_s for mark in there.marks] == [mark.train_s for mark in plain.marks]
    on = replay.run(found, strategy, (0, {"train_s": 60.0, "volume": last + 0.01}))
    assert on.last.train_s > plain.last.train_s and on.marks[: len(plain.marks)] == plain.marks
    beyond = [mark for mark in on.marks if mark.volume >= last + 0.01]
    assert len(beyond) < 20 and beyond  # it does not go on for long after that
    never = replay.run(found, strategy, (0, {"train_s": 60.0, "volume": 99.0}))
    assert never.last.train_s >= 180.0 > never.marks[-2].train_s or len(never.records) == len(found.points)


def test_a_ratio_has_an_interval_and_pairs_stay_together() -> None:
    even = replay.ratio([1.0, 2.0, 3.0], [4.0, 8.0, 12.0])
    assert even == {"value": 0.25, "low": 0.25, "high": 0.25}
    uneven = replay.ratio([1.0, 2.0, 9.0, 1.0], [4.0] * 4)
    assert uneven["low"] < uneven["value"] == 0.8125 < uneven["high"]


def test_plain_tpe_beside_itself_is_one(make: Make) -> None:
    runs = [replay.run(make(), Strategy("random"), (seed, {"trials": 10})) for seed in range(2)]
    found = replay.compared(runs, runs)
    assert found["train_s_ratio"]["value"] == found["wall_s_ratio"]["value"] == 1.0
    assert found["reached"] == 2 and found["volume_at_equal_training"]["value"] == 1.0


def test_volume_counts_until_the_training_is_spent_and_no_further() -> None:
    run = run_of((10.0, 1.0), (20.0, 3.0), (31.0, 4.0))
    assert replay.volume_within(run, 30.0) == 3.0 and replay.volume_within(run, 31.0) == 4.0
    assert replay.volume_within(run, 5.0) == 0.0


def test_a_sampler_may_be_told_what_is_scored(make: Make) -> None:
    """Doublings instead of milliseconds, and no energy that ranks nothing."""
    known = replay.strategies((2, 4))
    assert Search(make(), known["tpe, told the score, begins sooner"], 0).config.sampler.startup_trials == 4
    search = Search(make(), known[replay.SCORED], 0)
    run = search.until(trials=10)
    assert search.config.sampler.startup_trials == Search(make(), known["tpe"], 0).config.sampler.startup_trials
    told = [trial for trial in search.study.trials if trial.state.name == "COMPLETE"]
    for trial, record in zip(told, run.records, strict=True):
        quality, *costs = trial.values
        assert quality == record.metrics["accuracy"] and len(costs) == len(search._scored) - 1
        assert costs[0] == pytest.approx(np.log2(record.metrics["latency_p50_ms"]))


def test_strategies_are_each_rule_alone_all_and_all_but_one() -> None:
    found = replay.strategies((1, 2))
    whole = found["all"]
    assert len(whole.refuses) == 2 and whole.stops and whole.rungs == (1, 2) and whole.harvest
    assert found["all - dominated"].refuses == (replay_rules.over_budget,)
    assert found["all - rungs"].stops is None and found["all - harvest"].harvest == 0
    assert found["tpe"] == Strategy() and found["tpe + rungs"].refuses == ()


def test_the_command(folder: Path, tmp_path: Path) -> None:
    file, out = tmp_path / "file.yaml", tmp_path / "out.json"
    plain = synthetic_bank.config().resolved()
    file.write_text(yaml.safe_dump(plain))
    common = ["--root", str(folder), "--seeds", "2", "--trials", "12", "--budget", "speedup=4"]
    replay.main([str(file), *common, "--strategies", "random", replay.SCORED, "all", "--out", str(out)])
    found = json.loads(out.read_text())
    assert found["students"] * 6 + 2 == found["candidates"] and found["budget"] == {"speedup": 4.0}
    assert list(found["strategies"]) == ["tpe", "random", replay.SCORED, "all"]
    assert list(found["against_told_the_score"]) == [replay.SCORED, "all"]
    assert str(folder) not in out.read_text()
    side_by_side = tmp_path / "side_by_side.json"
    replay.main([str(file), *common, "--strategies", "random", "--workers", "2", "--out", str(side_by_side)])
    assert json.loads(side_by_side.read_text())["strategies"]["random"] == found["strategies"]["random"]
    other = tmp_path / "other.json"
    replay.main([str(file), *common, "--strategies", "random", "--first-seed", "2", "--out", str(other)])
    assert json.loads(other.read_text())["strategies"]["random"] != found["strategies"]["random"]


def test_a_replay_that_was_cut_off_goes_on(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, out = tmp_path / "file.yaml", tmp_path / "out.json"
    file.write_text(yaml.safe_dump(synthetic_bank.config().resolved()))
    command = [str(file), "--root", str(folder), "--seeds", "2", "--trials", "6"]
    command += ["--strategies", "random", "nsga2", "--out", str(out)]
    compared, made = replay.compared, list[int]()

    def noted(*given: Any) -> Any:
        made.append(len(made))
        if len(made) == 3:  # plain TPE, random, and then the end
            raise KeyboardInterrupt
        return compared(*given)

    monkeypatch.setattr(replay, "compared", noted)
    with pytest.raises(KeyboardInterrupt):
        replay.main(command)
    replay.main(command)
    assert len(made) == 3 + 2  # plain TPE again, which all are compared with, and who had not come yet
    found = json.loads(out.read_text())
    replay.main([*command[:-1], str(tmp_path / "whole.json")])
    assert found == json.loads((tmp_path / "whole.json").read_text())
    assert {path.name for path in tmp_path.iterdir()} == {"file.yaml", "out.json", "whole.json"}


@pytest.mark.parametrize("name", ["replay_sst2", "replay_fashion_mnist"])
def test_the_tables_of_the_page_are_those_of_the_results(name: str) -> None:
    repository = Path(__file__).parent.parent
    found = read_json(repository / "benchmarks" / "results" / f"{name}.json")
    page = (repository / "docs" / "efficiency.md").read_text(encoding="utf-8")
    assert "\n".join(replay_table.lines(found)) in page
    assert all(sentence in page for sentence in replay_table.stronger(found))
