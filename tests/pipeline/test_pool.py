"""Candidates to choose among, and the numbers that stand for them."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import search_spaces
from pipeline.search import pool
from pipeline.search.encoding import Encoding
from pipeline.search.study import candidate_of
from search_spaces import ImageInput, SearchSpace

SMALL: dict[str, Any] = {
    "students": ["convnet", "transformer"],
    "convnet": {"depth": 1, "width": [8, 16], "stages": 2, "resolution": 16, "stem_stride": 1, "block": "plain"},
    "transformer": {"patch": 4, "layers": [1, 2], "heads": 2, "head_width": 16, "ff_ratio": 2},
    "distill": {"temperature": 4, "soft_weight": 1, "hard_weight": 0, "hidden_weight": 0, "learning_rate": 0.001},
    "prune": {"ratio": [0, 0.5], "criterion": "magnitude", "round_to": 8, "recovery_epochs": 1},
    "quantize": {"scheme": ["none", "static_int8"]},
}


def space(raw: Any) -> SearchSpace:
    loaded = search_spaces.load(raw, input=ImageInput(1, 16, 10), augmentations=["none", "shift"])
    return loaded.trained()


@pytest.fixture(scope="module")
def small() -> SearchSpace:
    raw = {**SMALL, "distill": {**SMALL["distill"], "epochs": [2, 4], "augment": "none"}}
    return space(raw)


def test_a_small_space_is_listed_whole(small: SearchSpace) -> None:
    keys = [candidate.key for candidate in pool.every(small)]
    assert len(keys) == len(set(keys)) == small.size()


def test_what_was_tried_is_left_out(small: SearchSpace) -> None:
    everything = pool.whole(small)
    assert everything is not None and pool.whole(space("default")) is None
    tried = {candidate.key for candidate in everything[:-1]}
    left = pool.candidates(small, tried, [], np.random.default_rng(0))
    assert [candidate.key for candidate in left] == [everything[-1].key]
    assert not pool.candidates(small, {candidate.key for candidate in everything}, [], np.random.default_rng(0))


def test_of_a_large_space_a_part_half_of_it_near_the_best() -> None:
    whole = space("default")
    chance = np.random.default_rng(0)
    best = pool.candidates(whole, set(), [], chance)[0]
    start = whole.params_of(best.flat())
    assert not isinstance(start, str)
    found = pool.candidates(whole, {best.key}, [start], chance)
    assert len({candidate.key for candidate in found}) == len(found) == pool.SIZE
    assert best.key not in {candidate.key for candidate in found}
    assert all(not isinstance(whole.params_of(candidate.flat()), str) for candidate in found)
    kept = [np.mean([best.flat().get(name) == value for name, value in one.values]) for one in found]
    assert 0.3 < np.mean(np.array(kept) > 0.6) < 0.7


def test_who_has_tried_many_draws_fewer() -> None:
    whole = space("default")
    tried = {candidate.key for candidate in pool.candidates(whole, set(), [], np.random.default_rng(1))}
    assert len(pool.candidates(whole, tried, [], np.random.default_rng(0))) == pool.LATER < pool.SIZE


def test_the_same_seed_draws_the_same_candidates() -> None:
    whole = space("default")
    once, again = (pool.candidates(whole, set(), [], np.random.default_rng(7)) for _ in range(2))
    assert once == again


def rows_of(*changes: dict[str, Any]) -> np.ndarray:
    """Candidates of the whole space that differ from the first one as said."""
    whole = space("default")
    start = {"student": "convnet", "convnet.width": 16}
    flats = []
    for change in ({}, *changes):
        params = whole.params_of({**start, **change})
        assert not isinstance(params, str), params
        flats.append(candidate_of(params, whole, 0).flat())
    return Encoding(whole).rows(flats)


def test_order_and_ratios_are_kept() -> None:
    rows = rows_of({"convnet.width": 32}, {"convnet.width": 64})
    assert rows.shape[1] == 1
    first, second, third = rows[:, 0]
    assert second - first == pytest.approx(third - second) and first < second


def test_a_logged_axis_is_logged_and_another_is_not() -> None:
    rates = rows_of({"distill.learning_rate": 1e-3}, {"distill.learning_rate": 1e-2}, {"distill.learning_rate": 3e-4})
    assert rates[1, 0] < rates[0, 0] < rates[2, 0] == 1.0 and rates[3, 0] == -1.0
    weights = rows_of({"distill.hard_weight": 0.0}, {"distill.hard_weight": 0.5})
    assert list(weights[1:, 0]) == [-1.0, 0.0]


def test_an_axis_that_is_not_there_is_marked() -> None:
    pruned = {"prune.ratio": 0.5, "prune.round_to": 4}
    rows = rows_of(pruned, {**pruned, "prune.round_to": 8})
    there = [column for column in rows.T if set(column) == {0.0, 1.0} and column[0] == 0]
    assert there and np.linalg.norm(rows[1] - rows[2]) < np.linalg.norm(rows[0] - rows[1])


def test_families_share_the_axes_that_bear_the_same_name() -> None:
    whole = space("default")
    one = whole.students["convnet"]
    twins = replace(whole, students={"one": one, "two": one})
    flats = [
        {"student": name, f"{name}.width": width, "quantize.scheme": "none"}
        for name in ("one", "two")
        for width in (8, 64)
    ]
    rows = Encoding(twins).rows(flats)
    shared = [column for column in rows.T if column[0] == column[2] != column[1] == column[3]]
    assert len(shared) == 1


def test_columns_that_tell_nothing_are_left_out(small: SearchSpace) -> None:
    rows = Encoding(small).rows([candidate.flat() for candidate in pool.every(small)])
    assert (rows.std(axis=0) > 0).all() and len(np.unique(rows, axis=1).T) == rows.shape[1]
    assert len(np.unique(rows, axis=0)) == len(rows) == small.size()


def test_axes_are_left_out_by_how_their_names_begin(small: SearchSpace) -> None:
    flats = [candidate.flat() for candidate in pool.every(small)]
    shapes = Encoding(small).rows(flats, without=("distill.",))
    assert len(np.unique(shapes, axis=0)) == len({tuple(v for n, v in f.items() if n[:8] != "distill.") for f in flats})


def test_a_word_that_the_space_does_not_hold_is_only_there(small: SearchSpace) -> None:
    known = {"student": "convnet", "quantize.scheme": "none"}
    rows = Encoding(small).rows([known, {**known, "quantize.scheme": "fp16"}, {"student": "convnet"}])
    assert sorted(map(tuple, rows.T)) == [(1.0, 0.0, 0.0), (1.0, 1.0, 0.0)]


def test_values_that_do_not_come_again_are_not_kept_for_ever() -> None:
    encoding, chance = Encoding(space("default")), np.random.default_rng(0)

    def read(count: int) -> int:
        encoding.rows([{"student": "convnet", "distill.learning_rate": rate} for rate in chance.random(count).tolist()])
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        full = read(3000)
        assert read(3000) < full + 50_000
    finally:
        tracemalloc.stop()
