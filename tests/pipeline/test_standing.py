"""The front and what was tried, from new records only: the same as from all."""

from __future__ import annotations

import numpy as np
from records_helper import make_record

from pipeline.pareto import front
from pipeline.record import TrialRecord
from pipeline.search.standing import Standing, felt
from search_spaces.candidate import Candidate

THREE = ("accuracy", "latency_p50_ms", "energy_mj")
TWO = ("accuracy", "latency_p50_ms")


def some(count: int, seed: int) -> list[TrialRecord]:
    """A search's own: of any kind and end, finals and repetitions among them."""
    chance = np.random.default_rng(seed)
    records = []
    for number in range(count):
        record = make_record(
            number,
            0.9 + chance.integers(9) / 100,
            float(chance.integers(1, 9)),
            float(chance.integers(1, 9)),
            scheme=str(chance.choice(["none", "fp16"])),
            kind=str(chance.choice(["modelled-generic", "measured"])),
            end=str(chance.choice(["complete", "complete", "complete", "failed", "stopped", "interrupted"])),
            parameters={"convnet.width": number},
        )
        final, same = (number - 1 if chance.random() < 0.1 else None for _ in range(2))
        records.append(record.with_(final_of=final, same_as=same))
    return records


def counting(records: list[TrialRecord]) -> list[TrialRecord]:
    return [record for record in records if record.counts and record.final_of is None]


def test_as_a_list_grows_it_says_what_the_whole_list_does() -> None:
    for seed in range(5):
        growing: list[TrialRecord] = []
        three, two = Standing(growing, THREE), Standing(growing, TWO)
        for record in some(40, seed):
            growing.append(record)
            assert three.front() == front(counting(growing), THREE)
            assert three.tried() == {each.candidate.key for each in growing if each.counts}
        assert two.front() == front(counting(growing), TWO)
        assert three.measured() == {felt(each.candidate) for each in counting(growing) if each.metrics}


def test_the_device_feels_no_training() -> None:
    flat = {"student": "convnet", "convnet.width": 8, "prune.ratio": 0.2, "quantize.scheme": "none"}
    taught = {"distill.epochs": 4, "prune.criterion": "magnitude", "prune.recovery_epochs": 1}
    assert felt(Candidate.of({**flat, **taught}, 0)) == felt(Candidate.of(flat, 7))
    assert felt(Candidate.of({**flat, "convnet.width": 16}, 0)) != felt(Candidate.of(flat, 0))


def test_a_stopped_record_that_was_gone_on_with_changes_nothing() -> None:
    records = [make_record(0), make_record(1, 0.99, 1.0, end="stopped", parameters={"convnet.width": 1})]
    standing = Standing(records, THREE)
    assert [record.number for record in standing.front()] == [0]
    records[1] = records[1].with_(continued_in=2)
    records.append(make_record(2, 0.99, 1.0).with_(candidate=records[1].candidate))
    assert standing.front() == front(counting(records), THREE)
    assert standing.tried() == {record.candidate.key for record in counting(records)}
