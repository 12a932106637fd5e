"""Which finals are missing, what they change, and how they are summed up."""

from __future__ import annotations

from pathlib import Path

import fakes
import pytest
import small_bench
import synthetic
from records_helper import make_record

from pipeline.config import FinalsConfig
from pipeline.errors import ConfigError
from pipeline.finals import _finalist, hours_spent, in_full, in_turn, missing_seeds
from pipeline.record import TrialRecord
from pipeline.search.deaths import given_up
from pipeline.spreads import in_full as of_record
from pipeline.spreads import spread_text, spreads
from pipeline.trial import run_trial
from search_spaces.candidate import Candidate


def final(number: int, of: int, seed: int, accuracy: float, end: str = "complete") -> TrialRecord:
    taught = make_record(of).candidate.values
    return make_record(number, accuracy, end=end).with_(final_of=of, candidate=Candidate(taught, seed))


def test_a_final_differs_in_epochs_and_seed_only() -> None:
    candidate = Candidate.of({"student": "bert", "distill.epochs": 1, "distill.temperature": 2.0}, 7)
    assert in_full(candidate, FinalsConfig(epochs=5), 9).flat() == {**candidate.flat(), "distill.epochs": 5}
    assert in_full(candidate, FinalsConfig(), 9).flat() == candidate.flat()
    assert in_full(candidate, FinalsConfig(), 9).seed == 9


def test_what_is_done_is_not_done_again() -> None:
    trial = make_record(4)
    first = trial.candidate.seed + 1000
    assert missing_seeds(trial, [trial], FinalsConfig(seeds=3)) == [first, first + 1000, first + 2000]
    records = [trial, final(8, 4, first, 0.9), final(9, 4, first + 1000, 0.9, end="failed"), final(10, 5, first, 0.9)]
    assert missing_seeds(trial, records, FinalsConfig(seeds=2)) == [first + 1000]
    deadly = given_up(12, final(12, 4, first + 1000, 0.9).candidate, 4).with_(final_of=4)  # it killed the process
    assert missing_seeds(trial, [*records, deadly], FinalsConfig(seeds=2)) == []
    waiting = final(11, 4, first + 1000, 0.9, end="pending")  # trained, and only its device is missing
    assert missing_seeds(trial, [*records, waiting], FinalsConfig(seeds=2)) == []


def test_finals_of_other_epochs_are_neither_done_nor_in_the_mean() -> None:
    """A quick look with `--epochs 2` stands in nobody's way, and is no part of what 50 epochs come to."""
    trial = make_record(4, 0.5)
    quick, whole = FinalsConfig(seeds=1, epochs=2), FinalsConfig(seeds=2, epochs=50)
    seed = trial.candidate.seed + 1000
    short = make_record(8, 0.7).with_(final_of=4, candidate=in_full(trial.candidate, quick, seed))
    assert missing_seeds(trial, [trial, short], quick) == []
    assert missing_seeds(trial, [trial, short], whole) == [seed, seed + 1000]
    long = make_record(9, 0.9).with_(final_of=4, candidate=in_full(trial.candidate, whole, seed))
    found = spreads([trial, short, long], "accuracy")
    assert found == {4: ([9], 0.9, None)}
    assert of_record(trial, found) == of_record(long, found) == found[4] and of_record(short, found) is None


def test_the_first_seed_of_all_comes_before_the_second_of_any() -> None:
    trials = [make_record(4), make_record(7)]
    done = final(8, 4, trials[0].candidate.seed + 1000, 0.9)
    order = in_turn(trials, [*trials, done], FinalsConfig(seeds=3))
    assert [(record.number, seed - record.candidate.seed) for record, seed in order] == [
        (7, 1000), (4, 2000), (7, 2000), (4, 3000), (7, 3000),
    ]  # fmt: skip


def test_hours_are_those_of_finals_however_they_ended() -> None:
    trial = make_record(4).with_(seconds={"distill": 9999.0})
    ended = [final(8, 4, 1, 0.9), final(9, 4, 2, 0.9, end="failed")]
    assert hours_spent([trial, *(one.with_(seconds={"distill": 1700.0, "measure": 100.0}) for one in ended)]) == 1.0


def test_mean_and_spread_by_finalist() -> None:
    records = [make_record(4, 0.5), final(8, 4, 1, 0.90), final(9, 4, 2, 0.92), final(10, 3, 1, 0.7)]
    found = spreads(records, "accuracy")
    assert found[4] == ([8, 9], pytest.approx(0.91), pytest.approx(0.02 / 2**0.5))
    assert found[3] == ([10], 0.7, None)  # one alone has no spread, which is not 0
    assert spread_text(found[4]) == " ±0.0141 (2)" and spread_text(found[3]) == " (1)"


def test_only_trained_students_have_finals() -> None:
    records = [make_record(0, student="identity"), make_record(1, end="failed"), final(2, 0, 1, 0.9)]
    for number, said in ((0, "teacher itself"), (1, "no complete trial 1"), (2, "no complete trial 2")):
        with pytest.raises(ConfigError, match=said):
            _finalist(number, records)


@pytest.mark.parametrize(("in_full", "end"), [(False, "failed"), (True, "complete")])
def test_a_final_may_take_longer_than_a_trial(in_full: bool, end: str, tmp_path: Path) -> None:
    config = synthetic.config(3, limits={"trials": 3, "trial_minutes": 1e-9})
    workspace = synthetic.workspace(tmp_path / "mlruns", config)
    workspace.make()
    bench = small_bench.bench(config, workspace, fakes.ScriptedTarget())
    bench.in_full = in_full
    record = run_trial(0, Candidate.of({"student": "identity", "quantize.scheme": "none"}, 0), bench)
    assert record.end == end
    assert in_full or "limits.trial_minutes" in str(record.reason)
