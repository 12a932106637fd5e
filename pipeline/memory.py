"""What a trial leaves behind in memory, given back to the system."""

from __future__ import annotations

import ctypes
from functools import cache


def give_back() -> bool:
    """Return memory that was freed to the system, and say whether this C library can.

    Students differ in their shapes, so what one of them freed seldom fits the next, and glibc keeps it: on SST-2 a few
    trainings left more than half a gigabyte so (`man malloc_trim`). Takes milliseconds; other C libraries do without.
    """
    trim = _trim()
    if trim is None:
        return False
    trim(0)
    return True


@cache
def _trim() -> ctypes._NamedFuncPointer | None:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # no glibc; on Windows no library without a name
        return None
