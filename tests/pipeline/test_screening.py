"""Untrained twins: measured once per shape and device, refused over a budget before any epoch."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fakes import ScriptedTarget

from hardware_targets import DeviceAway, Energy, Unmeasured
from pipeline import screening
from pipeline.config import TargetConfig, TrialsConfig
from pipeline.errors import Failed, Refused
from pipeline.modelled import no_model
from pipeline.record import TrialRecord
from pipeline.rungs import Peers
from pipeline.screening import (
    device_key,
    drifted,
    known_figures,
    learned,
    noise,
    screen,
    screened,
    untrained_figures,
)
from pipeline.workspace import Workspace
from search_spaces import load_family
from search_spaces.candidate import Candidate

FLAT: Mapping[str, Any] = {
    "student": "convnet",
    "convnet.resolution": 8,
    "convnet.stem_stride": 1,
    "convnet.stages": 2,
    "convnet.width": 16,
    "convnet.depth": 1,
    "convnet.block": "plain",
    "distill.epochs": 4,
    "prune.ratio": 0.0,
    "quantize.scheme": "none",
}


@pytest.fixture
def bench(task: Any, tmp_path: Path) -> Any:
    workspace = Workspace(tmp_path, "screened")
    reference = tmp_path / "reference.onnx"
    reference.write_bytes(b"the teacher")
    feeds = task.feeds("validation", {"input_size": 8}, 5)
    return SimpleNamespace(
        config=SimpleNamespace(seed=0, budget={"latency_p50_ms": 5.0, "accuracy": 0.9}, target=TargetConfig()),
        workspace=workspace,
        task=task,
        target=ScriptedTarget(latency_ms=4.0, reference_ms=8.0),
        families={"convnet": load_family("convnet")},
        input=task.task_input(),
        reference=SimpleNamespace(path=reference, sha256="a" * 64),
        chance={"accuracy": 0.1},
        energy=no_model,
        teacher_latency_ms=8.0,
        timing_feeds=lambda _: feeds,
        preprocessing_ms=lambda _: 0.5,
        calibration=lambda _: [],
        example=lambda shape: next(iter(task.batches("validation", task.view(shape)).in_order(1))).inputs,
    )


def candidate(**changes: Any) -> Candidate:
    return Candidate.of({**FLAT, **changes}, 0)


def test_a_known_shape_is_not_measured_again(bench: Any, tmp_path: Path) -> None:
    first, _ = untrained_figures(candidate(), bench, tmp_path)
    # other lessons and another seed change no weight's place
    again, artifact = untrained_figures(Candidate.of({**FLAT, "distill.epochs": 9}, 5), bench, tmp_path)
    assert again == first and artifact.macs > 0 and artifact.size_bytes > 0
    assert [verb for verb, _ in bench.target.calls] == ["measure"]
    assert not list(tmp_path.glob("*untrained*")) and not list(tmp_path.glob("*.part"))


def test_a_known_shape_has_the_energy_of_this_study_s_model(bench: Any, tmp_path: Path) -> None:
    untrained_figures(candidate(), bench, tmp_path)
    energy = Energy(7.0, 6.0, 8.0, kind="modelled-calibrated", boundary="wall", meter="a table", source="by hand")
    bench.energy = lambda *_, **__: energy
    again, _ = untrained_figures(candidate(), bench, tmp_path)
    (known,) = known_figures([candidate()], bench)
    assert again.energy == energy and known is not None and known["energy_mj"] == 7.0
    assert [verb for verb, _ in bench.target.calls] == ["measure"]


def test_known_figures_are_told_without_measuring(bench: Any, tmp_path: Path) -> None:
    like, other = candidate(**{"distill.epochs": 9}), candidate(**{"convnet.width": 24})
    identity = Candidate.of({"student": "identity", "quantize.scheme": "none"}, 0)
    assert known_figures([like, other], bench) == [None, None]
    untrained_figures(candidate(), bench, tmp_path)
    told, unknown, never = known_figures([like, other, identity], bench)
    assert told is not None and told["latency_p50_ms"] == pytest.approx(4.0) and told["macs_m"] > 0
    assert unknown is None and never is None
    assert [verb for verb, _ in bench.target.calls] == ["measure"]
    bench.target.threads = 2
    assert known_figures([like], bench) == [None]


def test_of_a_device_that_is_away_nothing_is_known(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sampler asks in the midst of a search, which goes on without the device."""
    untrained_figures(candidate(), bench, tmp_path)

    def away() -> Any:
        raise DeviceAway("the device pi does not answer")

    monkeypatch.setattr(bench.target, "conditions", away)
    assert known_figures([candidate(), candidate(**{"convnet.width": 24})], bench) == [None, None]


def test_candidates_that_differ_in_their_training_are_looked_up_once(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    untrained_figures(candidate(), bench, tmp_path)
    usual, read = screening._read, list[Path]()
    monkeypatch.setattr(screening, "_read", lambda stored, *rest: read.append(stored) or usual(stored, *rest))
    found = known_figures([candidate(**{"distill.epochs": epochs}) for epochs in range(1, 9)], bench)
    assert len(read) == 1 and len(found) == 8 and found[0] is not None and found[0] == found[7]


def test_what_was_measured_before_a_drift_is_measured_again(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, since = bench.target.conditions, ["2026-11-27T16:00:00"]
    monkeypatch.setattr(bench.target, "conditions", lambda: replace(usual(), qualified_at=since[0]))
    for _ in range(2):
        untrained_figures(candidate(), bench, tmp_path)
    assert len(bench.target.calls) == 1
    since[0] = "2026-11-27T16:30:00"
    for _ in range(2):
        found, _ = untrained_figures(candidate(), bench, tmp_path)
    assert len(bench.target.calls) == 2 and found.conditions.qualified_at == since[0]


def test_what_changes_the_device_figures_changes_the_key(bench: Any) -> None:
    keys = {
        device_key(candidate(**changes), bench)
        for changes in (
            {},
            {"convnet.width": 24},
            {"quantize.scheme": "fp16"},
            {"prune.ratio": 0.5, "prune.round_to": 8, "prune.criterion": "magnitude", "prune.recovery_epochs": 1},
        )
    }
    assert len(keys) == 4
    pruned = {"prune.ratio": 0.5, "prune.round_to": 8, "prune.criterion": "taylor", "prune.recovery_epochs": 3}
    assert device_key(candidate(**pruned), bench) in keys  # which channels go changes weights only
    bench.target.threads = 2
    assert device_key(candidate(), bench) not in keys
    bench.target.threads, bench.reference.sha256 = 1, "b" * 64
    assert device_key(candidate(), bench) not in keys


def test_over_budget_is_refused_with_its_figures_and_unknown_quality(bench: Any, tmp_path: Path) -> None:
    screen(candidate(), bench, tmp_path)
    bench.config.budget = {"latency_p50_ms": 2.0, "accuracy": 0.9}
    with pytest.raises(Refused, match=r"over budget before training: .*latency_p50_ms") as caught:
        screen(candidate(), bench, tmp_path)
    assert caught.value.violations["latency_p50_ms"] == pytest.approx(1.0)
    assert caught.value.violations["accuracy"] == 0.0 and caught.value.metrics["accuracy"] == 0.1
    assert [verb for verb, _ in bench.target.calls] == ["measure"]


def _unmeasured(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A screen that reads no counter and has too few calls for a percentile."""
    usual = bench.target.measure

    def short(*args: Any, **kwargs: Any) -> Any:
        found = usual(*args, **kwargs)
        latency = replace(found.latency, p90_ms=None, p95_ms=None, p99_ms=None)
        return replace(found, energy=Unmeasured("not in a screen"), latency=latency)

    monkeypatch.setattr(bench.target, "measure", short)


def test_what_a_screen_has_no_figure_for_refuses_nobody(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _unmeasured(bench, monkeypatch)
    bench.config.budget = {"energy_mj": 1.0, "latency_p99_ms": 4.0}
    twin = screen(candidate(), bench, tmp_path)
    assert twin is not None and not twin.metrics.keys() & bench.config.budget.keys()
    bench.config.budget = {"energy_mj": 1.0, "latency_p50_ms": 2.0}
    with pytest.raises(Refused, match="over budget before training: latency_p50_ms 4 ms") as caught:
        screen(candidate(), bench, tmp_path)
    assert caught.value.violations == {"energy_mj": 0.0, "latency_p50_ms": pytest.approx(1.0)}


@pytest.mark.parametrize("name", ["latency_p90_ms", "latency_p95_ms", "latency_p99_ms"])
def test_a_percentile_that_is_not_known_is_the_median_at_least(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Slow models are those with too few calls for a percentile, and those that a budget on one is against."""
    _unmeasured(bench, monkeypatch)
    bench.config.budget = {name: 2.0}
    with pytest.raises(Refused) as caught:
        screen(candidate(), bench, tmp_path)
    figure = f"over budget before training: {name} 4 ms (100 % over 2)"
    assert str(caught.value) == f"{figure}; of {name} only the median is known, and it cannot be less"
    assert caught.value.violations == {name: pytest.approx(1.0)}
    assert name not in caught.value.metrics


@pytest.mark.parametrize(
    ("limits", "ratio"),
    [
        ({"latency_p50_ms": 4.0}, 0.5),
        ({"latency_p95_ms": 2.0}, 0.25),
        ({"latency_ratio": 0.1, "latency_p50_ms": 4.0}, 0.1),
        ({"speedup": 20.0, "size_mb": 1.0}, 0.05),
        ({"size_mb": 1.0, "energy_mj": 3.0}, None),
        ({}, None),
    ],
)
def test_a_screen_need_not_go_on_beyond_what_surely_misses_a_budget(
    bench: Any, tmp_path: Path, limits: dict[str, float], ratio: float | None
) -> None:
    """Times are over the teacher's 8 ms; with the margin within which nobody is refused."""
    bench.config.budget = {**limits, "accuracy": 0.9}
    with suppress(Refused):
        screen(candidate(), bench, tmp_path, always=True)
    assert bench.target.over == (None if ratio is None else pytest.approx(1.05 * ratio))


def test_a_figure_that_was_left_as_it_was_over_a_limit_is_no_other_limits(bench: Any, tmp_path: Path) -> None:
    """Half of the teacher's time, where a fifth was allowed, then a fourth, a tenth, three fourths and nothing said."""
    measured = []
    for budget in ({"speedup": 5.0}, {"speedup": 4.0}, {"speedup": 10.0}, {"speedup": 4 / 3}, {}, {"speedup": 4.0}):
        bench.config.budget = budget
        known = known_figures([candidate()], bench)[0] is not None
        before = len(bench.target.calls)
        untrained_figures(candidate(), bench, tmp_path)
        measured.append(len(bench.target.calls) - before)
        assert known == (not measured[-1])
    assert measured == [1, 1, 0, 1, 0, 0]


def test_what_may_be_within_its_budget_is_trained(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = bench.target.measure

    def vague(*args: Any, **kwargs: Any) -> Any:
        found = usual(*args, **kwargs)
        low, high = found.latency.ratio / 1.25, found.latency.ratio * 1.25
        return replace(found, latency=replace(found.latency, ratio_low=low, ratio_high=high))

    monkeypatch.setattr(bench.target, "measure", vague)
    bench.config.budget = {"latency_p50_ms": 3.3}  # 21 % over, and the ratio is known to 25 %
    twin = screen(candidate(), bench, tmp_path)
    assert twin is not None and noise(twin) == pytest.approx(0.25)
    bench.config.budget = {"latency_p50_ms": 3.1}
    with pytest.raises(Refused, match=r"latency_p50_ms 4 ms \(29 % over 3\.1\)"):
        screen(candidate(), bench, tmp_path)
    bench.config.budget = {"peak_memory_mb": twin.metrics["peak_memory_mb"] / 1.2}  # memory is not timed
    with pytest.raises(Refused, match="peak_memory_mb"):
        screen(candidate(), bench, tmp_path)


def test_without_a_device_budget_figures_are_had_only_where_they_are_wanted(bench: Any, tmp_path: Path) -> None:
    bench.config.budget = {"accuracy": 0.9}
    assert screen(candidate(), bench, tmp_path) is None and not bench.target.calls
    twin = screen(candidate(), bench, tmp_path, always=True)
    assert twin is not None and twin.metrics["latency_p50_ms"] == pytest.approx(4.0)


def test_what_is_certainly_dominated_is_refused_under_a_constraint_of_its_own(bench: Any, tmp_path: Path) -> None:
    bench.config.trials = TrialsConfig(refuse_dominated=True)
    bench.config.objectives, bench.teacher_metrics = ["accuracy", "latency_p50_ms"], {"accuracy": 0.95}
    holder = TrialRecord(0, candidate(**{"convnet.width": 32}), "complete")
    better = TrialRecord(1, candidate(**{"convnet.block": "separable", "convnet.width": 8}), "complete")
    peers = [
        holder.with_(metrics={"accuracy": 0.7, "latency_p50_ms": 9.0}),
        better.with_(metrics={"accuracy": 0.8, "latency_p50_ms": 3.0}),
    ]
    found: dict[str, Any] = {}
    with pytest.raises(Refused, match="certainly dominated: trial 1 is no worse") as caught:
        screened(candidate(), bench, tmp_path, found, Peers(peers))
    assert caught.value.violations == {
        "latency_p50_ms": pytest.approx(-0.2), "accuracy": 0.0, "dominated": pytest.approx(0.05)
    }  # fmt: skip
    assert caught.value.metrics["accuracy"] == 0.1 and found["screened"]["latency_p50_ms"] == pytest.approx(4.0)
    assert screened(candidate(), bench, tmp_path, found, Peers(peers[:1])) is not None
    bench.config.trials = TrialsConfig(refuse_dominated=True, dominated_margin=0.1)
    assert screened(candidate(), bench, tmp_path, found, Peers(peers)) is not None
    bench.config.trials = TrialsConfig(rungs=[1])
    assert screened(candidate(), bench, tmp_path, found, Peers(peers)) is not None
    assert [verb for verb, _ in bench.target.calls] == ["measure"]


def test_a_shipped_file_that_is_not_like_its_twin_is_told() -> None:
    found = {"screened": {"latency_p50_ms": 2.0, "size_mb": 1.0}, "metrics": {"latency_p50_ms": 2.2, "size_mb": 1.01}}
    assert drifted(found, ["accuracy", "latency_p50_ms", "size_mb"]) == [
        "latency_p50_ms is 2.2 ms where the untrained twin had 2 ms"
    ]
    assert drifted({"metrics": {"latency_p50_ms": 2.2}}, ["latency_p50_ms"]) == []


def test_an_unreliable_figure_is_not_kept(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = bench.target.measure

    def disturbed(*args: Any, **kwargs: Any) -> Any:
        found = usual(*args, **kwargs)
        return replace(found, latency=replace(found.latency, rounds=10, voided_rounds=9, void_reasons=("steal",)))

    monkeypatch.setattr(bench.target, "measure", disturbed)
    for _ in range(2):
        untrained_figures(candidate(), bench, tmp_path)
    assert [verb for verb, _ in bench.target.calls] == ["measure", "measure"]


def test_an_unreliable_figure_refuses_nobody(bench: Any, tmp_path: Path) -> None:
    """A refusal is for good, and a trial that was timed so badly is timed again; what is counted still decides.

    At a rung it is compared all the same: who is stopped there may go on later, and a busy host is busy for hours.
    """
    bench.target.void, bench.teacher_metrics = 15, {"accuracy": 0.5}
    bench.config.objectives, found = ["accuracy", "latency_p50_ms"], dict[str, Any]()
    for name, limit in (("latency_p50_ms", 3.0), ("speedup", 1000.0)):
        bench.config.budget = {name: limit}
        peers = Peers([TrialRecord(0, candidate(), "complete", metrics={"accuracy": 1.0, "latency_p50_ms": 0.1})])
        bench.config.trials = TrialsConfig(refuse_dominated=True)
        assert screened(candidate(), bench, tmp_path, found, peers) is not None
    assert (
        found["screened"]["latency_p50_ms"] == pytest.approx(4.0)
        and "timed on a disturbed machine" in found["notes"][0]
    )
    bench.config.budget = {"latency_p50_ms": 3.0, "size_mb": 0.001}
    with pytest.raises(Refused, match=r"over budget before training: size_mb [^,]*$"):
        screened(candidate(), bench, tmp_path, found)
    bench.target.void, bench.config.budget = 0, {"latency_p50_ms": 3.0}
    with pytest.raises(Refused, match="latency_p50_ms 4 ms"):
        screened(candidate(), bench, tmp_path, found)


def test_whether_a_measurement_made_figures_known(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual, error = bench.target.measure, list[Exception]()

    def broken(*args: Any, **kwargs: Any) -> Any:
        if error:
            raise error[0]
        found = usual(*args, **kwargs)
        return replace(found, latency=replace(found.latency, rounds=10, voided_rounds=9, void_reasons=("steal",)))

    assert learned(candidate(), bench, tmp_path)
    monkeypatch.setattr(bench.target, "measure", broken)
    other = candidate(**{"convnet.width": 24})
    assert learned(candidate(), bench, tmp_path) and not learned(other, bench, tmp_path)
    for one in (DeviceAway("the board is gone"), Refused("too small"), Failed("no export")):
        error[:] = [one]
        assert not learned(other, bench, tmp_path)
    assert known_figures([other], bench) == [None] and not list(tmp_path.glob("*untrained*"))
