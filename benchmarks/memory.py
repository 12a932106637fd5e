"""Whether a search's memory stays flat: small real trials, each trained, exported, measured, scored and logged.

    .venv/bin/python benchmarks/memory.py --trials 200 --out benchmarks/results/memory.json

Digits, one epoch, the shortest measurement; everything else as in every search. After each trial the resident memory of
this process is read, which holds the study, MLflow, torch and all that a trial may leave behind; measuring children are
not in it. The first trials fill caches and are left out. Growth is the slope of a line through the rest.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

REPO = Path(__file__).parent.parent
sys.path[:0] = [str(REPO), str(REPO / "tests")]

import numpy as np
import psutil
from small_search import SPACE, small_search

from pipeline.config import SearchConfig
from pipeline.config_file import parse_config
from pipeline.progress import Quiet
from pipeline.search.loop import run_search
from pipeline.workspace import Workspace

FIRST = 20  # trials that fill caches
BAR_MB = 50.0  # growth over the trials that follow


def settings(trials: int) -> SearchConfig:
    """The smallest search that still trains, prunes, exports, quantizes and measures."""
    space = {**SPACE, "convnet": {"depth": 1, "stages": 2}, "distill": {"epochs": 1}}
    return parse_config(small_search("memory", trials, rows=400, space=space), "memory")


class Watch(Quiet):
    """Reads the resident memory after each trial."""

    def __init__(self) -> None:
        self.rss_mb: list[float] = []
        self._process = psutil.Process()

    def end(self, *_: Any) -> None:
        self.rss_mb.append(round(self._process.memory_info().rss / 1e6, 1))
        if len(self.rss_mb) % 10 == 0:
            print(f"{len(self.rss_mb)} trials, {self.rss_mb[-1]:.0f} MB", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    watch = Watch()
    with tempfile.TemporaryDirectory() as folder:
        result = run_search(settings(arguments.trials), Workspace(Path(folder), "memory"), watch)
    ends = [record.end for record in result.report.records]
    found = {
        **growth(watch.rss_mb),
        "ends": {end: ends.count(end) for end in sorted(set(ends))},
        "rss_mb": watch.rss_mb,
    }
    if arguments.out:
        arguments.out.write_text(json.dumps(found) + "\n", encoding="utf-8")
    print(json.dumps({name: value for name, value in found.items() if name != "rss_mb"}))
    sys.exit(found["growth_mb"] > BAR_MB)


def growth(rss_mb: list[float]) -> dict[str, float]:
    """What a line through the later trials climbs from its first to its last."""
    later = np.array(rss_mb[FIRST:])
    slope = float(np.polyfit(np.arange(len(later)), later, 1)[0])
    return {
        "trials": len(rss_mb),
        "growth_mb": round(slope * (len(later) - 1), 1),
        "growth_mb_per_trial": round(slope, 4),
        "first_mb": rss_mb[FIRST],
        "last_mb": rss_mb[-1],
        "peak_mb": max(rss_mb),
    }


if __name__ == "__main__":
    main()
