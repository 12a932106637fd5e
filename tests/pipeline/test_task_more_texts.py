"""Texts without labels beside those of train: what an epoch shows, how rows are numbered, what is computed once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from text_data import CLASSES, text_task, texts, write_columns, write_texts, write_tiny_bert, write_unlabelled

from hardware_targets import load_feeds
from pipeline import workbench
from pipeline.config_file import parse_config
from pipeline.errors import ConfigError
from pipeline.preflight import same_search
from pipeline.tasks.text_classification import Task
from pipeline.teacher import load_teacher
from pipeline.teacher_cache import teacher_targets
from pipeline.training import logits_of
from pipeline.workspace import Workspace

FULL: dict[str, Any] = {"max_length": 16, "vocabulary": "full"}
USED: dict[str, Any] = {"max_length": 16, "vocabulary": "used"}
HUB: dict[str, Any] = {"data": {"source": "hub", "name": "x"}}
TRAIN, MORE, COPIES = 184, 60, 3  # rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("more")
    write_tiny_bert(found / "bert")
    write_texts(found / "data")
    write_unlabelled(found / "more", MORE)
    return found


def transfer(folder: Path, **changes: Any) -> dict[str, Any]:
    return {"data": {"source": "folder", "path": str(folder / "more")}, **changes}


def made(folder: Path, **changes: Any) -> Task:
    return text_task(folder / "data", folder / "cache", folder / "bert", **changes)


@pytest.fixture(scope="module")
def task(folder: Path) -> Task:
    return made(folder, transfer=transfer(folder), replace={"copies": COPIES, "share": 0.5})


def shown(task: Task, augment: str, seed: int = 0, **more: Any) -> np.ndarray:
    """Row numbers of one epoch."""
    served = task.batches("train", FULL, augment, batch_size=1, **more)
    batches = list(served.epoch(torch.Generator().manual_seed(seed)))
    assert len(batches) == served.steps
    return torch.cat([batch.rows for batch in batches]).numpy()


def test_the_axis_offers_what_is_configured(folder: Path, task: Task) -> None:
    assert made(folder).augmentations == ["none"]
    assert made(folder, transfer=transfer(folder)).augmentations == ["none", "transfer"]
    assert made(folder, replace={}).augmentations == ["none", "replace"]
    assert task.augmentations == ["none", "transfer", "replace", "transfer_replace"]
    assert list(task.extra) == ["transfer", "replaced"]
    assert (task.rows("train"), task.rows("transfer"), task.rows("replaced")) == (TRAIN, MORE, COPIES * TRAIN)


def test_transfer_makes_an_epoch_longer_by_its_rows(task: Task) -> None:
    rows = shown(task, "transfer")
    assert sorted(rows) == list(range(TRAIN + MORE))
    assert sorted(shown(task, "none")) == list(range(TRAIN))


def test_replace_shows_every_row_once_half_of_them_replaced(task: Task) -> None:
    rows = shown(task, "replace")
    first = TRAIN + MORE
    replaced = rows >= first
    assert not ((rows >= TRAIN) & (rows < first)).any()
    assert sorted(np.where(replaced, (rows - first) % TRAIN, rows)) == list(range(TRAIN))
    assert 0.35 < replaced.mean() < 0.65  # 0.5 at 184 rows has a standard deviation of 0.037
    assert np.bincount((rows[replaced] - first) // TRAIN, minlength=COPIES).min() > 10
    both = shown(task, "transfer_replace")
    assert len(both) == TRAIN + MORE
    assert sorted(both[(both >= TRAIN) & (both < first)]) == list(range(TRAIN, first))


def test_the_seed_decides_what_an_epoch_shows(task: Task) -> None:
    assert np.array_equal(shown(task, "replace", 3), shown(task, "replace", 3))
    assert not np.array_equal(np.sort(shown(task, "replace", 3)), np.sort(shown(task, "replace", 4)))


def test_a_share_of_the_rows_is_one_of_both_kinds(task: Task) -> None:
    rows = shown(task, "transfer", share=0.25)
    assert ((rows < TRAIN).sum(), (rows >= TRAIN).sum()) == (TRAIN // 4, MORE // 4)
    again = shown(task, "transfer", 5, share=0.25)
    assert sorted(rows) == sorted(again)
    replaced = shown(task, "replace", share=0.25)
    assert set(np.where(replaced < TRAIN, replaced, (replaced - TRAIN - MORE) % TRAIN)) == set(rows[rows < TRAIN])


def test_row_numbers_lead_to_the_texts(task: Task, folder: Path) -> None:
    more = pq.read_table(folder / "more" / "train.parquet")["text"].to_pylist()
    copies = list(task._texts("replaced"))
    train = [feed["input_ids"][0].tolist() for feed in load_feeds(task.feeds("train", FULL))]
    for batch in task.batches("train", FULL, "transfer_replace", batch_size=8).epoch(torch.Generator()):
        ids, mask = batch.inputs
        for line, row in enumerate(batch.rows.tolist()):
            pieces = ids[line][mask[line].bool()].tolist()
            if row < TRAIN:
                assert pieces == train[row]
            else:
                text = (more[row - TRAIN],) if row < TRAIN + MORE else copies[row - TRAIN - MORE]
                assert pieces == task.preprocess(text, FULL)["input_ids"][0].tolist()


def test_validation_feeds_labels_and_fingerprint_know_nothing_of_them(task: Task, folder: Path) -> None:
    plain = made(folder)
    assert task.fingerprint == plain.fingerprint
    assert len(task.labels("train")) == TRAIN
    assert task.feeds("validation", USED) == plain.feeds("validation", USED)
    assert task.task_input() == plain.task_input()  # the trimmed vocabulary among it
    with pytest.raises(ConfigError, match="no augmentation 'transfr'; did you mean 'transfer'"):
        task.batches("train", FULL, "transfr")


def test_a_label_column_of_the_transfer_data_is_not_read(folder: Path, tmp_path: Path) -> None:
    columns = {"label": [None] * 20, "sentence": texts(20, 7)[0]}
    write_columns(tmp_path / "more" / "train.parquet", **columns)
    write_columns(tmp_path / "more" / "test.parquet", label=[1], nonsense=[1])
    found = made(folder, transfer=transfer(tmp_path, text="sentence", limit_rows=12))
    assert found.rows("transfer") == 12
    chosen = [text for (text,) in found._texts("transfer")]
    assert set(chosen) <= set(columns["sentence"])
    assert chosen != columns["sentence"][:12]


def test_replaced_texts_are_made_once_and_anew_where_something_changes(folder: Path, tmp_path: Path) -> None:
    told: list[str] = []
    for changes in ({}, {}, {"seed": 1}, {"copies": 1}):
        task = text_task(folder / "data", tmp_path / "c", folder / "bert", replace={"share": 0.5, **changes})
        task.check_extra()
        task.make_extra(told.append)
    begun = [line for line in told if line.startswith("replacing words of 184 training rows by teacher_embeddings, ")]
    assert len(begun) == len(list((tmp_path / "c" / "replaced").iterdir())) == 3
    other = write_tiny_bert(tmp_path / "other", seed=5)
    changed = text_task(folder / "data", tmp_path / "c", folder / "bert", tokenizer=str(other), replace={"share": 0.5})
    plain = text_task(folder / "data", tmp_path / "c", folder / "bert", replace={"share": 0.5})
    assert changed.extra != plain.extra
    plain.make_extra(told.append)  # it is known: nothing is told
    assert len([line for line in told if line.startswith("replacing")]) == 3


def test_the_teacher_answers_the_further_rows_once(task: Task, folder: Path, tmp_path: Path) -> None:
    teacher = load_teacher(str(folder / "bert"), task)
    told: list[str] = []
    targets = teacher_targets(teacher, task, tmp_path, progress=told.append)
    assert [line for line in told if "replaced" in line or "transfer" in line] == [
        f"the teacher answers {MORE} plain transfer rows",
        f"the teacher answers {COPIES * TRAIN} plain replaced rows",
    ]
    learned = targets.learned_logits()
    assert learned.shape == (TRAIN + MORE + COPIES * TRAIN, 2)
    np.testing.assert_array_equal(learned[:TRAIN], targets.logits("train"))
    wanted = logits_of(teacher.module, task.batches("transfer", FULL))
    np.testing.assert_allclose(learned[TRAIN : TRAIN + MORE], wanted, atol=1e-5)
    told.clear()
    teacher_targets(teacher, made(folder, transfer=transfer(folder)), tmp_path, progress=told.append)
    assert told == []  # what was answered for one search is known to the next
    teacher_targets(teacher, made(folder, transfer=transfer(folder, limit_rows=9)), tmp_path, progress=told.append)
    assert told == ["the teacher answers 9 plain transfer rows"]
    teacher_targets(teacher, made(folder, replace={"copies": 1, "seed": 9}), tmp_path, progress=told.append)
    assert told[1].startswith(f"replacing words of {TRAIN} training rows")


def settings(folder: Path, **task: Any) -> dict[str, Any]:
    data = {"source": "folder", "path": str(folder / "data")}
    return {
        "name": "more",
        "task": {"kind": "text_classification", "data": data, "max_length": 16, **task},
        "teacher": {"train": {"from_checkpoint": str(folder / "bert")}},
        "energy": "modelled",
    }


def test_another_transfer_corpus_is_another_search_with_the_same_teacher(folder: Path, tmp_path: Path) -> None:
    workspace, folders = Workspace(tmp_path, "more"), []
    choices: list[dict[str, Any]] = [{}, {"transfer": transfer(folder)}, {"replace": {"copies": 1}}]
    for number, changes in enumerate(choices):
        config = parse_config(settings(folder, **changes), "")
        folders.append(workbench.trained_folder(config, workspace, workbench.prepare_task(config, workspace))[0])
        workspace.folder.mkdir(parents=True, exist_ok=True)
        workspace.save_state(config=config.resolved(), space={}, target={})
        same_search(config, workspace)
        other = parse_config(settings(folder, **choices[number - 1]), "")
        with pytest.raises(ConfigError, match=r"begun with another configuration: task\.(transfer|replace)"):
            same_search(other, workspace)
    assert len(set(folders)) == 1


def _bad(case: str, tmp_path: Path) -> dict[str, Any]:
    """One kind of bad input: changes to the task's configuration."""
    columns: dict[str, Any] = {"text": texts(20, 7)[0]}
    changes: dict[str, Any] = {"transfer": transfer(tmp_path)}
    if case == "column":
        columns = {"texts": columns["text"]}
    elif case == "missing text":
        columns["text"][3] = None
    elif case == "numbers":
        columns["text"] = list(range(20))
    elif case == "no rows":
        columns["text"] = columns["text"][:0]
    elif case == "no place":
        changes = {"transfer": {"data": {"source": "folder", "path": str(tmp_path / "nothing")}}}
    elif case == "digits":
        changes = {"transfer": {"data": {"source": "sklearn", "name": "digits"}}}
    elif case == "same column":
        columns, changes = {"sentence1": columns["text"]}, {
            "data": {"source": "folder", "path": str(write_texts(tmp_path / "pairs", pairs=True))},
            "text": "sentence1", "text_pair": "sentence2",
            "transfer": transfer(tmp_path, text="sentence1", text_pair="sentence1"),
        }  # fmt: skip
    write_columns(tmp_path / "more" / "train.parquet", **columns)
    return changes


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("column", "did you mean 'texts'? there are: texts. Name the column in `task.transfer.text`"),
        ("missing text", "row 3 of train of task.transfer has no text"),
        ("numbers", "column 'text' of train of task.transfer holds int64, not text"),
        ("no rows", "is empty"),
        ("no place", "in `task.transfer.data.path`"),
        ("digits", "give `task.transfer.data` a folder or a hub name"),
        ("same column", "`task.transfer.text` and `task.transfer.text_pair` both name column 'sentence1'"),
    ],
)  # fmt: skip
def test_bad_transfer_data_are_sentences(case: str, words: str, folder: Path, tmp_path: Path) -> None:
    changes = _bad(case, tmp_path)
    with pytest.raises(ConfigError) as caught:
        made(folder, **changes).check_extra()
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"text_pair": "b", "transfer": HUB}, "the task is about pairs and `transfer:`"),
        ({"transfer": {**HUB, "text_pair": "b"}}, "about single texts and `transfer:`"),
        ({"kind": "image_classification", "replace": {}}, "`replace:` is for texts"),
        ({"replace": {"by": "wordnt"}}, "by: Input should be 'teacher_embeddings', 'masked_model' or 'wordnet'"),
        ({"replace": {"by": "masked_model"}}, "`by: masked_model` and `model:` go together"),
        ({"replace": {"model": "x"}}, "`by: masked_model` and `model:` go together"),
        ({"replace": {"copies": 21}}, "task.replace.copies"),
        ({"transfer": {"dat": {}}}, "did you mean 'data'?"),
    ],
)  # fmt: skip
def test_bad_configurations_are_sentences(changes: dict[str, Any], words: str, folder: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(settings(folder, **changes), "file.yaml")
    assert words in str(caught.value)


def test_pairs_have_both_texts_replaced_and_transferred(folder: Path, tmp_path: Path) -> None:
    write_texts(tmp_path / "data", rows=60, pairs=True)
    write_unlabelled(tmp_path / "more", 20, pairs=True)
    task = text_task(
        tmp_path / "data", tmp_path / "cache", folder / "bert", text="sentence1", text_pair="sentence2",
        transfer=transfer(tmp_path, text="one", text_pair="two"), replace={"copies": 1, "share": 1.0},
    )  # fmt: skip
    assert task.classes == list(CLASSES)
    served = task.batches("train", FULL, "transfer_replace", batch_size=8)
    batches = list(served.epoch(torch.Generator().manual_seed(0)))
    assert {len(batch.inputs) for batch in batches} == {3}
    assert max(int(batch.rows.max()) for batch in batches) >= task.rows("train") + 20
    rows, copies = list(task._texts("train")), list(task._texts("replaced"))
    differing = [[a != b for a, b in zip(row, copy, strict=True)] for row, copy in zip(rows, copies, strict=True)]
    assert np.mean(differing, axis=0).min() > 0.8
