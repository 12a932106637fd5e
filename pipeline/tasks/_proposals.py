"""What may stand in the place of a word: a masked language model's guesses, or its neighbours in an embedding.

Both follow TinyBERT's augmentation (Jiao et al. 2019, arXiv 1909.10351, algorithm 1), which takes the neighbours from
GloVe; here they come from the word embedding that is there anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from tokenizers import Tokenizer

from hardware_targets import this_worker
from pipeline.errors import ConfigError
from pipeline.tasks._pretrained import is_wordpiece, read_pretrained
from pipeline.teacher_hub import load_model

PIECES = 1024  # of a batch of texts: the model answers with the whole vocabulary at each of them
WORDS = 512  # whose neighbours are looked up at once
Texts = tuple[str, ...]
Progress = Callable[[str], None]


class Place(NamedTuple):
    """A word: the row, which of its texts, and from where to where."""

    row: int
    text: int
    start: int
    end: int


class Proposer(Protocol):
    """Gives the candidates for each of the places in `rows`, never the word itself; none where it knows none.

    `places` are sorted; `progress` is told how far it is.
    """

    def __call__(self, rows: Sequence[Texts], places: Sequence[Place], progress: Progress) -> list[list[str]]: ...


class ByWord:
    """The same candidates wherever a word stands; `lookup` gives those of words in lower case."""

    def __init__(self, lookup: Callable[[Sequence[str]], list[list[str]]]) -> None:
        self._lookup = lookup

    def __call__(self, rows: Sequence[Texts], places: Sequence[Place], _: Progress) -> list[list[str]]:
        words = [rows[place.row][place.text][place.start : place.end].lower() for place in places]
        known = sorted(set(words))
        found = dict(zip(known, self._lookup(known), strict=True))
        return [found[word] for word in words]


class Neighbours:
    """The nearest whole words in a model's word embedding, by cosine. Errors: ConfigError, Unavailable."""

    def __init__(self, place: str, count: int) -> None:
        self._count = count
        self._tokenizer = read_pretrained(place).tokenizer
        self._whole = whole_words(self._tokenizer, place, "teacher_embeddings")
        model = load_model("AutoModel", "a text encoder", place, new_head=True)
        vectors = model.get_input_embeddings().weight.detach()
        self._vectors = torch.nn.functional.normalize(vectors, dim=1)

    def __call__(self, words: Sequence[str]) -> list[list[str]]:
        encoded = self._tokenizer.encode_batch_fast(list(words), add_special_tokens=False)
        numbers = [found.ids[0] if len(found.ids) == 1 and self._whole[found.ids[0]] else None for found in encoded]
        near = self._near(sorted({number for number in numbers if number is not None}))
        return [near[number] if number is not None else [] for number in numbers]

    def _near(self, numbers: Sequence[int]) -> dict[int, list[str]]:
        found: dict[int, list[str]] = {}
        whole = np.flatnonzero(self._whole)
        for start in range(0, len(numbers), WORDS):
            asked = np.array(numbers[start : start + WORDS])
            alike = self._vectors[asked] @ self._vectors[whole].T
            alike[torch.from_numpy(asked[:, None] == whole)] = -2.0  # no cosine is: a word is not its own neighbour
            best = whole[alike.topk(min(self._count, len(whole) - 1)).indices.numpy()]
            found |= {int(number): _names(self._tokenizer, row) for number, row in zip(asked, best, strict=True)}
        return found


class MaskedModel:
    """What a masked language model puts in the place of a word that is one piece of its tokenizer, best first.

    Only that word is masked. Errors: ConfigError, Unavailable.
    """

    def __init__(self, place: str, count: int) -> None:
        self._count = count
        try:
            self._pretrained = read_pretrained(place, "masked model")
        except ConfigError as error:
            raise ConfigError(f"`task.replace.model` cannot be used: {error}") from error
        tokenizer = self._pretrained.tokenizer
        self._whole = whole_words(tokenizer, place, "masked_model")
        self._mask = tokenizer.token_to_id("[MASK]")
        if self._mask is None:
            raise ConfigError(
                f"the tokenizer of {place!r} has no [MASK], so nothing can be masked; give a masked language model "
                "such as BERT in `task.replace.model`"
            )
        tokenizer.enable_truncation(self._pretrained.sizes["positions"])
        self._model = load_model(
            "AutoModelForMaskedLM", "a masked language model", place, role="model", key="task.replace.model"
        ).eval()

    def __call__(self, rows: Sequence[Texts], places: Sequence[Place], progress: Progress) -> list[list[str]]:
        found: list[list[str]] = [[] for _ in places]
        asked = sorted(self._masked(rows, places), key=lambda item: len(item[1]))
        done, told = 0, 0
        for batch in _batches(asked):
            for (number, _, _, _), best in zip(batch, self._best(batch), strict=True):
                found[number] = _names(self._pretrained.tokenizer, best)
            done += len(batch)
            if done * 10 // len(asked) > told:
                told = done * 10 // len(asked)
                progress(f"the masked model has guessed {done} of {len(asked)} words")
        return found

    def _masked(
        self, rows: Sequence[Texts], places: Sequence[Place]
    ) -> Iterator[tuple[int, list[int], list[int], int]]:
        """(number of the place, ids with the mask, types, position of the mask) of words that are one piece."""
        row, encoded = -1, None
        for number, place in enumerate(places):
            if place.row != row:
                row, encoded = place.row, self._pretrained.tokenizer.encode(*rows[place.row])
            position = _position(encoded, place)
            if position is not None and self._whole[encoded.ids[position]]:
                yield number, encoded.ids, encoded.type_ids, position

    def _best(self, batch: Sequence[tuple[int, list[int], list[int], int]]) -> np.ndarray:
        width = max(len(ids) for _, ids, _, _ in batch)
        ids, types, there = (np.zeros((len(batch), width), dtype=np.int64) for _ in range(3))
        for line, (_, pieces, kinds, _) in enumerate(batch):
            ids[line, : len(pieces)], types[line, : len(pieces)], there[line, : len(pieces)] = pieces, kinds, 1
        lines, positions = np.arange(len(batch)), np.array([position for *_, position in batch])
        own = ids[lines, positions]
        ids[lines, positions] = self._mask
        more = {"token_type_ids": torch.from_numpy(types)} if self._pretrained.token_types > 1 else {}
        with this_worker().step(), torch.inference_mode():
            inputs = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(there), **more}
            logits = self._model(**inputs).logits[lines, positions, : len(self._whole)]
            logits[:, torch.from_numpy(~self._whole)] = -torch.inf
            logits[lines, own] = -torch.inf
            best: np.ndarray = logits.topk(min(self._count, int(self._whole.sum()) - 1)).indices.numpy()
        return best


def whole_words(tokenizer: Tokenizer, place: str, by: str) -> np.ndarray:
    """bool [pieces]: which are words of two letters or more. Errors: ConfigError where pieces do not say so."""
    if not is_wordpiece(tokenizer):
        raise ConfigError(
            f"`task.replace.by: {by}` needs a WordPiece tokenizer, whose pieces say where a word begins, and that of "
            f"{place!r} is {type(tokenizer.model).__name__}; write `by: wordnet`, or `by: masked_model` with a BERT"
        )
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    found = np.zeros(max(vocabulary.values()) + 1, dtype=bool)
    for piece, number in vocabulary.items():
        found[number] = len(piece) > 1 and piece.isalpha()
    found[list(tokenizer.get_added_tokens_decoder())] = False
    return found


def _position(encoded: Any, place: Place) -> int | None:
    """Of the piece that is exactly this word; None where it is several, or was cut off."""
    position = encoded.char_to_token(place.start, place.text)
    alone = position is not None and encoded.offsets[position] == (place.start, place.end)
    return position if alone else None


def _batches(asked: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Of texts sorted by length, up to PIECES pieces each, padding included."""
    start = 0
    while start < len(asked):
        end = start + 1
        while end < len(asked) and len(asked[end][1]) * (end + 1 - start) <= PIECES:
            end += 1
        yield asked[start:end]
        start = end


def _names(tokenizer: Tokenizer, numbers: np.ndarray) -> list[str]:
    return [tokenizer.id_to_token(int(number)) for number in numbers]
