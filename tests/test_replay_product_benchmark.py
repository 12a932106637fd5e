"""The product's rules in a replayed search, on an invented bank."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import synthetic_bank

from pipeline.harvest import lends, training
from pipeline.record import TrialRecord
from pipeline.search.knowledge import SCREENED
from search_spaces.candidate import Candidate

import bank_figures  # isort: skip - synthetic_bank has put benchmarks/ on the path
import replay  # isort: skip
import replay_bank  # isort: skip
import replay_product  # isort: skip
from replay_rules import Reached  # isort: skip
from replay_search import Search  # isort: skip


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> replay_bank.Stored:
    folder: Path = tmp_path_factory.mktemp("product")
    bank = synthetic_bank.write(folder)
    bank_figures.table(bank, "screen")
    return replay_bank.stored(bank, synthetic_bank.config(trials={"dominated_margin": 0.02}), synthetic_bank.INPUT)


def reached(stored: replay_bank.Stored, place: int, accuracy: float, ms: float, **changes: Any) -> Reached:
    point = [p for p in stored.students() if len(p.curve) == 8][6 * place]
    metrics = {**point.metrics, "accuracy": accuracy, "latency_p50_ms": ms, "energy_mj": ms}
    row = {"epoch": 2, "rung_accuracy": accuracy}
    record = TrialRecord(
        place, point.candidate, "complete", metrics=metrics, measurement=point.measurement, curve=(row,)
    )
    return Reached(record.with_(**changes), 2, 8)


def test_who_is_beaten_stops_and_is_told_by_how_much(stored: replay_bank.Stored) -> None:
    own, better, slower = (reached(stored, *given) for given in ((0, 0.8, 2.0), (1, 0.9, 1.0), (2, 0.9, 3.0)))
    assert replay_product.stopped(own, [better], stored) == {"stopped": pytest.approx(0.1)}
    assert replay_product.stopped(own, [slower], stored) is None
    assert replay_product.stopped(own, [], stored) is None


def test_one_in_three_goes_on_however_beaten(stored: replay_bank.Stored) -> None:
    best, second, third = (reached(stored, *given) for given in ((0, 0.9, 1.0), (1, 0.8, 2.0), (2, 0.7, 3.0)))
    waiting = {one.record.candidate.key: 2 for one in (second, third)}
    assert replay_product.goes_on({2: [best, second, third]}, waiting, stored) is None  # one of three: the best
    others = [reached(stored, place, 0.5, 9.0) for place in (3, 4, 5)]
    found = replay_product.goes_on({2: [best, second, third, *others]}, waiting, stored)
    assert found == second.record.candidate.key  # two of six
    assert replay_product.goes_on({2: [best, second, third, *others]}, {third.record.candidate.key: 2}, stored) is None


def test_a_search_stops_and_takes_up_again(stored: replay_bank.Stored) -> None:
    strategy = replay.strategies((2, 4))["tpe + rungs"]
    run = Search(stored, strategy, 0).until(trials=40)
    assert run.stopped >= 5
    trained = {r.candidate.key for r in run.records if r.end == "complete" and r.candidate.student != "identity"}
    assert run.trained == len(trained)
    left = {r.candidate.key for r in run.records if r.end == "stopped"}
    assert run.resumed >= len(left & trained) > 0


def test_the_chooser_proposes_what_the_bank_holds(stored: replay_bank.Stored) -> None:
    run = Search(stored, replay.strategies((2, 4))["tpe + chooser"], 0).until(trials=24)
    tried = [record.candidate.key for record in run.records]
    assert len(set(tried)) == 24 and set(tried) <= set(stored.points)
    search = Search(stored, replay.strategies((2, 4))["tpe + chooser"], 0)
    assert replay_product.device_aware(search) is None  # it knows nothing
    search.until(trials=12)
    chosen = replay_product.device_aware(search)
    assert chosen is not None and chosen.key not in search.tried
    trained = [r for r in search.run.records if r.candidate.student != "identity"]
    taken = [(r.seconds["distill"] + r.seconds["recover"], stored.points[r.candidate.key].train_s) for r in trained]
    assert all(ours == pytest.approx(theirs) for ours, theirs in taken)


def test_the_chooser_knows_figures_of_measured_files_only(
    stored: replay_bank.Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the files that were shipped, and of those that it pays a measurement for before it proposes them."""
    known = replay.strategies((2, 4))
    search = Search(stored, known["tpe + chooser"], 0)
    assert not any(replay_product.known_figures(point, search) for point in stored.students())
    paid = list[replay_bank.Point]()
    monkeypatch.setattr(search, "screen", lambda point: (paid.append(point), Search.screen(search, point)))
    run = search.until(trials=12)
    told = {point.file for point in stored.students() if replay_product.known_figures(point, search)}
    points = [stored.points[record.candidate.key] for record in run.records]
    shipped = {point.file for point in points if point.candidate.student != "identity"}
    bought = [point.file for point in paid]
    assert told == shipped | set(bought) and len(told) < len({point.file for point in stored.students()})
    assert 0 < len(bought) == len(set(bought)) <= SCREENED * 12
    made_s = sum(point.train_s + point.make_s + stored.measure_s for point in points)
    assert run.last.wall_s == pytest.approx(made_s + sum(point.twin_s + stored.screen_s for point in paid))
    before = Search(stored, known["all, every shape screened before"], 0)
    assert all(replay_product.known_figures(point, before) for point in stored.students())


def test_the_chooser_is_not_told_what_the_bank_holds(
    stored: replay_bank.Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It draws from the space like the product, and is met by the nearest like every sampler; one row is told."""
    lists = list[Any]()
    monkeypatch.setattr(replay_product, "propose", lambda known, _: lists.append(known.listed))
    known = replay.strategies((2, 4))
    for name in ("all", "all, choosing in the bank"):
        search = Search(stored, known[name], 0)
        assert search.strategy.choose is not None and search.strategy.choose(search) is None
    assert lists[0] is None and [one.key for one in lists[1]] == [one.candidate.key for one in stored.students()]


def test_a_shape_is_known_whatever_it_was_taught(stored: replay_bank.Stored) -> None:
    point = stored.students()[0]
    flat = {**point.candidate.flat(), "distill.temperature": 3.3}
    found = stored.of_shape(Candidate.of(flat, 0))
    assert found is not None and found.file == point.file
    assert stored.of_shape(Candidate.of({"student": "identity", "quantize.scheme": "none"}, 0)) is None
    assert stored.of_shape(Candidate.of({**flat, "prune.ratio": 0.77}, 0)) is None


def test_what_the_chooser_knows_to_be_served_is_not_trained_again(stored: replay_bank.Stored) -> None:
    strategy = replace(replay.strategies((2, 4))["all - rungs"], choose=replay_product.of_the_bank)
    run = Search(stored, strategy, 0).until(trials=60)
    by_number = {record.number: record for record in run.records}
    served = [record for record in run.records if record.trained_by is not None]
    assert any(record.number > record.trained_by + 4 for record in served)  # of a student trained long before
    for record in served:
        assert training(record.candidate) == training(by_number[record.trained_by].candidate)
    own = [training(record.candidate) for record in run.records if lends(record)]
    assert max(map(own.count, own)) <= 2  # after `harvest` others, or with a student whose files are gone


def test_what_a_larger_student_rules_out_is_refused(stored: replay_bank.Stored) -> None:
    points = {point.candidate.key: point for point in stored.students()}
    small = next(p for p in points.values() if dict(p.candidate.values)["convnet.width"] == 8 and p.recover_s == 0)
    larger = Candidate.of({**small.candidate.flat(), "convnet.width": 32}, 1)

    def seen(number: int, candidate: Candidate, accuracy: float, ms: float) -> TrialRecord:
        metrics = {**small.metrics, "accuracy": accuracy, "latency_p50_ms": ms, "energy_mj": ms / 10}
        return TrialRecord(number, candidate, "complete", metrics=metrics, measurement=small.measurement)

    holds = seen(0, larger, 0.6, 9.0)
    other = Candidate.of({**small.candidate.flat(), "convnet.stem_stride": 1, "convnet.depth": 1}, 2)
    fast = seen(1, other, 0.7, small.metrics["latency_p50_ms"] / 2)
    assert replay_product.dominated(small, [holds, fast], stored) == {"dominated": pytest.approx(0.7 - 0.62)}
    assert replay_product.dominated(small, [fast], stored) is None  # it might become as good as the teacher
    assert replay_product.dominated(small, [holds, seen(1, other, 0.61, 0.01)], stored) is None  # within the margin


def test_the_rungs_of_the_file_come_first(stored: replay_bank.Stored) -> None:
    assert replay.rungs_of(stored) == (2, 4)
    trials = stored.config.trials.model_copy(update={"rungs": [3]})
    config = stored.config.model_copy(update={"trials": trials})
    assert replay.rungs_of(replace(stored, config=config)) == (3,)
