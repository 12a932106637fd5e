"""What every kind of task keeps, on the smallest data that it can be given."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hardware_targets import load_feeds
from pipeline import tasks
from pipeline.config import TaskConfig
from pipeline.errors import ConfigError

SMALLEST = {
    "image_classification": {
        "data": {"source": "sklearn", "name": "digits"},
        "size": 8,
        "channels": 1,
        "limit_rows": {"train": 200},
    }
}
SPLITS = ("train", "validation", "selection", "test")


@pytest.fixture(scope="module", params=tasks.available())
def task(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tasks.Task:
    return tasks.load(TaskConfig(kind=request.param, **SMALLEST[request.param]), tmp_path_factory.mktemp("cache"))


def test_every_split_has_rows_and_known_labels(task: tasks.Task) -> None:
    for split in SPLITS:
        labels = task.labels(split)
        assert labels.dtype == np.int64
        assert len(labels) == task.rows(split) > 0
        assert set(labels) <= set(range(len(task.classes)))


def test_no_row_is_in_two_splits(task: tasks.Task) -> None:
    seen: list[bytes] = []
    for split in SPLITS:
        seen += [row.tobytes() for row in task.pixels(split, task.size)]
    assert len(seen) == len(set(seen)) == sum(task.rows(split) for split in SPLITS)


def test_feeds_are_normalised_and_frozen(task: tasks.Task) -> None:
    folder = task.feeds("validation", task.size, 5)
    feeds = load_feeds(folder)
    assert [feed["pixels"].shape for feed in feeds] == [(1, task.channels, task.size, task.size)] * 5
    assert task.feeds("validation", task.size, 5) == folder
    assert len(load_feeds(task.feeds("validation", task.size))) == task.rows("validation")


def test_preprocessing_is_plain_and_agrees_with_preprocess(task: tasks.Task) -> None:
    said = json.loads(json.dumps(task.preprocessing(task.size)))
    image = task.raw_images("validation", 1)[0]
    pixels = np.asarray(image.convert("L"), dtype=np.float32)[None, None] / 255
    mean, std = (np.array(said[name], dtype=np.float32)[:, None, None] for name in ("mean", "std"))
    assert np.allclose(task.preprocess(image, task.size), (pixels - mean) / std, atol=1e-6)


def test_scores_are_right_for_right_answers(task: tasks.Task) -> None:
    labels = task.labels("validation")
    scores = task.score(labels, np.eye(len(task.classes), dtype=np.float32)[labels])
    assert scores[task.metric] == 1.0
    assert len(task.class_weight_vector()) == len(task.classes)


def test_an_unknown_split_or_kind_is_a_sentence(task: tasks.Task, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'validation'"):
        task.rows("validaton")
    with pytest.raises(ConfigError, match="no task of kind"):
        tasks.load(TaskConfig(**{**SMALLEST["image_classification"], "kind": "image_clasification"}), tmp_path)
