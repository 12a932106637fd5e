from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from text_data import text_task, tiny_tokenizer, write_columns, write_texts, write_tiny_bert
from tokenizers import Tokenizer

from pipeline.errors import ConfigError, Unavailable
from pipeline.tasks._pretrained import read_pretrained
from pipeline.tasks._trim import trimmed, used_pieces
from pipeline.tasks.text_classification import Task

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
FULL: dict[str, Any] = {"max_length": 16, "vocabulary": "full"}
USED: dict[str, Any] = {"max_length": 16, "vocabulary": "used"}


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture
def task(tmp_path: Path, bert: Path) -> Task:
    return text_task(write_texts(tmp_path / "data"), tmp_path / "cache", bert)


def test_the_trimmed_tokenizer_gives_the_mapped_ids_of_all_training_rows(task: Task) -> None:
    kept = task.kept_pieces(USED)
    assert kept is not None
    assert (task.kept_pieces(FULL), len(kept)) == (None, task.task_input().used)
    assert np.all(np.diff(kept) > 0)
    full, used = (list(task.batches("train", view).in_order()) for view in (FULL, USED))
    for a, b in zip(full, used, strict=True):
        there = a.inputs[1].bool()
        assert torch.equal(a.inputs[1], b.inputs[1])
        assert np.array_equal(kept[b.inputs[0][there].numpy()], a.inputs[0][there].numpy())
    own = Tokenizer.from_str(task.files(USED)["tokenizer.json"].decode())
    assert own.get_vocab_size() == len(kept)
    assert (own.token_to_id("turnip"), own.token_to_id("##ology")) == (None, None)
    assert own.encode("turnip").tokens == ["[CLS]", "t", "##u", "##r", "##n", "##i", "##p", "[SEP]"]


def test_pieces_beyond_the_cut_count_as_used(tmp_path: Path, bert: Path) -> None:
    texts = ["good " * 30 + "turnip", "dull"] * 20
    write_columns(tmp_path / "data" / "train.parquet", text=texts, label=["yes", "no"] * 20)
    task = text_task(tmp_path / "data", tmp_path / "cache", bert)
    assert Tokenizer.from_str(task.files(USED)["tokenizer.json"].decode()).token_to_id("turnip") is not None


def _real_tokenizer() -> Tokenizer:
    from pipeline.tasks._pretrained import _bert_tokenizer

    folder = SHARED / "bert_uncased_vocab"
    if not folder.exists() or not (SHARED / "sst2").exists():
        pytest.skip("the vocabulary and SST-2 are not beside this checkout")
    return _bert_tokenizer(folder / "vocab.txt", None)


def test_a_real_vocabulary_is_trimmed_without_changing_a_training_row() -> None:
    import pyarrow.parquet as pq

    tokenizer = _real_tokenizer()
    texts = pq.read_table(SHARED / "sst2" / "train.parquet").column("text").to_pylist()[:5000]
    assert tokenizer.encode("A charming film").ids == [101, 1037, 11951, 2143, 102]
    kept = np.flatnonzero(used_pieces(tokenizer, [texts], 30522))
    own = trimmed(tokenizer, kept)
    assert 2000 < len(kept) < 15000
    for full, few in zip(tokenizer.encode_batch(texts), own.encode_batch(texts), strict=True):
        assert kept[few.ids].tolist() == full.ids
    assert "[UNK]" not in own.encode("Zygomorphic quaternions, naïve 東京 x").tokens


def test_other_tokenizers_are_left_whole(tmp_path: Path, bert: Path) -> None:
    from tokenizers import models, pre_tokenizers, processors

    other = shutil.copytree(bert, tmp_path / "bpe")
    pieces = {piece: number for number, piece in enumerate(["<s>", "</s>", *"abcdefghijklmnopqrstuvwxyz.!"])}
    tokenizer = Tokenizer(models.BPE(pieces, []))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0))
    tokenizer.save(str(other / "tokenizer.json"))
    task = text_task(write_texts(tmp_path / "data"), tmp_path / "cache", other)
    assert task.task_input().used == task.task_input().vocabulary == len(pieces)
    assert task.kept_pieces(USED) is None
    assert task.preprocess(("ab",), USED)["input_ids"].tolist() == [[0, 2, 3, 1]]


def test_a_tokenizer_that_pads_and_cuts_by_itself_does_neither_here(tmp_path: Path, bert: Path) -> None:
    place = shutil.copytree(bert, tmp_path / "padded")
    tokenizer = tiny_tokenizer()
    tokenizer.enable_padding(length=12)
    tokenizer.enable_truncation(4)
    tokenizer.save(str(place / "tokenizer.json"))
    task = text_task(write_texts(tmp_path / "data"), tmp_path / "cache", place)
    for text, length in (("good", 3), ("a good film with a good plot", 9)):
        assert task.preprocess((text,), FULL)["input_ids"].shape == (1, length)
        assert task.preprocess((text,), USED)["input_ids"].shape == (1, length)


def _bad_place(case: str, place: Path) -> None:
    """Spoils a copy of the checkpoint in one way."""
    config = json.loads((place / "config.json").read_text())
    plan = json.loads((place / "tokenizer.json").read_text())
    if case == "no tokenizer":
        (place / "tokenizer.json").unlink()
        return
    if case == "no config":
        (place / "config.json").unlink()
        return
    if case == "image model":
        config = {"model_type": "resnet", "hidden_sizes": [8]}
    elif case == "more pieces":
        config["vocab_size"] -= 3
    elif case == "no separator":
        plan["added_tokens"] = [token for token in plan["added_tokens"] if token["content"] != "[SEP]"]
        plan["model"]["vocab"]["[OTHER]"] = plan["model"]["vocab"].pop("[SEP]")
        plan["post_processor"] = None
    elif case == "no template":
        plan["post_processor"] = None
    (place / "config.json").write_text(json.dumps(config))
    (place / "tokenizer.json").write_text("{" if case == "broken" else json.dumps(plan))


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("no tokenizer", "holds neither tokenizer.json nor vocab.txt"),
        ("no config", "but no config.json; `task.tokenizer` is the folder or hub name of the teacher itself"),
        ("image model", "has no 'num_hidden_layers', so it is not that of a text encoder"),
        ("more pieces", "is not the teacher's: it has 131 pieces and the teacher's embedding 128 rows"),
        ("no separator", "is not the teacher's: it has no [SEP]"),
        ("no template", "is not the teacher's: it puts no special piece around a text"),
        ("broken", "cannot be read: "),
    ],
)
def test_a_tokenizer_that_does_not_fit_is_a_sentence(case: str, words: str, tmp_path: Path, bert: Path) -> None:
    place = shutil.copytree(bert, tmp_path / "spoilt")
    _bad_place(case, place)
    with pytest.raises(ConfigError) as caught:
        read_pretrained(str(place))
    assert words in str(caught.value)


def test_older_checkpoints_have_a_vocabulary_instead(tmp_path: Path, bert: Path) -> None:
    place = shutil.copytree(bert, tmp_path / "old")
    (place / "tokenizer.json").unlink()
    pieces = tiny_tokenizer().get_vocab()
    (place / "vocab.txt").write_text("\n".join(sorted(pieces, key=lambda piece: pieces[piece])) + "\n")
    (place / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True}))
    for text in ("The actors acted poorly!", "GOOD", ""):
        assert read_pretrained(str(place)).tokenizer.encode(text).ids == tiny_tokenizer().encode(text).ids
    pair = read_pretrained(str(place)).tokenizer.encode("good", "dull")
    assert pair.type_ids == tiny_tokenizer().encode("good", "dull").type_ids


def test_a_hub_name_is_fetched_file_by_file(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub import errors

    asked = []

    def download(name: str, file: str) -> str:
        asked.append((name, file))
        return str(bert / file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    assert read_pretrained("owner/model").pieces == tiny_tokenizer().get_vocab_size()
    assert asked == [("owner/model", "config.json"), ("owner/model", "tokenizer.json")]

    def offline(*_: str) -> str:
        raise errors.LocalEntryNotFoundError("no connection")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    with pytest.raises(Unavailable, match="cannot be fetched: no connection"):
        read_pretrained("owner/model")
