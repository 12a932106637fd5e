"""Whether a tokenizer is the one that a teacher was trained with, as far as files can tell."""

from __future__ import annotations

from collections.abc import Mapping

from tokenizers import Tokenizer

from pipeline.errors import ConfigError

PADS = ("[PAD]", "<pad>")
RESERVED = "[unused"  # places that BERT's vocabulary keeps free for a user's own pieces


def check_vocabulary(tokenizer: Tokenizer, place: str, theirs: Mapping[str, int], source: str) -> None:
    """Errors: ConfigError where one id stands for two pieces; `theirs` is piece -> id, as `source` has it.

    Pieces that only one of them has are no fault: vocabularies are extended, trimmed, and filled up to round sizes.
    """
    by_number = {number: piece for piece, number in tokenizer.get_vocab(with_added_tokens=True).items()}
    other = [
        (number, piece)
        for piece, number in sorted(theirs.items(), key=lambda item: item[1])
        if by_number.get(number, piece) != piece and not piece.startswith(RESERVED)
    ]
    if other:
        number, piece = other[0]
        raise ConfigError(
            f"the tokenizer of {place!r} is not the teacher's: {len(other)} of {len(theirs)} ids stand for other "
            f"pieces, e.g. {number} for {by_number[number]!r} and in {source} for {piece!r}, so that the teacher would "
            "read other words than were written. Give the one that the teacher was trained with"
        )


def doubts(tokenizer: Tokenizer, pieces: int, rows: int, pad: object) -> tuple[str, ...]:
    """Sentences on what is odd and may yet be right: an embedding with many rows more, another padding piece.

    Neither is refused. Embeddings are filled up, and multilingual sentence encoders are published whose `pad_token_id`
    is not that of their tokenizer; padding is masked. No place is named: notes travel with a picked model.
    """
    found = []
    if pieces < 0.9 * rows:
        found.append(
            f"the tokenizer has {pieces} pieces and the teacher's embedding {rows} rows; make sure that it is the "
            "teacher's own"
        )
    own = next((number for number in map(tokenizer.token_to_id, PADS) if number is not None), None)
    if own is not None and isinstance(pad, int) and pad != own:
        found.append(
            f"the teacher's config.json pads with piece {pad} and the tokenizer with {own}; make sure that it is the "
            "teacher's own"
        )
    return tuple(found)
