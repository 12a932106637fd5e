"""Raw timings as an .npz file: every block of every side, so that a session can be summed up again another way.

Arrays, S being candidate, reference or twin: `S_counted`, `S_cpu` (nanoseconds per call) and `S_interrupted`, each
[rounds, sets, blocks]; `S_alike`; `jitter_ms` of single calls; counts of the session; `reasons` with `reason_rounds`;
`processes`, the rounds of each process where there were several.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hardware_targets._blocks import Record, Times

_SIDES = ("candidate", "reference", "twin")
_COUNTS = ("calls", "warmup_calls", "steady", "rounds", "voided")


def write_blocks(record: Record, path: Path) -> None:
    """Write a session."""
    arrays: dict[str, Any] = {name: np.asarray(getattr(record, name)) for name in ("jitter_ms", *_COUNTS)}
    arrays["reasons"] = np.asarray(list(record.reasons), dtype=str)
    arrays["reason_rounds"] = np.asarray(list(record.reasons.values()), dtype=int)
    arrays["processes"] = np.asarray(record.processes, dtype=int)
    for name, side in zip(_SIDES, record.sides, strict=False):
        for part in ("counted", "cpu", "interrupted", "alike"):
            arrays[f"{name}_{part}"] = np.asarray(getattr(side, part))
    np.savez_compressed(path, **arrays)


def read_blocks(path: Path) -> Record:
    """The session that `write_blocks` wrote."""
    with np.load(path, allow_pickle=False) as held:
        sides = tuple(
            Times(held[f"{n}_counted"], held[f"{n}_cpu"], held[f"{n}_interrupted"], bool(held[f"{n}_alike"]))
            for n in _SIDES
            if f"{n}_counted" in held
        )
        counts = zip(held["reasons"].tolist(), held["reason_rounds"].tolist(), strict=True)
        return Record(
            sides,
            jitter_ms=tuple(held["jitter_ms"].tolist()),
            reasons=dict(counts),
            processes=tuple(held["processes"].tolist()) if "processes" in held else (),
            **{name: held[name].item() for name in _COUNTS},
        )
