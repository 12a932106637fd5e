from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from learning_helper import SHARED, digits, folder_task, png, write_table
from PIL import Image

from pipeline import tasks
from pipeline.config import TaskConfig
from pipeline.errors import ConfigError, Unavailable

TWO = ["cat", "dog"] * 20


def test_digits_are_cut_stratified_and_stretched_to_bytes(tmp_path: Path) -> None:
    task = digits(tmp_path, rows=400)
    assert {split: task.rows(split) for split in ("train", "validation", "selection", "test")} == {
        "train": 248,
        "validation": 60,
        "selection": 32,
        "test": 60,
    }
    assert np.ptp(np.bincount(task.labels("validation"))) <= 1
    pixels = task.pixels("train", 8)
    assert (pixels.dtype, pixels.shape, pixels.min(), pixels.max()) == (np.uint8, (248, 1, 8, 8), 0, 255)


def test_a_limit_of_what_is_cut_counts_after_the_cut(tmp_path: Path) -> None:
    task = digits(tmp_path, rows=400, limit_rows={"train": 400, "validation": 20, "test": 30})
    rows = {split: task.rows(split) for split in ("train", "validation", "selection", "test")}
    assert rows == {"train": 248, "validation": 20, "selection": 32, "test": 30}
    whole = digits(tmp_path, rows=400)
    some, every = ({row.tobytes() for row in one.pixels("validation", 8)} for one in (task, whole))
    assert some < every and task.fingerprint != whole.fingerprint
    assert np.array_equal(task.pixels("train", 8), whole.pixels("train", 8))


def test_fractions_that_leave_nothing_to_learn_from(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="train would be empty; give more rows, or smaller fractions"):
        digits(tmp_path, rows=400, split={"validation": 0.49, "test": 0.49, "selection": 0.02}).rows("train")


def test_pixels_are_made_once_and_resized_by_pillow(tmp_path: Path) -> None:
    write_table(tmp_path / "data" / "train.parquet", TWO)
    task = folder_task(tmp_path / "data", tmp_path / "cache")
    first = task.pixels("train", 5)
    image = task.raw("train", task.rows("train"))[0]
    assert np.array_equal(first[0, 0], np.asarray(image.resize((5, 5), Image.Resampling.BILINEAR)))
    files = sorted((tmp_path / "cache" / "pixels").iterdir())
    before = [path.stat().st_mtime_ns for path in files]
    folder_task(tmp_path / "data", tmp_path / "cache").pixels("train", 5)
    assert [path.stat().st_mtime_ns for path in sorted((tmp_path / "cache" / "pixels").iterdir())] == before


def test_a_killed_decoding_leaves_nothing_to_be_mistaken(tmp_path: Path) -> None:
    images: list[Any] = [{"bytes": png(row), "path": None} for row in range(40)]
    images[-1] = {"bytes": b"not an image", "path": None}
    write_table(tmp_path / "data" / "train.parquet", TWO, images)
    write_table(tmp_path / "data" / "validation.parquet", TWO)
    task = folder_task(tmp_path / "data", tmp_path / "cache", split={"selection": 0.05})
    with pytest.raises(ConfigError, match=r"image in row 39 of train cannot be decoded"):
        task.pixels("train", 8)
        task.pixels("selection", 8)
        task.pixels("test", 8)
    assert not list((tmp_path / "cache" / "pixels").glob("train*")) or not list((tmp_path / "cache").rglob("*.part"))
    assert not list((tmp_path / "cache").rglob("*.part"))


def test_the_test_split_is_not_touched_until_it_is_asked_for(tmp_path: Path) -> None:
    for split in ("train", "validation"):
        write_table(tmp_path / "data" / f"{split}.parquet", TWO)
    (tmp_path / "data" / "test.parquet").write_bytes(b"unreadable: opening this file fails")
    task = folder_task(tmp_path / "data", tmp_path / "cache")
    assert task.fingerprint
    task.feeds("validation", {"input_size": 8})
    task.pixels("selection", 8)
    with pytest.raises(ConfigError, match=r"test\.parquet cannot be read"):
        task.rows("test")


def test_splits_are_found_by_the_start_of_their_names_or_by_mapping(tmp_path: Path) -> None:
    write_table(tmp_path / "a" / "train-00000.parquet", TWO)
    write_table(tmp_path / "a" / "train-00001.parquet", TWO)
    write_table(tmp_path / "a" / "val.parquet", TWO[:6])
    task = folder_task(tmp_path / "a", tmp_path / "cache", split={"test": 0.25, "selection": 0.05})
    assert (task.rows("validation"), task.rows("test"), task.rows("selection"), task.rows("train")) == (6, 20, 4, 56)
    write_table(tmp_path / "b" / "one.parquet", TWO)
    write_table(tmp_path / "b" / "two.parquet", TWO[:10])
    data = {"source": "folder", "path": str(tmp_path / "b"), "splits": {"train": "one.parquet", "test": "two.parquet"}}
    assert tasks.load(TaskConfig(data=data, channels=1), tmp_path / "cache").rows("test") == 10  # type: ignore[arg-type]


def test_csv_paths_are_relative_to_the_csv(tmp_path: Path) -> None:
    (tmp_path / "data" / "pictures").mkdir(parents=True)
    with (tmp_path / "data" / "train.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "label"])
        for number in range(20):
            (tmp_path / "data" / "pictures" / f"{number}.png").write_bytes(png(10 * number))
            rows.writerow([f"pictures/{number}.png", TWO[number]])
    task = folder_task(tmp_path / "data", tmp_path / "cache", split={"selection": 0.1})
    assert task.classes == ["cat", "dog"]
    assert task.pixels("train", 6).shape[1:] == (1, 6, 6)
    (tmp_path / "data" / "pictures" / "3.png").unlink()
    with pytest.raises(ConfigError, match=r"'pictures/3.png' cannot be read"):
        _ = folder_task(tmp_path / "data", tmp_path / "cache", split={"selection": 0.1}).fingerprint


def test_an_arrow_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    table = pa.table({"image": [png(row) for row in range(40)], "label": TWO})
    with pa.OSFile(str(tmp_path / "data" / "train.arrow"), "wb") as file, pa.ipc.new_stream(file, table.schema) as out:
        out.write_table(table)
    assert folder_task(tmp_path / "data", tmp_path / "cache").rows("validation") == 6


def test_feeds_hold_what_preprocess_gives(tmp_path: Path) -> None:
    from hardware_targets import load_feeds

    write_table(tmp_path / "data" / "train.parquet", TWO)
    task = folder_task(tmp_path / "data", tmp_path / "cache", channels=3)
    feeds = load_feeds(task.feeds("validation", {"input_size": 8}))
    images = task.raw("validation", task.rows("validation"))
    assert len(feeds) == len(images) == 6
    for feed, image in zip(feeds, images, strict=True):
        assert feed["pixels"].dtype == np.float32
        assert np.array_equal(feed["pixels"], task.preprocess(image, {"input_size": 8}))
    few = load_feeds(task.feeds("validation", {"input_size": 8}, 4))
    other = folder_task(tmp_path / "data", tmp_path / "other", channels=3)
    again = load_feeds(other.feeds("validation", {"input_size": 8}, 4))
    assert len(few) == 4
    assert all(np.array_equal(a["pixels"], b["pixels"]) for a, b in zip(few, again, strict=True))


def test_mean_and_std_are_those_of_the_training_pixels(tmp_path: Path) -> None:
    task = digits(tmp_path)
    pixels = task.pixels("train", 8) / 255
    assert task.mean == pytest.approx((pixels.mean(),), abs=1e-5)
    assert task.std == pytest.approx((pixels.std(),), abs=1e-5)
    assert task.preprocessing({"input_size": 8})["mean"] == list(task.mean)


def test_the_fingerprint_follows_rows_and_plan(tmp_path: Path) -> None:
    write_table(tmp_path / "data" / "train.parquet", TWO)
    first = folder_task(tmp_path / "data", tmp_path / "cache").fingerprint
    assert folder_task(tmp_path / "data", tmp_path / "cache").fingerprint == first
    assert folder_task(tmp_path / "data", tmp_path / "cache", split={"selection": 0.2}).fingerprint != first
    write_table(tmp_path / "data" / "train.parquet", ["dog", *TWO[1:]])
    assert folder_task(tmp_path / "data", tmp_path / "cache").fingerprint != first


def test_class_weights(tmp_path: Path) -> None:
    write_table(tmp_path / "data" / "train.parquet", ["cat"] * 30 + ["dog"] * 10)
    balanced = folder_task(tmp_path / "data", tmp_path / "cache", class_weights="balanced")
    counts = np.bincount(balanced.labels("train"))
    assert balanced.class_weight_vector() * counts == pytest.approx(np.full(2, counts.sum() / 2))
    given = folder_task(tmp_path / "data", tmp_path / "cache", class_weights={"dog": 3.0})
    assert given.class_weight_vector().tolist() == [1.0, 3.0]


def _table(path: Path, **columns: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def _bad(case: str, folder: Path) -> dict[str, Any]:
    """Writes one kind of bad data; returns changes to the task's configuration."""
    train, images = folder / "train.parquet", [{"bytes": png(9), "path": None}] * 40
    if case == "wrong column":
        write_table(train, TWO, label="labels")
    elif case == "empty":
        _table(train, image=pa.array([], type=pa.binary()), label=pa.array([], type=pa.string()))
    elif case == "null image":
        write_table(train, TWO, [*images[:-1], None])
    elif case == "16 bits":
        deep = io.BytesIO()
        Image.fromarray(np.full((4, 4), 40000, dtype=np.uint16)).save(deep, "PNG")
        write_table(train, TWO, [{"bytes": deep.getvalue(), "path": None}, *images[1:]])
    elif case == "null label":
        write_table(train, [*TWO[:-1], None])
    elif case == "image type":
        _table(train, image=list(range(40)), label=TWO)
    elif case == "one class":
        write_table(train, ["cat"] * 40)
    elif case == "garbage":
        folder.mkdir(parents=True)
        train.write_bytes(b"PAR1 and nothing else")
    elif case == "no train":
        write_table(folder / "holdout.parquet", TWO)
    elif case == "unknown label":
        write_table(train, TWO)
        write_table(folder / "validation.parquet", ["cat", "dgo"])
    elif case == "no files":
        folder.mkdir(parents=True)
    elif case == "few rows":
        write_table(train, ["cat", "dog"])
    elif case == "class weight":
        write_table(train, TWO)
        return {"class_weights": {"catt": 2.0}}
    return {}


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("wrong column", "no column 'label'; did you mean 'labels'? there are: image, labels"),
        ("empty", "train.parquet is empty"),
        ("null image", "row 39 of train has no image"),
        ("16 bits", "row 0 of train has more than 8 bits per channel"),
        ("null label", "1 of 40 rows of train have no label"),
        ("image type", "column 'image' of train holds int64, not images"),
        ("one class", "one label, 'cat'"),
        ("garbage", "train.parquet cannot be read"),
        ("no train", "there are holdout.parquet. Name a file train.parquet"),
        ("unknown label", "label 'dgo' (row 1 of validation"),
        ("no files", "holds no .parquet, .csv or .arrow file"),
        ("no folder", "there is no "),
        ("few rows", "too few: selection, test, validation would be empty; give more rows, or larger"),
        ("class weight", "did you mean 'cat'?"),
    ],
)
def test_bad_data_are_sentences(case: str, words: str, tmp_path: Path) -> None:
    changes = _bad(case, tmp_path / "data")
    with pytest.raises(ConfigError) as caught:
        task = folder_task(tmp_path / "data", tmp_path / "cache", **changes)
        for split in ("train", "validation", "selection", "test"):
            task.labels(split)
            task.pixels(split, 8)
    assert words in str(caught.value)


def test_the_hub_is_read_by_name_subset_and_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    write_table(tmp_path / "train.parquet", TWO)
    table = datasets.Dataset.from_parquet(str(tmp_path / "train.parquet"), cache_dir=str(tmp_path / "datasets"))
    asked = []

    def load_dataset(name: str, subset: str | None, *, split: str, revision: str | None, cache_dir: str) -> Any:
        asked.append((name, subset, split, revision))
        assert Path(cache_dir).is_relative_to(tmp_path)
        return table

    monkeypatch.setattr(datasets, "get_dataset_split_names", lambda *_, **__: ["train", "test"])
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    data = {"source": "hub", "name": "owner/animals", "subset": "small", "revision": "v1"}
    task = tasks.load(TaskConfig(data=data, channels=1), tmp_path / "cache")  # type: ignore[arg-type]
    assert task.rows("validation") == 6
    assert asked == [("owner/animals", "small", "train", "v1")]
    assert task.rows("test") == 40


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (ConnectionError("Couldn't reach it"), Unavailable, "cannot be fetched: Couldn't reach it"),
        (FileNotFoundError("doesn't exist"), ConfigError, "is not on the hub"),
        (ValueError("BuilderConfig 'x' not found"), ConfigError, "cannot be opened"),
    ],
)
def test_what_the_hub_says_becomes_a_sentence(
    error: Exception, kind: type[Exception], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    def refuse(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(datasets, "get_dataset_split_names", refuse)
    with pytest.raises(kind, match=words):
        tasks.load(TaskConfig(data={"source": "hub", "name": "owner/animals"}), tmp_path)  # type: ignore[arg-type]


def test_scikit_learn_brings_digits_only(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'digits'"):
        tasks.load(TaskConfig(data={"source": "sklearn", "name": "digit"}), tmp_path)  # type: ignore[arg-type]


def test_real_x_rays(tmp_path: Path) -> None:
    folder = SHARED / "pneumonia_mnist"
    if not folder.exists():
        pytest.skip("the chest X-rays are not beside this checkout")
    task = folder_task(folder, tmp_path, limit_rows={"train": 200, "validation": 50}, size=28)
    assert task.classes == ["normal", "pneumonia"]
    assert (task.rows("train"), task.rows("validation"), task.rows("selection")) == (184, 50, 16)
    assert task.pixels("validation", 28).std() > 10


def test_no_row_is_in_two_splits_and_preprocessing_is_as_it_says(tmp_path: Path) -> None:
    task = digits(tmp_path, rows=200)
    seen: list[bytes] = []
    for split in ("train", "validation", "selection", "test"):
        seen += [row.tobytes() for row in task.pixels(split, 8)]
    assert len(seen) == len(set(seen)) == 200
    said = json.loads(json.dumps(task.preprocessing({"input_size": 8})))
    image = task.raw("validation", 1)[0]
    pixels = np.asarray(image.convert("L"), dtype=np.float32)[None, None] / 255
    mean, std = (np.array(said[name], dtype=np.float32)[:, None, None] for name in ("mean", "std"))
    assert np.allclose(task.preprocess(image, {"input_size": 8}), (pixels - mean) / std, atol=1e-6)
