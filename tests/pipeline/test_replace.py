"""Which words of a text are replaced, and by what."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import text_data
import torch
from tokenizers import Tokenizer, models

from pipeline.config import ReplaceConfig
from pipeline.errors import ConfigError, Unavailable
from pipeline.tasks._proposals import MaskedModel, Neighbours, Place, whole_words
from pipeline.tasks._replace import replaced, words_of
from pipeline.tasks._wordnet import open_wordnet, synonyms

ROWS = [("The film is good.",), ("WELL told",), ("3 x2 don't well-made",)]


def shouted(rows: Sequence[tuple[str, ...]], places: Sequence[Place], _: Any) -> list[list[str]]:
    """A proposer: the word twice over; nothing for `told`."""
    words = [rows[place.row][place.text][place.start : place.end].lower() for place in places]
    return [[] if word == "told" else [word + word] for word in words]


def quiet(_: str) -> None:
    pass


def test_words_are_whole_ones_of_letters() -> None:
    texts = [ROWS[1], ("don't x2 I was_it well-made café, 'good' 100 über",)]
    found = [[row[p.text][p.start : p.end] for p in words_of(0, row)] for row in texts]
    assert found == [["WELL", "told"], ["café", "über"]]


def test_a_replaced_word_keeps_its_case_and_all_else_stays() -> None:
    (copy,) = replaced(ROWS, ReplaceConfig(copies=1, share=1.0), shouted, quiet)
    assert copy == [("Thethe filmfilm isis goodgood.",), ("WELLWELL told",), ROWS[2]]


def test_a_share_is_replaced_and_one_word_at_least() -> None:
    long = [(" ".join(["word"] * 200),)]
    (copy,) = replaced(long, ReplaceConfig(copies=1, share=0.15), shouted, quiet)
    assert 15 <= copy[0][0].split().count("wordword") <= 45  # 30, standard deviation 5
    copies = replaced([("good film",)] * 50, ReplaceConfig(copies=2, share=0.001), shouted, quiet)
    assert {text for copy in copies for (text,) in copy} == {"goodgood film", "good filmfilm"}


def test_the_seed_decides_and_copies_differ() -> None:
    def made(seed: int) -> Any:
        return replaced([("a good film with a plot and funny actors",)] * 20, ReplaceConfig(seed=seed), shouted, quiet)

    assert made(1) == made(1) != made(2)
    assert made(1)[0] != made(1)[1]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return text_data.write_tiny_bert(tmp_path_factory.mktemp("bert"))


def place_of(row: tuple[str, ...], word: str, text: int = 0, number: int = 0) -> Place:
    start = row[text].index(word)
    return Place(number, text, start, start + len(word))


def test_a_masked_model_guesses_at_whole_words_but_the_word_itself(tmp_path: Path) -> None:
    place = text_data.write_tiny_masked_bert(tmp_path / "mlm", favourite="brilliant")
    propose, row = MaskedModel(str(place), 5), ("The Actors were good", "brilliant film")
    asked = [
        place_of(row, "Actors"),  # two pieces
        place_of(row, "good"),
        place_of(row, "brilliant", 1),
    ]
    told: list[str] = []
    found = propose([row], asked, told.append)
    assert found[0] == []
    assert found[1][0] == "brilliant"
    assert "brilliant" not in found[2]
    assert [len(set(words)) for words in found[1:]] == [5, 5]
    assert all(word.isalpha() and len(word) > 1 for words in found for word in words)
    assert told[-1] == "the masked model has guessed 2 of 2 words"


def test_guesses_do_not_depend_on_what_stands_in_the_same_batch(tmp_path: Path) -> None:
    propose = MaskedModel(str(text_data.write_tiny_masked_bert(tmp_path / "mlm")), 8)
    rows = [(text,) for text in text_data.texts(40)[0]]
    places = [place for number, row in enumerate(rows) for place in words_of(number, row)]
    together = propose(rows, places, quiet)
    alone = [propose(rows, [place], quiet)[0] for place in places[::9]]
    assert together[::9] == alone
    assert len({tuple(words) for words in together}) > 20  # they read the text around the word


def test_only_the_word_itself_is_masked(tmp_path: Path) -> None:
    from transformers import BertForMaskedLM

    place = text_data.write_tiny_masked_bert(tmp_path / "mlm")
    row, names = ("the film is good and funny",), text_data.vocabulary()
    ids = text_data.tiny_tokenizer().encode(*row).ids
    position = ids.index(names.index("good"))
    masked = torch.tensor([ids])
    masked[0, position] = names.index("[MASK]")
    with torch.no_grad():
        logits = BertForMaskedLM.from_pretrained(place).eval()(input_ids=masked).logits[0, position]
    whole = [number for number, name in enumerate(names) if name.isalpha() and len(name) > 1 and name != "good"]
    wanted = sorted(whole, key=lambda number: -float(logits[number]))[:6]
    (found,) = MaskedModel(str(place), 6)([row], [place_of(row, "good")], quiet)
    assert found == [names[number] for number in wanted]


def test_neighbours_are_the_nearest_by_cosine(bert: Path) -> None:
    from safetensors.numpy import load_file

    vectors = load_file(bert / "model.safetensors")["bert.embeddings.word_embeddings.weight"]
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-9)  # [PAD] is all zeros
    names = text_data.vocabulary()
    whole = [number for number, name in enumerate(names) if name.isalpha() and len(name) > 1]
    good = names.index("good")
    order = sorted(whole, key=lambda number: -float(vectors[number] @ vectors[good]))
    found = Neighbours(str(bert), 4)(["actors", "good", "nonsense"])
    assert found == [[], [names[number] for number in order[1:5]], []]


def test_what_is_no_masked_model_is_a_sentence(bert: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"model '.*' lacks .*that of a masked language model, in `task.replace.model`"
    ):
        MaskedModel(str(bert), 5)
    with pytest.raises(ConfigError, match=r"`task\.replace\.model` cannot be used: there is no folder"):
        MaskedModel(str(tmp_path / "nothing"), 5)
    masked = text_data.write_tiny_masked_bert(tmp_path / "mlm")
    foreign = Path(shutil.copytree(masked, tmp_path / "foreign"))
    config = json.loads((foreign / "config.json").read_text())
    (foreign / "config.json").write_text(json.dumps({**config, "vocab_size": 50}))
    with pytest.raises(
        ConfigError, match=r"`task\.replace\.model` cannot be used: .*pieces and the masked model's embedding 50 rows"
    ):
        MaskedModel(str(foreign), 5)
    with pytest.raises(ConfigError, match=r"needs a WordPiece tokenizer.* that of 'x' is BPE"):
        whole_words(Tokenizer(models.BPE({"a": 0}, [])), "x", "masked_model")
    plan = json.loads((masked / "tokenizer.json").read_text().replace("[MASK]", "[GONE]"))
    (masked / "tokenizer.json").write_text(json.dumps(plan))
    with pytest.raises(ConfigError, match=r"has no \[MASK\], so nothing can be masked"):
        MaskedModel(str(masked), 5)


class ScriptedWordNet:
    """A reader with two entries; NLTK's finds the dictionary form of a word, so `films` finds `film`."""

    SETS = (("movie", "film", "Motion", "motion_picture", "picture"), ("film", "cinema"))

    def __init__(self, root: str, _: None) -> None:
        if root != "corpora/wordnet.zip/wordnet/":
            raise OSError(root)

    def synsets(self, word: str) -> list[Any]:
        return [
            SimpleNamespace(lemma_names=lambda names=names: list(names)) for names in self.SETS if word[:4] in names
        ]

    def get_version(self) -> str:
        return "3.0"


def test_synonyms_are_single_words_of_the_same_form() -> None:
    reader = ScriptedWordNet("corpora/wordnet.zip/wordnet/", None)
    assert synonyms(reader, "film", 5) == ["movie", "picture", "cinema"]
    assert synonyms(reader, "film", 1) == ["movie"]
    assert synonyms(reader, "films", 5) == []  # its synonyms would stand in the singular
    assert synonyms(reader, "fil", 5) == []


def scripted_nltk(monkeypatch: pytest.MonkeyPatch, there: tuple[str, ...]) -> None:
    def find(name: str) -> str:
        if name not in there:
            raise LookupError(name)
        return name

    monkeypatch.setitem(sys.modules, "nltk.data", SimpleNamespace(find=find))
    reader = SimpleNamespace(WordNetCorpusReader=ScriptedWordNet)
    monkeypatch.setitem(sys.modules, "nltk.corpus.reader.wordnet", reader)


def test_wordnet_is_found_as_an_archive_too(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted_nltk(monkeypatch, ("corpora/wordnet.zip/wordnet/",))
    lookup, version = open_wordnet()
    assert (lookup("film", 2), version) == (["movie", "picture"], "3.0")


@pytest.mark.parametrize("there", [(), ("corpora/wordnet",)], ids=["no corpus", "half a corpus"])
def test_a_missing_corpus_is_a_sentence(there: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    scripted_nltk(monkeypatch, there)
    with pytest.raises(Unavailable, match=r"corpus wordnet.* type python -m nltk\.downloader wordnet"):
        open_wordnet()


def test_a_missing_package_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("nltk", "nltk.data", "nltk.corpus.reader.wordnet"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(Unavailable, match=r"needs the package nltk, .*pip install 'nltk>=3\.10,<4'"):
        open_wordnet()


def _real_wordnet() -> str | None:
    try:
        open_wordnet()
    except Unavailable as error:
        return str(error)
    return None


@pytest.mark.skipif(_real_wordnet() is not None, reason=str(_real_wordnet()))
def test_the_real_wordnet() -> None:
    lookup, version = open_wordnet()
    assert version
    assert "film" in lookup("movie", 15)
    assert "dreadful" in lookup("terrible", 15)
    assert lookup("this", 15) == []
