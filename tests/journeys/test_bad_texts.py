"""Bad texts, labels, tokenizers and teachers of texts: each its exit code and a sentence, or handled and told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from test_bad_input import Change, put
from text_data import texts, vocabulary, write_columns, write_texts, write_tiny_bert

from pipeline.cli import run

ROWS = 80
TEXTS, LABELS = texts(ROWS)
SECRET = "caf\u00e9"


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bert(tmp_path_factory.mktemp("bert"))


def good(folder: Path, bert: Path) -> dict[str, Any]:
    """A search over good texts in `folder`/data with a teacher that is fine-tuned from a copy of the checkpoint."""
    write_texts(folder / "data", rows=ROWS)
    place = shutil.copytree(bert, folder / "checkpoint")
    return {
        "name": "bad",
        "task": {
            "kind": "text_classification",
            "data": {"source": "folder", "path": str(folder / "data")},
            "max_length": 32,
        },
        "teacher": {"train": {"from_checkpoint": str(place), "epochs": 1}},
        "energy": "modelled",
        "limits": {"trials": 1},
    }


def rows(split: str = "train", **columns: Any) -> Change:
    """The rows of one split instead of the good ones; `text` and `label` stay good where they are not given."""

    def change(_: dict[str, Any], folder: Path) -> None:
        count = len(next(iter(columns.values())))
        good_ones = {"text": TEXTS[:count], "label": LABELS[:count]}
        write_columns(folder / "data" / f"{split}.parquet", **{**good_ones, **columns})

    return change


def table(**columns: Any) -> Change:
    """Training rows of columns that are all given."""
    return lambda _, folder: write_columns(folder / "data" / "train.parquet", **columns)


def csv(lines: Callable[[int], str], first: str = "text,label", encoding: str = "utf-8") -> Change:
    """All data in one CSV file."""

    def change(_: dict[str, Any], folder: Path) -> None:
        for path in (folder / "data").iterdir():
            path.unlink()
        body = "\n".join([first, *(lines(row) for row in range(ROWS))])
        (folder / "data" / "train.csv").write_bytes(body.encode(encoding))

    return change


def arrow(_: dict[str, Any], folder: Path) -> None:
    """A missing text in an arrow file."""
    for path in (folder / "data").iterdir():
        path.unlink()
    found = pa.table({"text": [*TEXTS[:-1], None], "label": LABELS})
    with pa.ipc.new_stream(str(folder / "data" / "train.arrow"), found.schema) as file:
        file.write_table(found)


def both(*changes: Change) -> Change:
    def change(config: dict[str, Any], folder: Path) -> None:
        for each in changes:
            each(config, folder)

    return change


def tokenizer_file(spoil: Callable[[Path], Any]) -> Change:
    """Spoils files of the teacher's checkpoint."""
    return lambda _, folder: spoil(folder / "checkpoint")


def other_tokenizer(name: str = "other", **sizes: Any) -> Change:
    """`task.tokenizer`: a checkpoint with as many pieces in another order, its configuration changed by `sizes`."""

    def change(config: dict[str, Any], folder: Path) -> None:
        place = shutil.copytree(folder / "checkpoint", folder / name)
        _reorder(place)
        told = json.loads((place / "config.json").read_text())
        (place / "config.json").write_text(json.dumps({**told, **sizes}))
        config["task"]["tokenizer"] = str(place)

    return change


def _reorder(place: Path) -> None:
    plan = json.loads((place / "tokenizer.json").read_text())
    numbers = plan["model"]["vocab"]
    plain = [piece for piece in numbers if not piece.startswith("[")]
    numbers |= dict(zip(plain, [numbers[piece] for piece in plain][::-1], strict=True))
    (place / "tokenizer.json").write_text(json.dumps(plan))


def _more_pieces(place: Path) -> None:
    config = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps({**config, "vocab_size": 100}))


def _vocabulary_beside(place: Path) -> None:
    (place / "vocab.txt").write_text("\n".join(sorted(vocabulary())) + "\n")


def _only(name: str) -> Callable[[Path], None]:
    def spoil(place: Path) -> None:
        (place / "tokenizer.json").unlink()
        (place / name).write_text("")

    return spoil


def trained(kind: str, **sizes: Any) -> Change:
    """`teacher.path`: a model of transformers with random weights and the tiny tokenizer."""

    def change(config: dict[str, Any], folder: Path) -> None:
        import transformers

        small = {"vocab_size": len(vocabulary()), "max_position_embeddings": 64}
        known = {"Bert": {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32},
                 "DistilBert": {"dim": 32, "n_layers": 1, "n_heads": 2, "hidden_dim": 32}}  # fmt: skip
        family = "DistilBert" if kind.startswith("DistilBert") else "Bert"
        told = getattr(transformers, f"{family}Config")(**small, **known[family], **sizes)
        place = folder / "trained"
        getattr(transformers, kind)(told).save_pretrained(place)
        shutil.copy(folder / "checkpoint" / "tokenizer.json", place)
        config["teacher"] = {"path": str(place)}

    return change


def image_teacher(config: dict[str, Any], folder: Path) -> None:
    from test_bad_input import teacher_folder

    config["teacher"] = {"path": str(teacher_folder(folder / "teacher"))}


def on_images(config: dict[str, Any], _: Path) -> None:
    config["task"] = {"data": {"source": "sklearn", "name": "digits"}, "size": 8, "channels": 1}
    config["teacher"] = {"train": {"model_type": "resnet", "config": {"embedding_size": 8}, "epochs": 1}}


def named(*classes: str) -> dict[str, Any]:
    return {"id2label": dict(enumerate(classes)), "label2id": {name: place for place, name in enumerate(classes)}}


CASES: dict[str, tuple[Change, str]] = {
    # texts
    "misspelt column": (put("task.text", "txt"), "no column 'txt'; did you mean 'text'?"),
    "numbers": (rows(text=list(range(ROWS))), "holds int64, not text. Name the right column in `task.text`"),
    "fractions": (rows(text=[0.5] * ROWS), "holds double, not text"),
    "lists": (rows(text=[["good"]] * ROWS), "holds list"),
    "bytes": (rows(text=[b"good"] * ROWS), "holds binary, not text"),
    "images": (rows(text=[{"bytes": b"x", "path": "a"}] * ROWS), "holds struct"),
    "nothing but missing ones": (rows(text=[None] * ROWS), "holds null, not text"),
    "a missing one": (rows(text=[*TEXTS[:-1], None]), "row 79 of train has no text: column 'text' is missing there"),
    "a missing one in validation": (rows("validation", text=[None, *TEXTS[:19]]), "row 0 of validation has no text"),
    "numbers in validation": (rows("validation", text=list(range(20))), "of validation holds int64, not text"),
    "a missing one in arrow": (arrow, "row 79 of train has no text"),
    "texts that are the labels": (put("task.text", "label"), "would hold its own answer"),
    "texts of digits": (put("task.data", {"source": "sklearn", "name": "digits"}), "are images, not texts"),
    # pairs
    "no second column": (put("task.text_pair", "sentence2"), "Name the column in `task.text_pair`"),
    "one column twice": (put("task.text_pair", "text"), "`task.text` and `task.text_pair` both name column 'text'"),
    "a missing second text": (
        both(table(text=TEXTS, other=[*TEXTS[:-1], None], label=LABELS), put("task.text_pair", "other")),
        "row 79 of train has no text: column 'other' is missing there",
    ),
    # CSV
    "csv that is not UTF-8": (csv(lambda row: f"{SECRET},{row % 2}", encoding="latin1"), "is not UTF-8: byte 0xe9"),
    "csv of semicolons": (csv(lambda row: f"a;{row % 2}", first="text;label"), "seem to be separated by ';'"),
    "csv without quotation marks": (csv(lambda row: f"good, no,{row % 2}"), "put quotation marks around texts"),
    "csv with one comma more": (csv(lambda row: f"{'a,b' if row == 9 else 'a'},{row % 2}"), "cannot be read"),
    "csv with NA": (csv(lambda row: f"{'NA' if row == 5 else 'a'},{row % 2}"), "row 5 of train has no text"),
    "csv of numbers": (csv(lambda row: f"{row},{row % 2}"), "holds int64, not text"),
    # labels
    "fractions as labels": (rows(label=[0.5, 1.5] * 40), "float values such as '0.5'; labels are text or whole"),
    "a missing label": (rows(label=[None, *LABELS[1:]]), "1 of 80 rows of train have no label (first: row 0"),
    "an empty label": (rows(label=[*LABELS[:-1], ""]), "1 of 80 rows of train have no label (first: row 79"),
    "lists as labels": (rows(label=[["a"], ["b"]] * 40), "list values"),
    "an unknown label": (rows("validation", label=["positiv", *LABELS[1:20]]), "did you mean 'positive'?"),
    "a number for a name": (
        both(rows(label=["0", "1"] * 40), rows("validation", label=[0, 1] * 10)),
        "label 0 (row 0 of validation, column 'label') is a whole number and the training rows write '0', a text",
    ),
    "names that are not the data's": (put("task.labels", ["negativ", "pos"]), "'negative', which `task.labels`"),
    "texts as labels": (
        table(words=TEXTS, text=[f"{row}" for row in range(ROWS)], label=[f"a {row}" for row in range(ROWS)]),
        "80 different values in 80 rows",
    ),
    "one class": (rows(label=["good"] * ROWS), "have one label, 'good'"),
    "one class in validation": (rows("validation", label=["positive"] * 20), "all 20 rows of validation have one"),
    # tokenizers
    "too long": (put("task.max_length", 100), "the teacher reads 64 pieces at most; set it to 64 or less"),
    "no tokenizer": (tokenizer_file(lambda place: (place / "tokenizer.json").unlink()), "neither tokenizer.json nor"),
    "half a tokenizer": (tokenizer_file(lambda place: (place / "tokenizer.json").write_text("{")), "cannot be read"),
    "tokenizer that is no text": (
        tokenizer_file(lambda place: (place / "tokenizer.json").write_bytes(b"\xff\xfe")), "cannot be read"
    ),
    "another kind of JSON": (tokenizer_file(lambda place: (place / "tokenizer.json").write_text("[]")), "cannot be"),
    "more pieces than rows": (tokenizer_file(_more_pieces), "131 pieces and the teacher's embedding 100 rows"),
    "two tokenizers in one folder": (tokenizer_file(_vocabulary_beside), "ids stand for other pieces"),
    "empty vocabulary": (tokenizer_file(_only("vocab.txt")), "it has no [UNK], [CLS], [SEP]"),
    "sentencepiece only": (tokenizer_file(_only("spiece.model")), "AutoTokenizer.from_pretrained(...)"),
    "tokenizer in another order": (other_tokenizer(), "124 of 131 ids stand for other pieces, e.g. 7 for 'with'"),
    "tokenizer of another model": (other_tokenizer(hidden_size=64), "its hidden_size is 64 and that of"),
    "tokenizer from nowhere": (put("task.tokenizer", "no/such/folder"), "there is no folder 'no/such/folder'"),
    # teachers and students
    "teacher without a classifier": (trained("BertModel"), "lacks 2 weights (classifier.bias, classifier.weight)"),
    "teacher of masked words": (trained("BertForMaskedLM"), "which would be random"),
    "teacher of three labels": (
        trained("BertForSequenceClassification", **named("a", "b", "c")), "(3): a, b, c. Task (2): negative, positive"
    ),
    "teacher of other labels": (
        trained("BertForSequenceClassification", **named("good", "bad")), "(2): good, bad. Task (2): negative"
    ),
    "teacher of images": (image_teacher, "is not that of a text encoder"),
    "teacher that is no BERT": (
        trained("DistilBertForSequenceClassification", **named("negative", "positive")), "this teacher is 'distilbert'"
    ),
    "teacher from nothing": (put("teacher", {"train": {"model_type": "bert"}}), "fine-tuned, not made from nothing"),
    "students of images": (put("space", {"students": ["convnet"]}), "convnet reads images and the task gives texts"),
    "students of texts": (both(on_images, put("space", {"students": ["bert"]})), "bert reads texts and the task gives"),
    "texts as images": (put("task.kind", "image_classification"), "no column 'image'"),
    "texts that say nothing": (rows(text=[""] * ROWS), "of no use"),
}  # fmt: skip
# Seen only once weights are loaded, or a teacher is trained.
NOT_DRY = ("teacher without a classifier", "teacher of masked words", "texts that say nothing")


def write(tmp_path: Path, bert: Path, change: Change, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = good(tmp_path, bert)
    change(config, tmp_path)
    (tmp_path / "search.yaml").write_text(yaml.safe_dump(config))


@pytest.mark.parametrize("case", CASES)
def test_bad_texts(
    case: str, bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    change, words = CASES[case]
    write(tmp_path, bert, change, monkeypatch)
    capsys.readouterr()  # what making the data printed
    for flags in ([], ["--dry-run"])[: 1 if case in NOT_DRY else 2]:
        code = run(["search", "search.yaml", *flags])
        said = capsys.readouterr()
        assert (code, words in said.err) == (2, True), f"exit {code}: {said.err}"
        assert said.err.startswith("niwaki: ")
        assert "Traceback" not in said.err + said.out
    assert not list(tmp_path.glob("mlruns/teachers/*")) or case == "texts that say nothing", "a teacher was trained"
    assert not list(tmp_path.glob("mlruns/searches/*/trials/*")), "a trial was begun"


def plain_words(_: dict[str, Any], folder: Path) -> None:
    place = folder / "checkpoint"
    (place / "tokenizer.json").unlink()
    (place / "vocab.txt").write_text("\n".join(vocabulary()) + "\n")


def dictionary(_: dict[str, Any], folder: Path) -> None:
    columns = {"text": pa.array(TEXTS).dictionary_encode(), "label": pa.array(LABELS)}
    pq.write_table(pa.table(columns), folder / "data" / "train.parquet")


HANDLED: dict[str, tuple[Change, str]] = {
    "empty texts": (rows("validation", text=["", " ", "\n\t", *TEXTS[3:20]]), "3 of 20 rows of validation hold"),
    "a text of 10,000 words": (
        rows("validation", text=["good film " * 5000, *TEXTS[1:20]]),
        "1 of 20 rows of validation are longer than 32 pieces; their ends are not read",
    ),
    "numbers in quotation marks as labels": (
        both(rows(label=["0", "1"] * 40), rows("validation", label=["0", "1"] * 10)), "2 classes"
    ),
    "whole numbers as labels": (
        both(rows(label=[0, 1] * 40), rows("validation", label=[0, 1] * 10)), "2 classes"
    ),
    "truth values as labels": (
        both(rows(label=[False, True] * 40), rows("validation", label=[False, True] * 10)), "2 classes"
    ),
    "a label of validation that is mapped": (
        both(
            rows("validation", label=["meh", *LABELS[1:20]]),
            put("task.labels", {"negative": "bad", "positive": "good", "meh": "bad"}),
        ),
        "2 classes",
    ),
    "an unknown label in test, which is not read": (rows("test", label=["neutral", *LABELS[1:20]]), "2 classes"),
    "one text under two labels": (rows(text=["same"] * ROWS), "1 of 1 different texts of train have more than one"),
    "a slow tokenizer": (plain_words, "2 classes"),
    "a column of a few texts": (dictionary, "2 classes"),
    "another place for the same tokenizer": (
        lambda config, folder: config["task"].update(
            tokenizer=str(shutil.copytree(folder / "checkpoint", folder / "same"))
        ),
        "2 classes",
    ),
    "options of images": (put("task.channels", 1), "`task.channels` is for images and not read by"),
    "options of texts": (both(on_images, put("task.max_length", 64)), "`task.max_length` is for texts and not read by"),
}  # fmt: skip


@pytest.mark.parametrize("case", HANDLED)
def test_what_is_handled_is_told(
    case: str, bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    change, words = HANDLED[case]
    write(tmp_path, bert, change, monkeypatch)
    assert run(["search", "search.yaml", "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert run(["search", "search.yaml", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert words in said
    assert [line for line in said.splitlines() if line.startswith("note: ")] == [f"note: {n}" for n in plan["notes"]]
    assert bool(plan["notes"]) or words == "2 classes"


def test_teachers_are_told_the_notes_too(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, bert, HANDLED["empty texts"][0], monkeypatch)
    assert run(["teacher", "search.yaml"]) == 0
    first, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("note: 3 of 20 rows of validation hold an empty text")
    assert run(["teacher", "search.yaml", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["notes"][0] == first.removeprefix("note: ")


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"label": ["neutral", *LABELS[1:20]]}, "label 'neutral' (row 0 of test, column 'label') is none of the"),
        ({"text": [None, *TEXTS[1:20]]}, "row 0 of test has no text: column 'text' is missing there"),
    ],
)
def test_bad_rows_of_test_are_sentences_once_it_is_read(
    columns: dict[str, Any], words: str, bert: Path, tmp_path: Path
) -> None:
    from text_data import text_task

    from pipeline.errors import ConfigError

    good(tmp_path, bert)
    rows("test", **columns)({}, tmp_path)
    task = text_task(tmp_path / "data", tmp_path / "cache", bert)
    with pytest.raises(ConfigError) as caught:
        _ = task.labels("test"), task.feeds("test", {"max_length": 16, "vocabulary": "full"})
    assert words in str(caught.value)


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 45
