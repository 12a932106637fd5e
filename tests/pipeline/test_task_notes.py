"""What a task tells of its data: each note where it is due, and none where it is not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from text_data import text_task, texts, write_columns, write_texts, write_tiny_bert

from pipeline import tasks
from pipeline.config import TaskConfig
from pipeline.tasks.text_classification import Task


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bert(tmp_path_factory.mktemp("bert"))


def task_of(folder: Path, bert: Path, **changes: Any) -> Task:
    return text_task(folder / "data", folder / "cache", bert, **{"max_length": 64, **changes})


def distinct(count: int, first: int = 0) -> list[str]:
    return [f"film {number}" for number in range(first, first + count)]


def write(folder: Path, train: list[str], validation: list[str], **more: Any) -> None:
    for split, rows in (("train", train), ("validation", validation)):
        columns = {"text": rows, "label": ["no", "yes"] * (len(rows) // 2)}
        write_columns(folder / "data" / f"{split}.parquet", **columns, **more)


def test_good_texts_have_none(tmp_path: Path, bert: Path) -> None:
    write(tmp_path, distinct(60), distinct(20, 100))
    assert task_of(tmp_path, bert).notes == ()


def test_a_text_with_two_labels(tmp_path: Path, bert: Path) -> None:
    write(tmp_path, [*["same"] * 10, *distinct(50)], distinct(20, 100))
    task = task_of(tmp_path, bert)
    count = len(set(task.raw("train", 60)))
    assert task.notes == (f"1 of {count} different texts of train have more than one label; nothing can learn both",)


def test_one_text_often_under_one_label_is_no_fault(tmp_path: Path, bert: Path) -> None:
    write(tmp_path, ["film 0", "film 1"] * 30, distinct(20, 100))
    assert task_of(tmp_path, bert).notes == ()


def test_validation_that_was_trained_on(tmp_path: Path, bert: Path) -> None:
    write(tmp_path, ["film 0", "film 1"] * 30, ["film 0", "film 1", *distinct(18, 100)])
    assert task_of(tmp_path, bert).notes == (
        "2 of 20 rows of validation are in train too, word for word; what is learned by heart counts as known there",
    )


def test_an_empty_second_text(tmp_path: Path, bert: Path) -> None:
    for split, second in (("train", [*distinct(59, 200), "film"]), ("validation", [*distinct(19, 300), " \t"])):
        labels = ["no", "yes"] * (len(second) // 2)
        write_columns(tmp_path / "data" / f"{split}.parquet", a=distinct(len(second)), b=second, label=labels)
    (note,) = task_of(tmp_path, bert, text="a", text_pair="b").notes
    assert note.startswith("1 of 20 rows of validation hold an empty text")


def test_options_of_the_other_kind(tmp_path: Path, bert: Path) -> None:
    write(tmp_path, distinct(60), distinct(20, 100))
    assert task_of(tmp_path, bert, size=64).notes == ("`task.size` is for images and not read by text_classification",)
    digits = {"data": {"source": "sklearn", "name": "digits"}}
    image = tasks.load(TaskConfig(**digits, text="sentence", max_length=64), tmp_path)
    assert image.notes == ("`task.text`, `task.max_length` are for texts and not read by image_classification",)
    assert tasks.load(TaskConfig(**digits, size=8, channels=1, augmentations=["none"]), tmp_path).notes == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"vocab_size": 200}, "the tokenizer has 131 pieces and the teacher's embedding 200 rows; make sure"),
        ({"pad_token_id": 5}, "the teacher's config.json pads with piece 5 and the tokenizer with 0; make sure"),
        ({"vocab_size": 136}, None),  # filled up to a round size
        ({"pad_token_id": None}, None),
    ],
)
def test_a_tokenizer_that_may_be_another(change: dict[str, Any], words: str | None, tmp_path: Path, bert: Path) -> None:
    place = shutil.copytree(bert, tmp_path / "odd")
    config = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps({**config, **change}))
    write(tmp_path, distinct(60), distinct(20, 100))
    found = task_of(tmp_path, place).notes
    assert (len(found), found[0].startswith(words)) == (1, True) if words else found == ()
    assert not any(str(tmp_path) in note for note in found)


def test_notes_do_not_open_the_test_split(tmp_path: Path, bert: Path) -> None:
    write_texts(tmp_path / "data")
    first, labels = texts(20)
    write_columns(tmp_path / "data" / "test.parquet", text=[None, *first[1:]], label=labels)
    assert not any("test" in note for note in task_of(tmp_path, bert).notes)
