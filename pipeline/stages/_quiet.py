"""Converters that talk: their advice is followed already, and a user can do nothing about the rest."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet(*messages: str) -> Iterator[None]:
    """Within the block: no log below ERROR, and none of the warnings whose text matches a pattern.

    The standard streams are left alone: a progress display may be writing to them at this moment.
    """
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for message in messages:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        logging.disable(before)
