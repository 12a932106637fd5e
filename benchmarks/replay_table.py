"""The table of a replay's figures, as the pages of the documentation have it.

    python benchmarks/replay_table.py benchmarks/results/replay_sst2.json

A ratio where some seeds never came to the target is marked: it is then too small by an unknown amount.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.record import read_json

HEADINGS = ("strategy", "training-seconds", "median", "seeds there", "wall", "volume for equal training", "points")


def lines(found: Mapping[str, Any]) -> list[str]:
    """Rows of Markdown, plain TPE first, then in the order of the file."""
    rows = [HEADINGS, ("---",) * len(HEADINGS)]
    rows += [(name, *cells(one, found["seeds"])) for name, one in found["strategies"].items()]
    return ["| " + " | ".join(row) + " |" for row in rows]


def stronger(found: Mapping[str, Any]) -> list[str]:
    """What all rules need beside the other baselines, where that was asked, a sentence each."""
    asked = [found.get(name) for name in ("against_told_the_score", "against_tpe_in_the_bank")]
    return [_beside(one, found) for one in asked if one]


def _beside(asked: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    base, ours = asked
    train, _, there, wall, *_ = cells(asked[ours], found["seeds"])
    return (
        f'To the volume that "{base}" has after {found["trials_of_plain_tpe"]} trials, "{ours}" needs '
        f"{train} of its training-seconds and {wall} of its time ({there} seeds there)."
    )


def cells(one: Mapping[str, Any], seeds: int) -> tuple[str, ...]:
    """What a strategy came to, beside plain TPE."""
    open_ended = "> " if one["reached"] < seeds else ""
    points = one["points_per_trained_student"]
    return (
        open_ended + interval(one["train_s_ratio"]),
        f"{one['train_s_median']:.3g}" if "train_s_median" in one else "-",  # not in figures older than it
        f"{one['reached']} of {seeds}",
        open_ended + interval(one["wall_s_ratio"]),
        interval(one["volume_at_equal_training"]),
        "-" if points is None else f"{points:.2f}",
    )


def interval(found: Mapping[str, float]) -> str:
    if found["low"] == found["high"]:
        return f"{found['value']:.3g}"
    return f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def main(given: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    found = read_json(parser.parse_args(given).file)
    print(*lines(found), sep="\n")
    for sentence in stronger(found):
        print("", sentence, sep="\n")


if __name__ == "__main__":
    main()
