"""Feeds on disk: what goes in comes out, bit by bit, without pickle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware_targets import Input, TargetError, load_feeds, random_feeds, save_feeds

DTYPES = ["float32", "float64", "float16", "int64", "int8", "uint8", "bool"]


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from(DTYPES),
    st.lists(st.integers(1, 7), min_size=1, max_size=6),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_what_goes_in_comes_out(tmp_path_factory, dtype: str, lengths: list[int], equal: bool, seed: int) -> None:
    folder = tmp_path_factory.mktemp("feeds")
    generator = np.random.default_rng(seed)
    lengths = [lengths[0]] * len(lengths) if equal else lengths
    rows = [
        {"a/b": generator.integers(0, 2, (1, n, 2)).astype(dtype), "mask": np.ones((1, n), dtype=np.int64)}
        for n in lengths
    ]
    assert save_feeds(folder, rows) == len(rows)
    found = load_feeds(folder)
    assert len(found) == len(rows)
    for before, after in zip(rows, found, strict=True):
        assert list(before) == list(after)
        for name in before:
            assert after[name].dtype == before[name].dtype
            np.testing.assert_array_equal(after[name], before[name])
    assert (folder / "0.shapes.npy").exists() == (len(set(lengths)) > 1)


def test_equal_rows_are_one_plain_memory_mapped_array(tmp_path: Path) -> None:
    save_feeds(tmp_path, ({"x": np.full((1, 2), row, dtype=np.float32)} for row in range(3)))
    plain = np.load(tmp_path / "0.npy", allow_pickle=False)
    assert plain.shape == (3, 1, 2)
    row = load_feeds(tmp_path)[2]["x"]
    assert not row.flags.writeable and not row.flags.owndata
    np.testing.assert_array_equal(row, plain[2])


def test_slices_and_ends(tmp_path: Path) -> None:
    save_feeds(tmp_path, ({"x": np.asarray([row])} for row in range(4)))
    feeds = load_feeds(tmp_path)
    assert [int(feed["x"][0]) for feed in feeds[1:3]] == [1, 2]
    assert int(feeds[-1]["x"][0]) == 3
    with pytest.raises(IndexError):
        feeds[4]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "no feeds"),
        ([{"x": np.zeros(1)}, {"y": np.zeros(1)}], "same inputs"),
        ([{"x": np.zeros(1)}, {"x": np.zeros(1, dtype=np.int8)}], "one dtype"),
        ([{"x": np.asarray(["text"])}], "plain numbers"),
        ([{"x": np.asarray([{}])}], "plain numbers"),
        ([{"x": np.zeros((1, 2))}, {"x": np.zeros(1)}], "axes"),
    ],
)
def test_rows_that_do_not_belong_together(tmp_path: Path, rows: list[dict[str, np.ndarray]], said: str) -> None:
    with pytest.raises(TargetError, match=said):
        save_feeds(tmp_path, rows)
    with pytest.raises(TargetError, match="holds no feeds"):
        load_feeds(tmp_path)


def test_a_pickled_array_is_not_loaded(tmp_path: Path) -> None:
    save_feeds(tmp_path, [{"x": np.zeros(2)}])
    np.save(tmp_path / "0.npy", np.asarray([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(TargetError, match="cannot be read"):
        load_feeds(tmp_path)


def test_a_broken_index_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "feeds.json").write_text("{")
    with pytest.raises(TargetError, match="cannot be read"):
        load_feeds(tmp_path)


def test_noise_fits_and_repeats() -> None:
    inputs = [Input("x", "float32", ("batch", 3)), Input("ids", "int64", (1, None)), Input("m", "bool", ())]
    first, again = (list(random_feeds(inputs, 2, seed=5)) for _ in range(2))
    assert first[0]["x"].shape == (1, 3) and first[0]["x"].dtype == np.float32
    assert first[0]["ids"].shape == (1, 1) and first[0]["ids"].dtype == np.int64
    np.testing.assert_array_equal(first[1]["x"], again[1]["x"])
    assert not np.array_equal(first[0]["x"], first[1]["x"])


def test_noise_for_text_is_refused() -> None:
    with pytest.raises(TargetError, match="'s'"):
        next(random_feeds([Input("s", "tensor(string)", (1,))], 1, seed=0))
