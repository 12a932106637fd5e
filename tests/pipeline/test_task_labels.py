from __future__ import annotations

import pytest

from pipeline.errors import ConfigError
from pipeline.tasks._labels import label_map


def test_names_of_the_data_set_stay_in_its_order() -> None:
    labels = label_map([1, 0, 1], ["zebra", "ant"], None, "label")
    assert labels.classes == ["zebra", "ant"]
    assert labels.codes([1, 0], "train", "label").tolist() == [1, 0]


def test_strings_and_numbers_are_sorted() -> None:
    assert label_map(["b", "a"], None, None, "label").codes(["a", "b"], "train", "label").tolist() == [0, 1]
    numbers = label_map([7, 3], None, None, "label")
    assert numbers.classes == ["3", "7"]
    assert numbers.codes([7], "train", "label").tolist() == [1]


def test_a_list_of_known_names_gives_their_order() -> None:
    labels = label_map([0, 1], ["ant", "bee"], ["bee", "ant"], "label")
    assert labels.codes([0, 1], "train", "label").tolist() == [1, 0]


def test_a_list_of_new_names_gives_names_by_position() -> None:
    labels = label_map([0, 1, 2], None, ["low", "middle", "high"], "label")
    assert labels.classes == ["low", "middle", "high"]
    assert labels.codes([2], "train", "label").tolist() == [2]


def test_a_mapping_merges_values() -> None:
    labels = label_map([0, 1, 2], None, {"0": "calm", "1": "storm", "2": "storm"}, "label")
    assert labels.classes == ["calm", "storm"]
    assert labels.codes([0, 1, 2], "train", "label").tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("raw", "names", "wanted", "words"),
    [
        (["a", None, None], None, None, "2 of 3 rows of train have no label (first: row 1"),
        ([1.5, 2.5], None, None, "float values such as '1.5'"),
        (["a", "a"], None, None, "one label, 'a'"),
        ([1, 1], ["ant", "bee"], None, "one label"),
        ([0, 1, 2], None, ["low", "high"], "`task.labels` has 2 names (low, high) but column 'label' holds 0, 1, 2"),
        ([0, 1], None, ["same", "same"], "names a class twice"),
        ([0, 1], None, {"0": "x", "1": "x"}, "maps everything to 'x'"),
        (["a", "", "b"], None, None, "1 of 3 rows of train have no label (first: row 1"),
        (["a", "b"], None, ["a", "c"], "column 'label' of train holds 'b', which `task.labels` (a, c) does not name"),
        ([f"text {row}" for row in range(30)], None, None, "30 different values in 30 rows"),
    ],
)
def test_bad_labels_are_sentences(raw: list, names: list | None, wanted: object, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        label_map(raw, names, wanted, "label").codes(raw, "train", "label")  # type: ignore[arg-type]
    assert words in str(caught.value)


def test_an_unknown_label_is_named_with_its_row_and_the_nearest_name() -> None:
    labels = label_map(["shirt", "shoe"], None, None, "kind")
    with pytest.raises(ConfigError, match=r"'shirts' \(row 1 of validation, column 'kind'\).*did you mean 'shirt'\?"):
        labels.codes(["shoe", "shirts"], "validation", "kind")


def test_a_label_of_another_type_is_told_from_an_unknown_one() -> None:
    labels = label_map(["0", "1"], None, None, "kind")
    with pytest.raises(ConfigError, match=r"label 0 \(row 1 of test.*is a whole number .* write '0', a text"):
        labels.codes([1, 0], "test", "kind")


def test_what_train_lacks_can_be_mapped() -> None:
    words = label_map(["a", "b"], None, {"a": "x", "b": "y", "c": "y"}, "label")
    assert words.codes(["c", "a"], "validation", "label").tolist() == [1, 0]
    numbers = label_map([0, 1], None, {"0": "x", "1": "y", "-1": "x"}, "label")
    assert numbers.codes([-1, 1], "validation", "label").tolist() == [0, 1]


def test_a_long_list_of_labels_is_cut_short() -> None:
    labels = label_map([f"class {number:02}" for number in range(30)] * 3, None, None, "label")
    with pytest.raises(ConfigError, match=r"did you mean 'class 29'\? there are: class 00, .* class 19 and 10 more\."):
        labels.codes(["class 29x"], "validation", "label")
