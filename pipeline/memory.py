"""What trials leave behind in memory: freed memory is given back, and no more compiled kernels are kept than help."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.tasks import InputSpec

# How many kernels torch's oneDNN keeps, and how many descriptions of some its wrapper keeps beside, by the variables
# that they read before the first of them (1,024 of each unless told, a hundred kilobytes and more apiece).
_KERNELS, _FEW_KERNELS = "ONEDNN_PRIMITIVE_CACHE_CAPACITY", 256
_DESCRIPTIONS, _FEW_DESCRIPTIONS = "LRU_CACHE_CAPACITY", 64


def keep_few_kernels(inputs: Iterable[InputSpec]) -> None:
    """Let torch keep the kernels of one training on these inputs, not of twenty students; what the user has set stays.

    Few descriptions cost nothing that could be measured. Few kernels are for rows of one shape only: the deepest
    convnets of the default space take 73 and 108 (`ONEDNN_VERBOSE`). A training on texts takes about a thousand, for
    its batches differ in length, and would compile them again and again.
    """
    os.environ.setdefault(_DESCRIPTIONS, str(_FEW_DESCRIPTIONS))
    if not any(spec.dynamic for spec in inputs):
        os.environ.setdefault(_KERNELS, str(_FEW_KERNELS))


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
