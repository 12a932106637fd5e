"""The benchmark of the chooser on a small grid of its own: what it counts, and that every sampler gets there."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import optuna
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import mobile_grids
import tabular_truth
from mobile_grids import Grid

from search_spaces.candidate import Candidate

MODELS = [
    *(f"mobilenet-v1-{width}-{size}-{kind}" for width in ("0.25", "0.5", "1.0") for size in (128, 224)
      for kind in ("quantized", "non-quantized")),
    *(f"mobilenet-v2-{width}-{size}-quantized" for width in ("0.35", "1.0") for size in (96, 160)),
    "mobilenet-v2-1.4-224-non-quantized", "mobilenet-v3-small-minimalistic_224_1.0_uint8",
    "mobilenet-v3-large_224_1.0_float", "mobilenet-v3-large_224_1.0_uint8",
]  # fmt: skip


@pytest.fixture(scope="module")
def grid() -> Grid:
    """Time and accuracy follow the multiply-accumulates; 8 bits are twice as fast and a little worse."""
    networks = [mobile_grids.mlperf_rows.network(model) for model in MODELS]
    macs = np.array([mobile_grids.mobile_macs.macs_m(name) for name, _ in networks])
    eight = np.array([precision == "int8" for _, precision in networks])
    late = np.array(["v3-large" in model for model in MODELS])
    accuracy = 0.8 - 0.9 * macs**-0.3 - 0.02 * eight + 0.08 * late
    latency = (macs + 5) ** 0.9 * np.where(eight, 0.5, 1.0)
    return mobile_grids.grid("made up", MODELS, latency, latency**1.1, accuracy, 0.001)


def test_every_network_has_its_own_place_in_tree_and_box(grid: Grid) -> None:
    assert len(grid.params) == len(MODELS) == grid.space.size()
    assert [grid.place(Candidate.of(flat, 3)) for flat in grid.flats] == list(range(len(MODELS)))
    assert len({json.dumps(params) for params in grid.box_params}) == len(MODELS)
    everything = list(range(len(MODELS)))
    assert [grid.nearest(params, everything) for params in grid.box_params] == everything


def test_points_that_are_known_to_be_no_use_add_nothing(grid: Grid) -> None:
    assert grid.reference not in grid.useful and 0 < len(grid.useful) < len(MODELS)
    everything = range(len(MODELS))
    assert grid.volume(grid.useful) == pytest.approx(grid.volume(everything))


@pytest.mark.parametrize("name", [name for name in tabular_truth.RUNS if not name.startswith("gp")])
def test_every_sampler_gets_there_by_distinct_points_of_use(grid: Grid, name: str) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        found = tabular_truth.RUNS[name](grid, 1)
    assert len(set(found.points)) == len(found.points) and set(found.points) <= set(grid.useful)
    at_95, at_99 = found.needed
    assert 1 <= at_95 <= at_99 == len(found.points)
    assert np.diff(found.shares).min() > -1e-9 and found.shares[-1] >= 0.99 > found.shares[-2]


def test_the_chooser_needs_less_than_chance_and_more_than_the_oracle(grid: Grid) -> None:
    ours = [tabular_truth.RUNS["chooser"](grid, seed).needed[1] for seed in range(3)]
    chance = [tabular_truth.RUNS["random"](grid, seed).needed[1] for seed in range(3)]
    assert tabular_truth.RUNS["oracle"](grid, 0).needed[1] <= min(ours) and 1.2 * sum(ours) < sum(chance)


def test_what_is_stored_is_not_run_again(grid: Grid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "runs.json"
    stored: dict = {"fixed": {"oracle": {"made up": [[1, 2]]}}}
    monkeypatch.setitem(tabular_truth.RUNS, "oracle", lambda *_: pytest.fail("it was run again"))
    tabular_truth.fill(stored, "fixed", "oracle", [grid], 1, path)
    tabular_truth.fill(stored, "fixed", "chooser", [grid], 2, path)
    assert json.loads(path.read_text()) == stored and len(stored["fixed"]["chooser"]["made up"]) == 2
    assert "1 seeds" in tabular_truth.lines(stored["fixed"])[0]


def test_the_ratio_is_the_median_over_grids() -> None:
    ours = {"a": [[1, 10], [1, 12]], "b": [[1, 10]], "c": [[1, 30]]}
    theirs = {"a": [[2, 22]], "b": [[2, 40]], "c": [[2, 30]]}
    low, middle, high = tabular_truth.ratio(ours, theirs, 1)
    assert (low, middle, high) == (0.25, 0.5, 1.0)
