"""The only file that knows `nltk`: synonyms from WordNet (Miller 1995, Communications of the ACM 38)."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from pipeline.errors import Unavailable

SHORTEST = 4  # shorter words are mostly grammar, and WordNet reads them as names: "in" as the inch, "it" as computing


def synonyms(reader: Any, word: str, count: int) -> list[str]:
    """Up to `count` single words that share a meaning with `word` in lower case, the commonest meaning's first.

    A form that is no entry itself (films, told) has none: its synonyms would stand in another form.
    """
    if len(word) < SHORTEST:
        return []
    sets = [names for entry in reader.synsets(word) if word in (names := entry.lemma_names())]
    others = (name for names in sets for name in names if name != word and name.isalpha() and name.islower())
    return list(dict.fromkeys(others))[:count]


def open_wordnet() -> tuple[Callable[[str, int], list[str]], str]:
    """`synonyms` of the WordNet that NLTK finds on this machine, and its version. Errors: Unavailable."""
    try:
        from nltk.corpus.reader.wordnet import WordNetCorpusReader
        from nltk.data import find
    except ImportError as error:
        raise Unavailable(
            "`task.replace.by: wordnet` needs the package nltk, which is not installed here: type "
            "pip install 'nltk>=3.10,<4', then python -m nltk.downloader wordnet. Or leave `by` out: "
            "teacher_embeddings needs neither"
        ) from error
    try:
        with warnings.catch_warnings(action="ignore"):  # it misses the other languages' WordNets, which nobody asks for
            opened = WordNetCorpusReader(_found(find), None)
    except (LookupError, OSError, AssertionError) as error:  # not there, or files are missing or not those of WordNet
        raise Unavailable(
            "`task.replace.by: wordnet` needs NLTK's corpus wordnet, which is not whole on this machine: type "
            "python -m nltk.downloader wordnet (NLTK_DATA says where it lies). Or leave `by` out: teacher_embeddings "
            "needs no corpus"
        ) from error
    return lambda word, count: synonyms(opened, word, count), str(opened.get_version())


def _found(find: Callable[[str], Any]) -> Any:
    """NLTK keeps a corpus as a folder or as the archive that it fetched."""
    try:
        return find("corpora/wordnet")
    except LookupError:
        return find("corpora/wordnet.zip/wordnet/")
