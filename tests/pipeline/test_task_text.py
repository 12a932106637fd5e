from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from text_data import text_task, tiny_tokenizer, write_columns, write_texts, write_tiny_bert

from hardware_targets import load_feeds
from pipeline.errors import ConfigError
from pipeline.tasks.text_classification import Task

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
FULL: dict[str, Any] = {"max_length": 16, "vocabulary": "full"}
USED: dict[str, Any] = {"max_length": 16, "vocabulary": "used"}
PAIR = {"text": "sentence1", "text_pair": "sentence2"}


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture
def task(tmp_path: Path, bert: Path) -> Task:
    return text_task(write_texts(tmp_path / "data"), tmp_path / "cache", bert)


@pytest.fixture
def pairs(tmp_path: Path, bert: Path) -> Task:
    return text_task(write_texts(tmp_path / "data", pairs=True), tmp_path / "cache", bert, **PAIR)


def test_splits_labels_and_what_families_must_know(task: Task) -> None:
    assert {split: task.rows(split) for split in ("train", "validation", "selection", "test")} == {
        "train": 184,
        "validation": 50,
        "selection": 16,
        "test": 50,
    }
    assert task.classes == ["negative", "positive"]
    assert np.bincount(task.labels("selection")).tolist() == [8, 8]
    found = task.task_input()
    assert (found.classes, found.max_length, found.token_types) == (2, 16, 1)
    assert (found.layers, found.width, found.heads, found.ff) == (2, 32, 4, 64)
    assert found.used < found.vocabulary == tiny_tokenizer().get_vocab_size()


def test_feeds_hold_the_ids_of_the_tokenizer_cut_and_not_padded(task: Task) -> None:
    feeds = load_feeds(task.feeds("validation", FULL))
    plain = tiny_tokenizer()
    plain.enable_truncation(16)
    texts = task.raw("validation", 50)
    assert len(feeds) == len(texts) == 50
    for feed, text in zip(feeds, texts, strict=True):
        assert list(feed) == ["input_ids"]
        assert feed["input_ids"].dtype == np.int64
        assert feed["input_ids"].tolist() == [plain.encode(*text).ids]
        assert np.array_equal(task.preprocess(text, FULL)["input_ids"], feed["input_ids"])
    lengths = [feed["input_ids"].shape[1] for feed in feeds]
    assert (max(lengths), min(lengths) < 8) == (16, True)
    assert task.feeds("validation", FULL, 10) == task.feeds("validation", FULL, 10)
    assert len(load_feeds(task.feeds("validation", FULL, 10))) == 10


def test_pairs_have_types_and_lose_the_end_of_the_longer_text_first(pairs: Task) -> None:
    assert [spec.name for spec in pairs.io()] == ["input_ids", "token_type_ids"]
    assert pairs.task_input().token_types == 2
    feed = pairs.preprocess(("good", "the film is good and the plot is good and it is funny and big"), FULL)
    assert feed["token_type_ids"].tolist() == [[0] * 3 + [1] * 13]
    assert pairs.preprocess(("good",) * 2, FULL)["token_type_ids"].tolist() == [[0, 0, 0, 1, 1]]
    batch = next(pairs.batches("train", FULL).in_order())
    assert [tensor.shape == batch.inputs[0].shape for tensor in batch.inputs] == [True] * 3
    assert set(batch.inputs[2].unique().tolist()) == {0, 1}


def test_an_epoch_serves_every_row_once_in_batches_of_like_lengths(tmp_path: Path, bert: Path) -> None:
    task = text_task(write_texts(tmp_path / "data", rows=1000), tmp_path / "cache", bert, max_length=32)
    batches = task.batches("train", {**FULL, "max_length": 32}, batch_size=16)
    assert task.batches("train", FULL).batch_size == 30  # 920 rows
    served = list(batches.epoch(torch.Generator().manual_seed(3)))
    rows = torch.cat([batch.rows for batch in served])
    assert len(served) == batches.steps == round(task.rows("train") / 16)
    assert len(rows.unique()) == len(rows) >= task.rows("train") - 8
    real = sum(int(batch.inputs[1].sum()) for batch in served)
    assert real > 0.85 * sum(batch.inputs[1].numel() for batch in served)  # 0.5 when it is not sorted
    widths = [batch.inputs[0].shape[1] for batch in served]
    assert widths != sorted(widths)
    again = list(batches.epoch(torch.Generator().manual_seed(3)))
    assert all(torch.equal(a.rows, b.rows) for a, b in zip(served, again, strict=True))
    other = torch.cat([batch.rows for batch in batches.epoch(torch.Generator().manual_seed(4))])
    assert not torch.equal(rows, other)


def test_a_batch_holds_its_rows_and_masks_its_padding(task: Task) -> None:
    feeds = load_feeds(task.feeds("train", USED))
    seen = []
    for batch in task.batches("train", USED).in_order(7):
        ids, mask = batch.inputs
        assert (ids.dtype, mask.dtype, batch.rows.dtype) == (torch.int64,) * 3
        assert ids.shape[1] <= 16
        for row, number in enumerate(batch.rows.tolist()):
            assert ids[row][mask[row].bool()].tolist() == feeds[number]["input_ids"][0].tolist()
            assert mask[row].tolist() == sorted(mask[row].tolist(), reverse=True)
            assert set(ids[row][~mask[row].bool()].tolist()) <= {0}  # [PAD]
            seen.append(number)
    assert sorted(seen) == list(range(task.rows("train")))


def test_examples_are_real_rows_of_several_lengths(pairs: Task) -> None:
    examples = pairs.examples(USED, 4)
    widths = [inputs[0].shape[1] for inputs in examples]
    assert widths == sorted(widths)
    assert widths[0] < widths[-1]
    ids, types = pairs.example(USED)
    assert ids.shape == types.shape == (1, ids.shape[1])
    assert widths[0] <= ids.shape[1] <= widths[-1]


def test_tokens_are_made_once_and_per_view(task: Task, tmp_path: Path, bert: Path) -> None:
    for view in (FULL, USED, {**USED, "max_length": 8}):
        task.batches("train", view)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache" / "tokens").rglob("*.npy")}
    fresh = text_task(tmp_path / "data", tmp_path / "cache", bert)
    for view in (FULL, USED, {**USED, "max_length": 8}):
        fresh.batches("train", view)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache" / "tokens").rglob("*.npy")} == before
    assert max(batch.inputs[0].shape[1] for batch in fresh.batches("train", {**USED, "max_length": 8}).in_order()) == 8
    assert fresh.view({"max_length": 8, "vocabulary_kind": "used", "layers": []}) == {**USED, "max_length": 8}


def test_the_test_split_is_not_touched_until_it_is_asked_for(tmp_path: Path, bert: Path) -> None:
    write_texts(tmp_path / "data")
    (tmp_path / "data" / "test.parquet").write_bytes(b"unreadable: opening this file fails")
    task = text_task(tmp_path / "data", tmp_path / "cache", bert)
    assert task.fingerprint
    assert task.notes
    task.feeds("validation", USED)
    task.feeds("selection", USED)
    with pytest.raises(ConfigError, match=r"test\.parquet cannot be read"):
        task.feeds("test", USED)


def test_the_fingerprint_follows_texts_columns_and_tokenizer(tmp_path: Path, bert: Path) -> None:
    write_texts(tmp_path / "data", pairs=True)

    def print_of(place: Path = bert, **changes: Any) -> str:
        return text_task(tmp_path / "data", tmp_path / "cache", place, **{**PAIR, **changes}).fingerprint

    first = print_of()
    cased = shutil.copytree(bert, tmp_path / "cased")
    plan = json.loads((cased / "tokenizer.json").read_text())
    plan["normalizer"]["lowercase"] = False
    (cased / "tokenizer.json").write_text(json.dumps(plan))
    changed = [print_of(cased), print_of(text_pair=None), print_of(max_length=12), print_of(split={"selection": 0.2})]
    assert print_of() == first
    assert len({first, *changed}) == 5


def test_blank_and_endless_texts_are_handled_and_told(tmp_path: Path, bert: Path) -> None:
    texts = ["", "   ", "good film " * 5000, "dull"] * 10
    write_columns(tmp_path / "data" / "train.parquet", text=texts, label=["no", "yes", "yes", "no"] * 10)
    write_columns(tmp_path / "data" / "validation.parquet", text=texts[:4], label=["no", "yes", "yes", "no"])
    task = text_task(tmp_path / "data", tmp_path / "cache", bert)
    assert widths_of(task, "validation").tolist() == [2, 2, 16, 3]
    assert "1 of 4 rows of validation are longer than 16 pieces; their ends are not read" in task.notes
    empty = "hold an empty text; a model sees nothing but the tokenizer's special pieces there"
    assert f"2 of 4 rows of validation {empty}" in task.notes
    count = int(np.sum(widths_of(task, "train") == 2))
    assert f"{count} of {task.rows('train')} rows of train {empty}" in task.notes
    assert [batch.inputs[0].shape for batch in task.batches("validation", FULL).in_order()] == [(4, 16)]


def widths_of(task: Task, split: str) -> np.ndarray:
    return np.array([feed["input_ids"].shape[1] for feed in load_feeds(task.feeds(split, FULL))])


def _bad(case: str, folder: Path) -> dict[str, Any]:
    """Writes one kind of bad data; returns changes to the task's configuration."""
    train, labels = folder / "train.parquet", ["yes", "no"] * 20
    columns: dict[str, Any] = {"text": ["fine"] * 40, "label": labels}
    changes: dict[str, Any] = {}
    if case == "wrong column":
        columns = {"texts": ["fine"] * 40, "label": labels}
    elif case == "wrong pair":
        changes = {"text_pair": "sentence2"}
    elif case == "same column":
        changes = {"text_pair": "text"}
    elif case == "missing text":
        columns["text"] = [*columns["text"][:-1], None]
    elif case == "numbers":
        columns["text"] = list(range(40))
    elif case == "lists":
        columns["text"] = [["a", "b"]] * 40
    elif case == "all missing":
        columns["text"] = [None] * 40
    elif case == "label floats":
        columns["label"] = [0.5, 1.5] * 20
    elif case == "digits":
        return {"data": {"source": "sklearn", "name": "digits"}}
    elif case == "too long":
        changes = {"max_length": 4000}
    write_columns(train, **columns)
    return changes


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("wrong column", "train has no column 'text'; did you mean 'texts'? there are: label, texts. Name the column"),
        ("wrong pair", "Name the column in `task.text_pair`"),
        ("same column", "both name column 'text'"),
        ("missing text", "row 39 of train has no text: column 'text' is missing there"),
        ("numbers", "column 'text' of train holds int64, not text. Name the right column in `task.text`"),
        ("lists", "column 'text' of train holds list"),
        ("all missing", "column 'text' of train holds null, not text"),
        ("label floats", "holds float values such as '0.5'; labels are text or whole numbers"),
        ("digits", "scikit-learn's digits are images, not texts"),
        ("too long", "`task.max_length` is 4000 and the teacher reads 64 pieces at most; set it to 64 or less"),
    ],
)
def test_bad_data_are_sentences(case: str, words: str, tmp_path: Path, bert: Path) -> None:
    changes = _bad(case, tmp_path / "data")
    with pytest.raises(ConfigError) as caught:
        task = text_task(tmp_path / "data", tmp_path / "cache", bert, **changes)
        _ = task.fingerprint, task.task_input()
    assert words in str(caught.value)


def test_labels_may_be_words_or_numbers_and_be_renamed(tmp_path: Path, bert: Path) -> None:
    write_columns(tmp_path / "data" / "train.parquet", text=["fine", "dull"] * 20, label=[1, 0] * 20)
    task = text_task(tmp_path / "data", tmp_path / "cache", bert, labels=["negative", "positive"])
    assert task.classes == ["negative", "positive"]
    texts = [text for (text,) in task.raw("train", 1000)]
    assert [text == "fine" for text in texts] == task.labels("train").astype(bool).tolist()


def test_there_is_no_augmentation_and_no_third_vocabulary(task: Task) -> None:
    assert task.augmentations == ["none"]
    with pytest.raises(ConfigError, match="no augmentation 'shift'"):
        task.batches("train", FULL, "shift")
    with pytest.raises(ConfigError, match="did you mean 'used'"):
        task.batches("train", {**FULL, "vocabulary": "usd"})


def test_real_pairs(tmp_path: Path, bert: Path) -> None:
    if not (SHARED / "sick").exists():
        pytest.skip("SICK is not beside this checkout")
    task = text_task(
        SHARED / "sick", tmp_path, bert, max_length=64, limit_rows={"train": 300, "validation": 50}, **PAIR
    )
    assert task.classes == ["neutral", "entailment", "contradiction"]
    assert (task.rows("train"), task.rows("validation"), task.rows("selection")) == (276, 50, 24)
    feed = load_feeds(task.feeds("validation", {**FULL, "max_length": 64}))[0]
    assert feed["token_type_ids"].max() == 1
