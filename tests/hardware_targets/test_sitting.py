"""Several processes as one session, and raw blocks to a file and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fakes
import numpy as np
import pytest

from hardware_targets import _sitting
from hardware_targets._block_file import read_blocks, write_blocks
from hardware_targets._blocks import Record, Times, latency, pooled, resolution
from hardware_targets._plan import FIRST_LOOK, PROCESSES, budget_s, plan_for


def record(
    seed: int,
    *,
    twin: float | None = None,
    voided: int = 0,
    slow: float = 1.0,
    noise: float = 0.01,
    ratio: float = 1.2,
) -> Record:
    """Two rounds of four sets; the candidate takes 1.2 times the reference's time."""
    generator = np.random.default_rng(seed)

    def side(factor: float) -> Times:
        values = 1e6 * slow * factor * np.exp(noise * generator.standard_normal((2, 4, 3)))
        return Times(values, values, values < 0, alike=True)

    sides = (side(ratio), side(1.0), *([side(twin)] if twin else []))
    return Record(
        sides, (1.0, 2.0), 100, 10, True, rounds=2, voided=voided, reasons={"steal": voided} if voided else {}
    )


def sit(
    tier: str, records: list[Record], monkeypatch: pytest.MonkeyPatch, known_ms: float = 2.0
) -> tuple[Record, list[Mapping[str, Any]]]:
    jobs: list[Mapping[str, Any]] = []

    def run_child(job: Mapping[str, Any], **_: object) -> tuple[dict[str, Any], Record]:
        jobs.append(job)
        shape = {"sets": [[0]], "blocks": 3}
        return {"shape": shape, "conditions": fakes.conditions().to_json()}, records[len(jobs) - 1]

    monkeypatch.setattr(_sitting, "run_child", run_child)
    job = {"tier": tier, "known_ms": {"1": known_ms}, "seed": 7}
    _, found = _sitting.sit(job, {"counter": "c"}, threads=1, time_limit_s=9.0, counting_s=0.0)
    return found, jobs


def test_a_final_takes_fresh_processes_of_one_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    found, jobs = sit("final", [record(seed, noise=0.05) for seed in range(PROCESSES)], monkeypatch)
    assert len(jobs) == PROCESSES
    assert ["counter" in job for job in jobs] == [True, *[False] * (PROCESSES - 1)]
    assert all(job["shape"] == {"sets": [[0]], "blocks": 3} for job in jobs[1:])
    assert jobs[1]["known_ms"] == {"1": pytest.approx(1.0, rel=0.1)}  # faster than what was known
    _, aware = sit("final", [record(seed, noise=0.01) for seed in range(PROCESSES)], monkeypatch, known_ms=0.97)
    assert aware[-1]["known_ms"] == {"1": 0.97}
    _, in_vain = sit("final", [record(seed, noise=0.01) for seed in range(PROCESSES)], monkeypatch, known_ms=0.5)
    assert in_vain[0]["known_ms"] == {"1": 0.5} and in_vain[1]["known_ms"] == {"1": pytest.approx(1.0, rel=0.1)}
    assert len({job["seed"] for job in jobs}) == PROCESSES  # no order of the sides is in all of them
    assert found.rounds == 2 * PROCESSES
    assert found.sides[0].counted.shape == (2 * PROCESSES, 4, 3)


def test_it_ends_when_it_is_precise_and_a_trial_takes_one(monkeypatch: pytest.MonkeyPatch) -> None:
    steady = [record(seed, noise=0.0001) for seed in range(PROCESSES)]
    assert len(sit("final", steady, monkeypatch)[1]) == FIRST_LOOK
    assert len(sit("trial", steady, monkeypatch)[1]) == 1


def test_processes_that_were_void_throughout_do_not_count() -> None:
    good, bad = record(0), record(1, voided=2, slow=1.07)
    both = pooled([good, bad])
    assert (both.rounds, both.voided, both.reasons) == (4, 2, {"steal": 2})
    assert both.sides[0].counted.shape[0] == 2
    assert latency(both).unreliable
    assert pooled([bad, bad]).sides[0].counted.shape[0] == 4


def test_each_process_gives_one_ratio_and_their_scatter_the_interval() -> None:
    """A model that lies badly in one process's memory is slow in all its rounds: no stretch of them shows it."""
    found = latency(pooled([record(seed, ratio=1.2 * (1.01 if seed % 2 else 0.99), noise=1e-4) for seed in range(8)]))
    assert found.ratio == pytest.approx(1.2, rel=1e-3)
    assert math.log(found.ratio_high / found.ratio) == pytest.approx(
        2.517 * 0.01 * math.sqrt(8 / 7) / math.sqrt(8), rel=0.02
    )
    assert found.ratio == pytest.approx(found.median_ms / found.reference_median_ms)
    slower = latency(pooled([record(seed, slow=1 + 0.05 * (seed % 2), noise=1e-4) for seed in range(8)]))
    assert slower.ratio_high / slower.ratio_low < 1.001  # a machine that is slower for both sides cancels in each


def test_a_process_that_never_met_the_machines_speed_is_left_out() -> None:
    busy = record(9, slow=1.2, ratio=1.5, noise=1e-3)
    found = latency(pooled([*(record(seed, noise=1e-3) for seed in range(7)), busy]))
    assert found.ratio == pytest.approx(1.2, rel=0.002)
    few = latency(pooled([*(record(seed, noise=1e-3) for seed in range(3)), busy]))
    assert few.ratio > 1.22 and not few.conclusive  # too few would be left: all count, and the interval says so
    assert few.ratio_low < 1.2 < few.ratio_high


def test_the_resolution_is_the_interval_unless_two_copies_differ_by_more() -> None:
    assert resolution(pooled([record(seed) for seed in range(4)])) is None
    alike = pooled([record(seed, twin=1.2) for seed in range(8)])
    assert resolution(alike) == alike.log_ratio()[1]
    apart = pooled([record(seed, twin=1.2 * 1.05) for seed in range(8)])
    told = resolution(apart)
    assert told is not None and told > math.log(1.05) > 2 * apart.log_ratio()[1]
    assert latency(apart).conclusive  # the ratio is known; what it may be compared with is another matter


def test_raw_blocks_come_back(tmp_path: Path) -> None:
    written = record(3, twin=1.0, voided=1)
    write_blocks(written, tmp_path / "blocks.npz")
    found = read_blocks(tmp_path / "blocks.npz")
    assert latency(found) == latency(written)
    assert found.jitter_ms == written.jitter_ms and found.reasons == {"steal": 1}
    several = pooled([record(seed, twin=1.0) for seed in range(5)])
    assert len(several.jitter_ms) == 5 * len(written.jitter_ms)  # percentiles are over the calls of all processes
    write_blocks(several, tmp_path / "blocks.npz")
    assert read_blocks(tmp_path / "blocks.npz").processes == (2, 2, 2, 2, 2)
    assert latency(read_blocks(tmp_path / "blocks.npz")) == latency(several)


def test_what_the_tiers_may_take() -> None:
    assert [budget_s(tier, 12.0) for tier in ("screen", "trial", "final")] == [1.8, 12.0, 40.0]  # type: ignore[arg-type]
    assert budget_s("final", 1.5) == pytest.approx(5.0)
    assert plan_for("final", 40.0, None).budget_s * PROCESSES == 40.0
    assert plan_for("screen", 1.8, 1.0).patience == 1.0
    assert (
        plan_for("screen", 1.8, over=1.05).stretch_s
        < plan_for("screen", 1.8).stretch_s
        == plan_for("trial", 12.0).stretch_s
    )
    caps = [plan_for(tier, budget_s(tier, 12.0)).warmup_cap_s for tier in ("screen", "trial", "final")]  # type: ignore[arg-type]
    assert caps == [1.0, 2.0, 2.0]
    assert plan_for("final", 4.0).warmup_cap_s == plan_for("final", 4.0).budget_s  # warming up no longer than timing
    longest = [plan_for(tier, budget_s(tier, 12.0)).jitter_s for tier in ("screen", "trial", "final")]  # type: ignore[arg-type]
    assert longest == [0.3, 3.0, 1.25]  # so that a trial of a 20 ms model has the 130 calls of a 95th percentile
    assert plan_for("screen", 1.8).half_width > plan_for("trial", 12.0).half_width == plan_for("final", 40.0).half_width
