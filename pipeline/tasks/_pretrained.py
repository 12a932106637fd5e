"""What a text task reads of its teacher's files before any model is loaded: the tokenizer and config.json."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from pipeline.errors import ConfigError, Unavailable
from pipeline.tasks._columns import first_line
from pipeline.tasks._same_tokenizer import check_vocabulary, doubts
from pipeline.teacher_files import local_folder

# The same size under the names that kinds of encoders give it in config.json.
SIZES = {
    "layers": ("num_hidden_layers", "n_layers"),
    "width": ("hidden_size", "dim"),
    "heads": ("num_attention_heads", "n_heads"),
    "ff": ("intermediate_size", "hidden_dim"),
    "vocabulary": ("vocab_size",),
    "positions": ("max_position_embeddings",),
}


@dataclass(frozen=True)
class Pretrained:
    """A teacher's tokenizer, which neither cuts nor pads, and its encoder's sizes by the keys of SIZES.

    `pieces` is one more than the largest token id, `token_types` the rows of its token-type embedding, `notes` what
    is odd about it.
    """

    place: str
    tokenizer: Tokenizer
    sizes: Mapping[str, int]
    pieces: int
    token_types: int
    notes: tuple[str, ...] = ()


def read_pretrained(place: str, whose: str = "teacher") -> Pretrained:
    """Of a local folder or a hub name; no code in it is executed. `whose` the tokenizer should be, for errors.

    Errors: ConfigError, Unavailable.
    """
    config = _read_config(place)
    sizes = _sizes(config, place)
    tokenizer = _read_tokenizer(place)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    pieces = max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1
    rows = sizes["vocabulary"]
    _check(tokenizer, pieces, rows, place, whose)
    notes = doubts(tokenizer, pieces, rows, config.get("pad_token_id"))
    return Pretrained(place, tokenizer, sizes, pieces, int(config.get("type_vocab_size", 0)), notes)


def check_teachers(place: str, teacher: str) -> None:
    """Errors: ConfigError where the tokenizer or the sizes at `place` are not those of the model at `teacher`.

    A teacher that brings no tokenizer of its own is compared by its sizes only.
    """
    ours, sizes = read_pretrained(place), _sizes(_read_config(teacher), teacher)
    odd = next((size for size in SIZES if ours.sizes[size] != sizes[size]), None)
    if odd is not None:
        raise ConfigError(
            f"`task.tokenizer` is the folder of another model than the teacher: its {SIZES[odd][0]} is "
            f"{ours.sizes[odd]} and that of {teacher!r} {sizes[odd]}; leave `task.tokenizer` out to take the teacher's "
            "own, or put a config.json of the teacher beside the tokenizer"
        )
    if any(_file(teacher, name) for name in ("tokenizer.json", "vocab.txt")):
        theirs = _read_tokenizer(teacher).get_vocab(with_added_tokens=True)
        check_vocabulary(ours.tokenizer, place, theirs, f"the teacher's own in {teacher!r}")


def digest(tokenizer: Tokenizer) -> str:
    """Hex SHA-256 of all that it does."""
    return hashlib.sha256(tokenizer.to_str().encode()).hexdigest()


def is_wordpiece(tokenizer: Tokenizer) -> bool:
    """Whether words are cut into pieces by the longest match (Wu et al. 2016, arXiv 1609.08144)."""
    return isinstance(tokenizer.model, models.WordPiece)


def _sizes(config: Mapping[str, Any], place: str) -> dict[str, int]:
    sizes = {}
    for size, names in SIZES.items():
        value = next((config[name] for name in names if name in config), None)
        if not isinstance(value, int) or value < 1:
            raise ConfigError(
                f"config.json of {place!r} has no {names[0]!r}, so it is not that of a text encoder; "
                "give the teacher's own folder or hub name"
            )
        sizes[size] = value
    return sizes


def _read_config(place: str) -> dict[str, Any]:
    path = _file(place, "config.json")
    if path is None:
        raise ConfigError(
            f"{place!r} has a tokenizer at most, but no config.json; `task.tokenizer` is the folder or hub name of the "
            "teacher itself, as save_pretrained() writes it"
        )
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"config.json of {place!r} cannot be read: {first_line(error)}; copy it again") from error
    if not isinstance(found, dict):
        raise ConfigError(f"config.json of {place!r} is no mapping; copy it again from where it came from")
    return found


def _read_tokenizer(place: str) -> Tokenizer:
    path = _file(place, "tokenizer.json")
    try:
        if path is not None:
            tokenizer = Tokenizer.from_file(str(path))
            beside = path.with_name("vocab.txt")  # not fetched from the hub for this alone
            if beside.is_file() and is_wordpiece(tokenizer):
                check_vocabulary(tokenizer, place, _numbers(beside), "its vocab.txt")
            return tokenizer
        vocabulary = _file(place, "vocab.txt")
        if vocabulary is not None:
            return _bert_tokenizer(vocabulary, _file(place, "tokenizer_config.json"))
    except Exception as error:  # tokenizers raises plain Exception for whatever is wrong with a file
        if isinstance(error, (ConfigError, Unavailable)):
            raise
        raise ConfigError(
            f"the tokenizer of {place!r} cannot be read: {first_line(error)}; copy its files again, or write them "
            "with AutoTokenizer.from_pretrained(...).save_pretrained(folder)"
        ) from error
    raise ConfigError(
        f"{place!r} holds neither tokenizer.json nor vocab.txt, so that texts cannot be turned into its ids; put the "
        "teacher's own there: AutoTokenizer.from_pretrained(...).save_pretrained(folder)"
    )


def _bert_tokenizer(vocabulary: Path, settings: Path | None) -> Tokenizer:
    """BERT's tokenizer (Devlin et al. 2018, arXiv 1810.04805) from the files of older checkpoints."""
    said = json.loads(settings.read_text(encoding="utf-8")) if settings else {}
    if not isinstance(said, dict):
        raise ValueError("tokenizer_config.json is no mapping")
    numbers = _numbers(vocabulary)
    tokenizer = Tokenizer(models.WordPiece(numbers, unk_token="[UNK]", max_input_chars_per_word=100))
    special = [piece for piece in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]") if piece in numbers]
    tokenizer.add_special_tokens(special)
    tokenizer.normalizer = normalizers.BertNormalizer(
        lowercase=said.get("do_lower_case", True),
        strip_accents=said.get("strip_accents"),
        handle_chinese_chars=said.get("tokenize_chinese_chars", True),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    if {"[CLS]", "[SEP]"} <= numbers.keys():
        tokenizer.post_processor = processors.BertProcessing(("[SEP]", numbers["[SEP]"]), ("[CLS]", numbers["[CLS]"]))
    return tokenizer


def _numbers(vocabulary: Path) -> dict[str, int]:
    """Piece -> id of a vocab.txt."""
    # Not splitlines(): it would also cut at pieces that are unusual line ends themselves.
    pieces = vocabulary.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    return {piece: number for number, piece in enumerate(pieces)}


def _check(tokenizer: Tokenizer, pieces: int, rows: int, place: str, whose: str) -> None:
    fault = None
    if pieces > rows:
        fault = f"it has {pieces} pieces and the {whose}'s embedding {rows} rows"
    if is_wordpiece(tokenizer):
        names = (tokenizer.model.unk_token, "[CLS]", "[SEP]")
        lost = [name for name in names if tokenizer.token_to_id(name) is None]
        fault = f"it has no {', '.join(lost)}" if lost else fault
    if fault is None and not tokenizer.encode("").ids:
        fault = "it puts no special piece around a text"
    if fault:
        raise ConfigError(
            f"the tokenizer of {place!r} is not the {whose}'s: {fault}. Give the one that the {whose} was trained with"
        )


def _file(place: str, name: str) -> Path | None:
    """A file of a local folder, or fetched from the hub; None where there is none. Errors: ConfigError, Unavailable."""
    folder = local_folder(place)
    if folder is not None:
        return folder / name if (folder / name).is_file() else None
    from huggingface_hub import errors, hf_hub_download

    try:
        return Path(hf_hub_download(place, name))
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise ConfigError(
            f"{place!r} is neither a folder nor a model on the hub: {first_line(error)}; check the name"
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise Unavailable(
            f"{name} of {place!r} cannot be fetched: {first_line(error)}. Check the connection, or give a local folder"
        ) from error
    except errors.EntryNotFoundError:
        return None
    except OSError as error:
        raise Unavailable(
            f"{name} of {place!r} cannot be fetched: {first_line(error)}. Check the connection, or give a local folder"
        ) from error
