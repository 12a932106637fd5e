"""Small synthetic texts with a sentiment that can be learned, and a tiny BERT checkpoint whose tokenizer knows them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from pipeline import tasks
from pipeline.config import TaskConfig
from pipeline.tasks.text_classification import Task

CLASSES = ("negative", "positive")
MOODS = {
    "negative": ("awful", "boring", "dull", "poorly", "terrible", "weak"),
    "positive": ("brilliant", "charming", "funny", "good", "lovely", "warmly"),
}
PLAIN = (
    "a", "acted", "actors", "and", "big", "end", "film", "has", "in", "is", "it", "movie", "of", "plot", "scenes",
    "story", "the", "this", "told", "was", "with",
)  # fmt: skip
NEVER_USED = ("cabbage", "harbour", "quantum", "turnip", "##ology", "##ward")
PIECES = ("##ing", "##ly", "##ness", "##s", "act", "actor", "poor", "scene", "warm")
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,!?'"
MAX_POSITIONS = 64


def texts(rows: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """`rows` texts of 2 to 20 words, and their labels: each text has one to three words of its label's mood."""
    chance = random.Random(seed)
    found, labels = [], []
    for row in range(rows):
        mood = CLASSES[row % 2]
        words = [chance.choice(PLAIN) for _ in range(chance.choice((1, 3, 5, 9, 17)))]
        for _ in range(chance.choice((1, 2, 3))):
            words.insert(chance.randrange(len(words) + 1), chance.choice(MOODS[mood]))
        found.append(" ".join(words).capitalize() + chance.choice(("", ".", "!", " ...")))
        labels.append(mood)
    return found, labels


def write_texts(folder: Path, rows: int = 200, pairs: bool = False) -> Path:
    """train, validation and test.parquet with columns `text` and `label`; pairs: `sentence1`, `sentence2`, `label`.

    `rows` rows of train, a quarter of that in the others; labels are the names of CLASSES, half and half. The two
    sentences of a pair have one mood. Returns the folder.
    """
    for seed, (split, count) in enumerate((("train", rows), ("validation", rows // 4), ("test", rows // 4))):
        first, labels = texts(count, seed)
        columns: dict[str, Any] = {"text": first, "label": labels}
        if pairs:
            columns = {"sentence1": first, "sentence2": texts(count, 100 + seed)[0], "label": labels}
        write_columns(folder / f"{split}.parquet", **columns)
    return folder


def write_unlabelled(folder: Path, rows: int = 60, pairs: bool = False) -> Path:
    """train.parquet with texts of another seed and no label: column `text`, or `one` and `two`. Returns the folder."""
    first, second = texts(rows, 50)[0], texts(rows, 51)[0]
    write_columns(folder / "train.parquet", **({"one": first, "two": second} if pairs else {"text": first}))
    return folder


def write_columns(path: Path, **columns: Any) -> None:
    """One Parquet file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({name: pa.array(values) for name, values in columns.items()}), path)


def vocabulary() -> list[str]:
    """Pieces of the tiny tokenizer in the order of their ids; special pieces are not the first ones, as in BERT."""
    special = ["[PAD]", "[unused0]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [*LETTERS, *(f"##{letter}" for letter in LETTERS)]
    words = [*PLAIN, *MOODS["negative"], *MOODS["positive"], *NEVER_USED, *PIECES]
    # Left out, so that they are spelt in pieces: actors = actor ##s, poorly = poor ##ly, ...
    split = {"actors", "scenes", "poorly", "warmly"}
    return list(dict.fromkeys(special + letters + sorted(word for word in words if word not in split)))


def tiny_tokenizer() -> Tokenizer:
    """A WordPiece tokenizer with BERT's normaliser, pre-tokenizer and template."""
    numbers = {piece: number for number, piece in enumerate(vocabulary())}
    tokenizer = Tokenizer(models.WordPiece(numbers, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", numbers["[CLS]"]), ("[SEP]", numbers["[SEP]"])],
    )
    return tokenizer


def write_tiny_bert(
    folder: Path, classes: Sequence[str] = CLASSES, layers: int = 2, width: int = 32, heads: int = 4, seed: int = 0
) -> Path:
    """A BertForSequenceClassification with random weights as a local checkpoint: config.json, model.safetensors,
    tokenizer.json. Returns the folder.
    """
    from transformers import BertForSequenceClassification

    labels = dict(enumerate(classes))
    config = _bert_config(layers, width, heads, id2label=labels, label2id={name: key for key, name in labels.items()})
    return _write_checkpoint(folder, BertForSequenceClassification, config, seed)


def write_tiny_masked_bert(folder: Path, favourite: str | None = None) -> Path:
    """A BertForMaskedLM with random weights, which guesses the piece `favourite` everywhere. Returns the folder."""
    from transformers import BertForMaskedLM

    _write_checkpoint(folder, BertForMaskedLM, _bert_config(1, 32, 4), 0)
    model = BertForMaskedLM.from_pretrained(folder)
    with torch.no_grad():
        for weights in model.parameters():
            if weights.ndim > 1:
                weights.mul_(8)  # fresh weights are so small that the model hardly minds what it reads
        if favourite is not None:
            model.cls.predictions.bias[vocabulary().index(favourite)] = 1000.0
    model.save_pretrained(folder)
    return folder


def _bert_config(layers: int, width: int, heads: int, **more: Any) -> Any:
    from transformers import BertConfig

    return BertConfig(
        vocab_size=len(vocabulary()),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=2 * width,
        max_position_embeddings=MAX_POSITIONS,
        pad_token_id=0,
        **more,
    )


def _write_checkpoint(folder: Path, kind: Any, config: Any, seed: int) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = kind(config)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tiny_tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def text_task(folder: Path, cache: Path, bert: Path, **changes: Any) -> Task:
    """A task over the files in `folder`, 16 pieces long, with the tokenizer of the checkpoint `bert`."""
    fields: dict[str, Any] = {
        "data": {"source": "folder", "path": str(folder)},
        "tokenizer": str(bert),
        "max_length": 16,
    }
    task = tasks.load(TaskConfig(kind="text_classification", **{**fields, **changes}), cache)
    assert isinstance(task, Task)
    return task
