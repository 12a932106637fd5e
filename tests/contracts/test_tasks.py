"""What every kind of task keeps, on the smallest data that it can be given."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import text_data
import torch

from hardware_targets import load_feeds
from pipeline import tasks
from pipeline.artifact import View
from pipeline.config import TaskConfig
from pipeline.errors import ConfigError


def _digits(_: Path) -> dict[str, Any]:
    data = {"source": "sklearn", "name": "digits"}
    return {"data": data, "size": 8, "channels": 1, "limit_rows": {"train": 200}}


def _texts(folder: Path) -> dict[str, Any]:
    place = text_data.write_tiny_bert(folder / "bert")
    data = {"source": "folder", "path": str(text_data.write_texts(folder / "texts", rows=200))}
    return {"data": data, "tokenizer": str(place), "max_length": 16}


SMALLEST: dict[str, Callable[[Path], dict[str, Any]]] = {
    "image_classification": _digits,
    "text_classification": _texts,
}
SHAPES = {
    "image": {"input_size": 8},
    "text": {"max_length": 16, "vocabulary_kind": "full"},
}
SPLITS = ("train", "validation", "selection", "test")


@pytest.fixture(scope="module", params=tasks.available())
def task(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tasks.Task:
    fields = SMALLEST[request.param](tmp_path_factory.mktemp("data"))
    return tasks.load(TaskConfig(kind=request.param, **fields), tmp_path_factory.mktemp("cache"))


@pytest.fixture
def view(task: tasks.Task) -> View:
    return task.view(SHAPES[task.task_input().kind])


def test_every_split_has_rows_and_known_labels(task: tasks.Task) -> None:
    for split in SPLITS:
        labels = task.labels(split)
        assert labels.dtype == np.int64
        assert len(labels) == task.rows(split) > 0
        assert set(labels) <= set(range(len(task.classes)))
    assert task.task_input().classes == len(task.classes)


def test_batches_show_every_row_once_as_feeds_do(task: tasks.Task, view: View) -> None:
    feeds = load_feeds(task.feeds("validation", view))
    assert len(feeds) == task.rows("validation")
    seen = []
    for batch in task.batches("validation", view).in_order(7):
        for place, row in enumerate(batch.rows.tolist()):
            seen.append(row)
            shown = [tensor[place].numpy() for tensor in batch.inputs]
            given = [feeds[row][spec.name][0] for spec in task.io()]
            if len(shown) > len(given):  # a mask says what is padding, and is no input of the file
                mask = shown.pop(1).astype(bool)
                shown = [values[mask] for values in shown]
            for ours, theirs in zip(shown, given, strict=True):
                np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert sorted(seen) == list(range(task.rows("validation")))


def test_an_epoch_is_decided_by_its_generator(task: tasks.Task, view: View) -> None:
    served = task.batches("train", view, batch_size=16)
    orders = [
        torch.cat([batch.rows for batch in served.epoch(torch.Generator().manual_seed(seed))]).tolist()
        for seed in (0, 0, 1)
    ]
    assert orders[0] == orders[1] != orders[2]
    assert len(set(orders[0])) == len(orders[0])
    assert abs(len(orders[0]) - task.rows("train")) <= 16
    assert served.steps == len(list(served.epoch(torch.Generator())))


def test_feeds_are_frozen_batches_of_one(task: tasks.Task, view: View) -> None:
    folder = task.feeds("validation", view, 5)
    feeds = load_feeds(folder)
    assert len(feeds) == 5
    assert all(list(feed) == [spec.name for spec in task.io()] for feed in feeds)
    assert all(value.shape[0] == 1 for feed in feeds for value in feed.values())
    assert task.feeds("validation", view, 5) == folder


def test_examples_are_feeds_in_torch(task: tasks.Task, view: View) -> None:
    feed = load_feeds(task.feeds("validation", view, 1))[0]
    for example in (task.example(view), *task.examples(view, 3)):
        assert len(example) == len(task.io())
        for tensor, spec in zip(example, task.io(), strict=True):
            assert tensor.numpy().dtype == feed[spec.name].dtype
            fixed = [axis for axis in range(tensor.ndim) if axis not in spec.dynamic]
            assert [tensor.shape[axis] for axis in fixed] == [feed[spec.name].shape[axis] for axis in fixed]


def test_what_a_picked_folder_needs_is_plain(task: tasks.Task, view: View) -> None:
    assert json.loads(json.dumps(task.preprocessing(view))) == task.preprocessing(view)
    assert all(isinstance(data, bytes) for data in task.files(view).values())
    assert (Path(tasks.__file__).parent.parent / "templates" / task.template).is_file()


def test_preprocess_gives_what_the_model_takes(task: tasks.Task, view: View) -> None:
    made = task.preprocess(task.raw("validation", 1)[0], view)
    values = list(made.values()) if isinstance(made, dict) else [made]
    feed = load_feeds(task.feeds("validation", view, 1))[0]
    assert [value.dtype for value in values] == [value.dtype for value in feed.values()]
    assert all(value.shape[0] == 1 for value in values)


def test_scores_are_right_for_right_answers(task: tasks.Task) -> None:
    labels = task.labels("validation")
    scores = task.score(labels, np.eye(len(task.classes), dtype=np.float32)[labels])
    assert scores[task.metric] == 1.0
    assert len(task.class_weight_vector()) == len(task.classes)


def test_an_unknown_split_or_kind_is_a_sentence(task: tasks.Task, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'validation'"):
        task.rows("validaton")
    with pytest.raises(ConfigError, match="no task of kind"):
        tasks.load(TaskConfig(**{**_digits(tmp_path), "kind": "image_clasification"}), tmp_path)
