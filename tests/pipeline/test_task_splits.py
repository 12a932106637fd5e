from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.tasks._splits import cut, stratified

labels_lists = st.lists(st.integers(0, 4), min_size=2, max_size=120).map(lambda values: np.array(values))


@settings(max_examples=40, deadline=None)
@given(labels_lists, st.floats(0.05, 0.95), st.integers(0, 3))
def test_stratified_gives_each_class_its_share_to_within_one_row(labels: np.ndarray, share: float, seed: int) -> None:
    count = round(share * len(labels))
    rows = stratified(labels, count, seed)
    assert len(rows) == count
    assert np.all(np.diff(rows) > 0)
    for name in np.unique(labels):
        ideal = np.sum(labels == name) * count / len(labels)
        assert abs(np.sum(labels[rows] == name) - ideal) <= 1


@settings(max_examples=30, deadline=None)
@given(labels_lists, st.integers(0, 3))
def test_a_cut_loses_and_doubles_no_row(labels: np.ndarray, seed: int) -> None:
    slices = cut(labels, {"validation": 0.2, "selection": 0.1}, seed)
    assert set(slices) == {"train", "validation", "selection"}
    assert sorted(np.concatenate(list(slices.values()))) == list(range(len(labels)))
    assert len(slices["validation"]) == round(0.2 * len(labels))


def test_the_seed_decides() -> None:
    labels = np.arange(60) % 3
    assert np.array_equal(stratified(labels, 20, 1), stratified(labels, 20, 1))
    assert not np.array_equal(stratified(labels, 20, 1), stratified(labels, 20, 2))


def test_left_over_rows_do_not_always_go_to_the_first_classes() -> None:
    labels = np.repeat(np.arange(10), 3)
    chosen = {tuple(labels[stratified(labels, 4, seed)]) for seed in range(8)}
    assert len(chosen) > 1
