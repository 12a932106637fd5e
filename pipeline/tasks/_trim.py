"""A tokenizer that knows fewer pieces: a WordPiece vocabulary cut down to those that the training texts use."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from tokenizers import Tokenizer


def used_pieces(tokenizer: Tokenizer, chunks: Iterable[list[Any]], pieces: int) -> np.ndarray:
    """bool [pieces]: those that stay when `tokenizer` is trimmed to these texts (strings, or pairs of them).

    Besides those that occur, all added (special) ones and all single characters, at the start of a word and inside it:
    with them a word that was never seen is still spelt, not lost.
    """
    used = np.zeros(pieces, dtype=bool)
    for chunk in chunks:
        for found in tokenizer.encode_batch_fast(chunk):
            used[found.ids] = True
    prefix = tokenizer.model.continuing_subword_prefix
    for piece, number in tokenizer.get_vocab(with_added_tokens=True).items():
        if len(piece.removeprefix(prefix)) == 1:
            used[number] = True
    used[list(tokenizer.get_added_tokens_decoder())] = True
    used[tokenizer.token_to_id(tokenizer.model.unk_token)] = True
    return used


def trimmed(tokenizer: Tokenizer, kept: np.ndarray) -> Tokenizer:
    """`tokenizer` with the pieces int64 `kept` only, numbered 0, 1, 2, ... in that order.

    The longest match (WordPiece) chooses among fewer pieces: a word whose pieces were all kept is cut as before, since
    at every place the longest match of the full vocabulary is still there and nothing longer has come.
    """
    numbers = {int(old): new for new, old in enumerate(kept)}
    plan = json.loads(tokenizer.to_str())
    vocabulary = plan["model"]["vocab"]
    plan["model"]["vocab"] = {piece: numbers[old] for piece, old in vocabulary.items() if old in numbers}
    plan["added_tokens"] = [{**token, "id": numbers[token["id"]]} for token in plan["added_tokens"]]
    if plan["post_processor"] is not None:
        plan["post_processor"] = _renumbered(plan["post_processor"], numbers)
    return Tokenizer.from_str(json.dumps(plan, ensure_ascii=False))


def _renumbered(processor: dict[str, Any], numbers: Mapping[int, int]) -> dict[str, Any]:
    """What puts [CLS] and [SEP] around a text, with their new numbers."""
    changed = dict(processor)
    if processor["type"] == "Sequence":
        changed["processors"] = [_renumbered(inner, numbers) for inner in processor["processors"]]
    elif processor["type"] == "TemplateProcessing":
        changed["special_tokens"] = {
            name: {**token, "ids": [numbers[old] for old in token["ids"]]}
            for name, token in processor["special_tokens"].items()
        }
    for name in ("cls", "sep"):  # BertProcessing, RobertaProcessing: [piece, number]
        if name in processor:
            changed[name] = [processor[name][0], numbers[processor[name][1]]]
    return changed
