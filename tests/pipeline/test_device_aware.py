"""The sampler in a study: what it is told, what it proposes, and that a resumed search goes on the same way."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import synthetic

from pipeline.config import SearchConfig
from pipeline.harvest import training
from pipeline.metrics import yardstick
from pipeline.pareto import front, front_hypervolume
from pipeline.progress import Quiet
from pipeline.record import TrialRecord
from pipeline.search import knowledge, loop
from pipeline.search import study as studies
from pipeline.search.chooser import Goal, Pool, Seen, worth
from pipeline.search.knowledge import Figures, Known, promise, propose
from pipeline.search.pool import every
from pipeline.search.standing import Standing
from search_spaces import ImageInput, load
from search_spaces.candidate import Candidate

SPACE: dict[str, Any] = {
    "students": ["convnet"],
    "convnet": {"resolution": 16, "stem_stride": 1, "block": "plain"},
    "prune": {"ratio": 0},
    "quantize": {"scheme": ["none", "static_int8"], "per_channel": True},
}
DISTILL = {"temperature": 4, "soft_weight": 1, "hard_weight": 0, "hidden_weight": 0, "learning_rate": 0.001}
SPACE["distill"] = {**DISTILL, "augment": "none", "epochs": [4, 8, 16]}
WHOLE = load(SPACE, input=ImageInput(1, 16, 10), augmentations=["none"]).trained()
TEACHER = {"accuracy": 0.95, "latency_p50_ms": 10.0, "energy_mj": 40.0, "macs_m": 100.0, "size_mb": 4.0}


def config(**changes: Any) -> SearchConfig:
    named = {"name": "device_aware", "startup_trials": 3}
    objectives = ["accuracy", "latency_p50_ms", "energy_mj"]
    return synthetic.config(20, **{"space": SPACE, "sampler": named, "objectives": objectives, **changes})


def figures(candidate: Candidate) -> dict[str, float]:
    """Latency and energy follow the shape."""
    flat = candidate.flat()
    macs = float(flat["convnet.width"]) ** 1.5 * int(flat["convnet.depth"]) / 8
    fast = 0.5 if flat["quantize.scheme"] == "static_int8" else 1.0
    return {
        "latency_p50_ms": macs * fast / 10,
        "energy_mj": macs * fast / 3,
        "macs_m": macs,
        "size_mb": macs * fast / 40,
    }


def curve(accuracy: float, epochs: int) -> tuple[dict[str, float], ...]:
    """Of an accuracy that is reached in the end: the error of the first epoch is twice the last one's."""
    errors = [(1 - accuracy) * (1 + 1 / epoch - 1 / epochs) for epoch in range(1, epochs + 1)]
    return tuple({"epoch": epoch, "loss": 1.0, "rung_accuracy": 1 - error} for epoch, error in enumerate(errors, 1))


def record(number: int, candidate: Candidate, **changes: Any) -> TrialRecord:
    """More computation and more epochs are better."""
    found = figures(candidate)
    epochs = int(candidate.flat()["distill.epochs"])
    accuracy = 0.95 - 0.3 * found["macs_m"] ** -0.4 - 0.2 / epochs
    return TrialRecord(
        **{
            "number": number,
            "candidate": candidate,
            "end": "complete",
            "metrics": {"accuracy": accuracy, **found},
            "measurement": {"energy": {"kind": "measured", "boundary": "wall"}},
            "seconds": {"distill": 10.0 * epochs},
            "curve": curve(accuracy, epochs),
            **changes,
        }
    )


def at(**changes: Any) -> Candidate:
    """A candidate of the space by the axes that matter here."""
    flat = {"convnet.width": 16, "convnet.depth": 1, "convnet.stages": 2, "distill.epochs": 8, **changes}
    params = WHOLE.params_of({"student": "convnet", **flat})
    assert not isinstance(params, str), params
    return studies.candidate_of(params, WHOLE, 0)


def some(count: int, seed: int = 0) -> list[TrialRecord]:
    everything = list(every(WHOLE))
    order = np.random.default_rng(seed).permutation(len(everything))[:count]
    return [record(number, everything[place]) for number, place in enumerate(order)]


def known(
    records: Sequence[TrialRecord], told: Callable[[Candidate], Figures | None] = lambda _: None, **changes: Any
) -> Known:
    parts = {
        "space": WHOLE,
        "standing": Standing(records, config().objectives),
        "teacher": TEACHER,
        "chance": {"accuracy": 0.1},
        "figures": lambda candidates: [told(candidate) for candidate in candidates],
    }
    return Known(**{**parts, **changes})


def test_too_little_is_known_at_first() -> None:
    assert propose(known(some(2)), config()) is None
    assert propose(known(some(4)), config(sampler={"name": "device_aware", "startup_trials": 5})) is None
    assert propose(known(some(5)), config()) is not None


def test_refusals_tell_of_the_device_where_chance_finds_nothing_that_fits() -> None:
    """A budget that nearly all miss: it is learned from those it refused, not drawn at random to the end."""
    tight = config(budget={"latency_p50_ms": 1.2})
    refused = [one.with_(end="refused", violations={"latency_p50_ms": 0.5}) for one in some(60)]
    over = [one for one in refused if one.metrics["latency_p50_ms"] > 1.5]
    assert propose(known(over[:3]), tight) is None
    candidate = propose(known(over[:12]), tight)
    assert candidate is not None and figures(candidate)["latency_p50_ms"] <= 1.5
    one = record(90, at())
    assert propose(known([*over[:2], one]), tight) is not None  # two refusals are worth one student
    assert propose(known([over[0], one, one.with_(number=91, trained_by=90)]), tight) is None


def test_a_percentile_that_the_teacher_has_no_figure_of_counts_all_the_same() -> None:
    """Of a slow teacher there are too few calls for a 95th, of its students there are enough."""
    slow = config(objectives=["accuracy", "latency_p95_ms"])
    teacher = yardstick({name: value for name, value in TEACHER.items() if name != "energy_mj"})
    records = [
        one.with_(metrics={**one.metrics, "latency_p95_ms": 1.1 * one.metrics["latency_p50_ms"]}) for one in some(6)
    ]
    assert knowledge._names(slow, records, teacher) == ["latency_p95_ms"]
    own = {"accuracy": 0.95, "latency_p50_ms": 10.0}
    assert front_hypervolume(records, slow.objectives, own, {"accuracy": 0.1}) == pytest.approx(
        front_hypervolume(records, slow.objectives, {**own, "latency_p95_ms": 10.0}, {"accuracy": 0.1})
    )


def test_a_shape_is_known_whatever_it_was_taught() -> None:
    """The device feels no training; a figure of a disturbed machine gives way to one of a quiet one."""
    taught = at(**{"distill.epochs": 16})
    odd = {**figures(taught), "accuracy": 0.8, "latency_p50_ms": 7.7}
    records = [*some(6), record(6, taught, metrics=odd)]
    like = at(**{"distill.epochs": 4})
    (found,), (spread,) = knowledge._figures([like], ["latency_p50_ms"], records, known(records))["latency_p50_ms"]
    assert (2**found * 10.0, spread) == (pytest.approx(7.7), 0.0)
    disturbed = {"latency": {"unreliable": True}}
    records.append(
        record(7, at(**{"distill.epochs": 8}), metrics={**odd, "latency_p50_ms": 0.1}, measurement=disturbed)
    )
    (found,), _ = knowledge._figures([like], ["latency_p50_ms"], records, known(records))["latency_p50_ms"]
    assert 2**found * 10.0 == pytest.approx(7.7)
    wanted = list[str]()
    narrow = [at(**{"distill.epochs": epochs}) for epochs in (4, 8, 16)]
    learned = [record(n, one) for n, one in enumerate([*narrow[:2], *(each.candidate for each in some(6))])]
    assert propose(known(learned, **screening(wanted, {}), listed=[narrow[2]]), config()) == narrow[2] and not wanted


def test_a_figure_of_a_disturbed_machine_hides_no_region() -> None:
    """It is kept off the front, so it is no point of it here either."""
    names = ["latency_p50_ms", "energy_mj"]
    unreal = {**figures(at()), "accuracy": 0.94, "latency_p50_ms": 0.01, "energy_mj": 0.01}
    like = at(**{"convnet.width": 24})

    def gain(**changes: Any) -> float:
        records = [*some(6), *([record(6, at(), metrics=unreal, **changes)] if changes else [])]
        return float(promise([like], records, names, known(records, figures), config())[0])

    energy = {"kind": "measured", "boundary": "wall"}
    assert gain(measurement={"energy": energy}) < 0.1 * gain()
    assert gain(measurement={"energy": energy, "latency": {"unreliable": True}}) > 0.5 * gain()


def test_where_nothing_promises_anything_chance_decides() -> None:
    everything = list(every(WHOLE))
    hopeless = config(budget={"latency_p50_ms": 1e-6})
    records = some(8)
    for _ in range(3):  # among what is left, where that can be listed: nothing twice
        chosen, again = (propose(known(records, figures, listed=everything), hopeless) for _ in range(2))
        assert chosen is not None and chosen == again
        assert chosen.key not in {one.candidate.key for one in records}
        records = [*records, record(len(records), chosen)]


def test_no_candidate_twice_until_all_were_tried() -> None:
    narrow = load(
        {**SPACE, "convnet": {**SPACE["convnet"], "width": [8, 16], "stages": 2, "depth": 1}},
        input=ImageInput(1, 16, 10),
        augmentations=["none"],
    ).trained()
    records = [record(number, candidate) for number, candidate in enumerate(list(every(narrow))[:3])]
    while (candidate := propose(known(records, space=narrow), config())) is not None:
        records.append(record(len(records), candidate))
    keys = [one.candidate.key for one in records]
    assert len(keys) == len(set(keys)) == narrow.size() == 12


def test_the_same_records_give_the_same_candidate() -> None:
    once, again = (propose(known(some(6)), config()) for _ in range(2))
    assert once == again and once != propose(known(some(6, seed=1)), config())


def test_of_a_long_search_the_front_and_the_latest_students_teach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knowledge, "MOST", 20)
    records = some(60)
    records += [one.with_(number=60 + place, end="refused", metrics={}) for place, one in enumerate(some(10, seed=1))]
    seen = list[list[TrialRecord]]()

    def promise(pool: Sequence[Candidate], records: list[TrialRecord], *_: Any) -> np.ndarray:
        seen.append(records)
        return np.arange(len(pool), dtype=float)

    monkeypatch.setattr(knowledge, "promise", promise)
    assert propose(known(records), config()) is not None
    best = {record.number for record in front(records, config().objectives)}
    taught_by = [record.number for record in seen[0]]
    latest = [record.number for record in records[:60] if record.number not in best][len(best) - 20 :]
    assert taught_by == sorted(best | set(latest)) and len(taught_by) == 20


def test_it_finds_the_front_sooner_than_chance() -> None:
    def volume(records: Sequence[TrialRecord]) -> float:
        return front_hypervolume(records, config().objectives, TEACHER, {"accuracy": 0.1})

    for seed in range(3):
        records = some(4, seed)
        for number in range(4, 12):
            candidate = propose(known(records, figures), config(seed=seed))
            assert candidate is not None
            records.append(record(number, candidate))
        assert volume(records) > volume(some(24, seed))


def test_without_an_objective_of_the_device_the_best_quality_is_looked_for() -> None:
    qualities = config(objectives=["accuracy", "macro_f1"])
    records = some(4)
    for number in range(4, 12):
        candidate = propose(known(records, standing=Standing(records, qualities.objectives)), qualities)
        assert candidate is not None
        records.append(record(number, candidate))
    reached, by_chance = (max(one.metrics["accuracy"] for one in group) for group in (records, some(30)))
    assert reached >= by_chance


def test_what_is_surely_over_a_budget_is_not_proposed() -> None:
    limited = config(budget={"size_mb": 0.2})
    records = some(8)
    for number in range(8, 16):
        candidate = propose(known(records, figures), limited)
        assert candidate is not None and figures(candidate)["size_mb"] <= 0.2
        records.append(record(number, candidate))


def test_figures_of_a_measured_shape_win_over_predictions() -> None:
    """A shape that is known to cost next to nothing is proposed, whatever was predicted."""
    cheap = at(**{"convnet.width": 56, "convnet.depth": 3})

    def told(candidate: Candidate) -> Figures | None:
        return {"latency_p50_ms": 1e-4, "energy_mj": 1e-4} if candidate.key == cheap.key else None

    before, after = propose(known(some(6)), config()), propose(known(some(6), told), config())
    assert before != cheap and after is not None and after.key == cheap.key


def test_of_equal_promise_the_shorter_training_is_taken() -> None:
    rows, costs, sizes = np.array([[0.5], [-0.5]]), np.full((2, 1), -1.0), np.zeros((2, 0))
    seen = Seen(
        np.array([[1.0], [0.8], [-0.8], [-1.0]]), np.full((4, 1), -0.5), np.zeros((4, 0)),
        np.full(4, 0.7), np.array([100.0, 90.0, 11.0, 10.0]), np.ones(4, dtype=bool),
    )  # fmt: skip
    goal = Goal(np.zeros(1), 0.1, 0.1)
    gains = worth(Pool(rows, costs, sizes), seen, goal)
    assert gains[1] > 3 * gains[0]
    untimed = Seen(seen.rows, seen.costs, seen.sizes, seen.quality, np.full(4, math.nan), seen.whole)
    assert worth(Pool(rows, costs, sizes), untimed, goal)[1] == pytest.approx(
        worth(Pool(rows, costs, sizes), untimed, goal)[0]
    )
    # where no training was timed, what is known of one candidate's seconds cannot be set beside the others'
    told = Pool(rows, costs, sizes, seconds=np.array([20.0, math.nan]))
    assert worth(told, untimed, goal).tolist() == worth(Pool(rows, costs, sizes), untimed, goal).tolist()
    assert worth(told, seen, goal)[0] > 2 * gains[0] and worth(told, seen, goal)[1] == gains[1]


def test_costs_in_doubt_count_by_what_they_may_be() -> None:
    """A candidate that is probably beaten may still be fast; one that is certainly beaten adds nothing."""
    nothing = np.zeros((4, 0))
    rows, costs = np.linspace(-1, 1, 4)[:, None], np.full((4, 2), -3.0)
    seen = Seen(rows, costs, nothing, np.array([0.9, 0.9, 0.9, 0.9]), np.full(4, math.nan), np.ones(4, dtype=bool))
    goal = Goal(np.zeros(2), 0.1, 0.1)
    asked, behind = np.array([[-1.0], [-1.0], [-1.0]]), np.full((3, 2), -2.0)

    def gains(*doubts: float) -> list[float]:
        doubt = None if not doubts else np.tile(np.array(doubts)[:, None], 2)
        return worth(Pool(asked, behind, np.zeros((3, 0)), doubts=doubt), seen, goal).tolist()

    certain = gains()
    assert gains(0.0, 0.0, 0.0) == certain
    some_way, further = gains(0.0, 1.0, 2.0)[1:]
    assert max(certain) < 0.01 * some_way < 0.01 * further
    # By the rule's three nodes: what is won where costs are the root of three deviations less counts for a sixth.
    ahead = worth(Pool(asked, behind - math.sqrt(3), np.zeros((3, 0))), seen, goal)[1]
    assert some_way == pytest.approx(ahead / 6, rel=0.05)


def test_a_shape_that_may_be_fast_promises_more_than_its_prediction() -> None:
    """Predictions are sure of what is near to a measured shape only, so what is far from all is worth a look."""
    near = [at(**{"convnet.width": width, "distill.epochs": epochs}) for width in (8, 16) for epochs in (4, 8, 16)]
    records = [record(number, candidate) for number, candidate in enumerate(near)]
    names = ["latency_p50_ms", "energy_mj"]

    def gain(candidate: Candidate, told: Callable[[Candidate], Figures | None] = lambda _: None) -> float:
        return float(promise([candidate], records, names, known(records, told), config())[0])

    def as_predicted(candidate: Candidate) -> Figures:
        told = knowledge._figures([candidate], [*names, "macs_m"], records, known(records))
        return {name: TEACHER[name] * float(2 ** mean[0]) for name, (mean, _) in told.items()}

    far = at(**{"convnet.width": 64, "convnet.depth": 3, "convnet.stages": 3})
    assert gain(far) > 1.2 * gain(far, as_predicted)
    assert gain(near[0]) == pytest.approx(gain(near[0], as_predicted))  # it was measured


def test_a_stopped_student_teaches_and_is_no_point_of_the_front() -> None:
    """What its rung says counts for its like, who are proposed less or more; its own volume does not count."""
    stopped = at(**{"convnet.width": 32, "convnet.depth": 2, "distill.epochs": 16})
    like = at(**{"convnet.width": 24, "convnet.depth": 2, "distill.epochs": 16})

    def after(accuracy: float | None, cost: float = 1.0) -> float:
        rows = () if accuracy is None else ({"epoch": 1.0, "loss": 1.0, "rung_accuracy": accuracy},)
        metrics = {name: value * cost for name, value in figures(stopped).items()}
        left = record(6, stopped, end="refused", curve=rows, metrics=metrics, violations={"stopped": 0.5})
        records = [*some(6), left]
        return float(promise([like], records, ["latency_p50_ms", "energy_mj"], known(records, figures), config())[0])

    assert after(0.55) < 0.7 * after(0.75)
    # A point of the front that costs next to nothing would leave its like no volume to add.
    assert after(0.95, cost=1e-3) > 0.3 * after(None)


def screening(wanted: list[str], told: dict[str, Figures], reliable: bool = True) -> dict[str, Any]:
    """A search that measures untrained candidates, and keeps what it found in `told`."""

    def screen(candidate: Candidate) -> bool:
        wanted.append(candidate.key)
        told.update({candidate.key: figures(candidate)} if reliable else {})
        return reliable

    return {"told": lambda candidate: told.get(candidate.key), "screen": screen}


def test_what_is_about_to_be_proposed_is_measured_before() -> None:
    """It is proposed if it keeps its promise; what does not makes room for another."""
    wanted, told = list[str](), dict[str, Figures]()
    candidate = propose(known(some(6), **screening(wanted, told)), config())
    assert candidate is not None and 1 <= len(set(wanted)) == len(wanted) <= knowledge.SCREENED
    first = wanted[0]
    costly = {first: {**TEACHER, "latency_p50_ms": 1000.0, "energy_mj": 1000.0}}
    other = propose(known(some(6), lambda one: costly.get(one.key)), config())
    assert other is not None and other.key != first


def test_nothing_is_measured_before_short_trainings_or_twice() -> None:
    wanted = list[str]()
    short = [one.with_(seconds={"distill": 1.0}) for one in some(6)]
    assert propose(known(short, **screening(wanted, {})), config()) is not None and not wanted
    unreliable = propose(known(some(6), **screening(wanted, {}, reliable=False)), config())
    assert unreliable is not None and wanted == [unreliable.key]


def test_what_a_trained_student_serves_is_taken_where_it_promises_most_per_second() -> None:
    """Its own few seconds count, and it is not measured untrained; what promises nothing is not taken for cheapness."""
    records = [one.with_(seconds={"distill": 1000.0, "measure": 1.0}) for one in some(6)]
    best = max(records, key=lambda one: one.metrics["accuracy"])
    scheme = {"none": "static_int8", "static_int8": "none"}[str(best.candidate.flat()["quantize.scheme"])]
    flat = {**best.candidate.flat(), "quantize.scheme": scheme}
    if scheme == "none":
        flat.pop("quantize.per_channel")
    else:
        flat["quantize.per_channel"] = True
    served = Candidate.of(flat, 0)
    lend = {training(best.candidate): best}
    wanted = list[str]()
    parts = screening(wanted, {})
    assert propose(known(records, **parts, lenders=lambda: lend), config()).key == served.key and not wanted
    other = propose(known(records, **parts), config())
    assert other is not None and other.key != served.key
    worthless = {served.key: {name: 2 * value for name, value in TEACHER.items()}}
    third = propose(known(records, lambda one: worthless.get(one.key), lenders=lambda: lend), config())
    assert third is not None and third.key != served.key


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store_in: Any) -> Callable[..., list[TrialRecord]]:
    def run(number: int, candidate: Candidate, *_: Any, **__: Any) -> TrialRecord:
        if number == 4:
            return record(number, candidate, end="refused", metrics=figures(candidate), violations={"size_mb": 0.4})
        return record(number, candidate)

    monkeypatch.setattr(loop, "run_trial", run)
    monkeypatch.setattr(loop, "learned", lambda *_: False)
    monkeypatch.setattr(loop, "write_front", lambda *_: [])

    def search(count: int, place: str = "one") -> list[TrialRecord]:
        store_in(tmp_path / place)
        settings = config(recipes="none", limits={"trials": count}, budget={"size_mb": 2.0})
        result = loop.run_search(settings, synthetic.workspace(tmp_path / place, settings), Quiet(), prepare=bench)
        return list(result.report.records)

    return search


def bench(settings: SearchConfig, workspace: Any, *_: Any) -> Any:
    made = synthetic.bench(settings, workspace)
    made.teacher_metrics = {**made.teacher_metrics, **TEACHER}
    return made


def test_the_time_of_measuring_to_choose_stands_in_the_trial_it_led_to(
    go: Callable[..., list[TrialRecord]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(*_: Any) -> bool:
        time.sleep(0.05)
        return False

    monkeypatch.setattr(loop, "learned", look)
    records = go(14)
    chosen = [one for one in records if one.seconds.get("screen", 0.0) >= 0.05]
    assert len(chosen) >= 3
    first = min(one.number for one in chosen)
    assert first == 3 and all("screen" not in one.seconds for one in records[:first])


def test_a_resumed_search_goes_on_as_if_it_had_not_stopped(go: Callable[..., list[TrialRecord]]) -> None:
    go(7, "cut")
    resumed = [one.candidate.key for one in go(10, "cut")]
    straight = [one.candidate.key for one in go(10, "whole")]
    assert resumed[7:] == straight[7:] and len(set(straight)) == 10
