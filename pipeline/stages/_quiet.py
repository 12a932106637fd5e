"""Converters that talk: their advice is followed already, and their progress belongs to nobody's terminal."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet(*messages: str) -> Iterator[None]:
    """Within the block: no prints, no log below ERROR, and none of the warnings whose text matches a pattern."""
    before, printed = logging.root.manager.disable, io.StringIO()
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            for message in messages:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        logging.disable(before)
