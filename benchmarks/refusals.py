"""What a candidate over the budget costs: refused untrained, once measured anew and once by the figures that are kept.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/refusals.py examples/sst2_shapes.yaml \\
        --out benchmarks/results/refusals_sst2.json

A search's own file, but for its budget, which nothing keeps (a thousand times the teacher's speed). Random candidates
of its space become trials, each twice, the second time as a new trial of the same shape; the teacher and its answers
are those below `--root`, the figures of shapes are not. Seconds are the wall's, from the candidate to its record:
`first` in which a measurement is made, `again` in which it is read. Not one epoch may be spent. On a machine that does
nothing else: what is timed on a disturbed one is not refused, so it is left out and counted as `unreliable`. Bars: 5 s
and 0.2 s, of every candidate. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from pipeline import workbench
from pipeline.config import SearchConfig
from pipeline.config_file import load_config
from pipeline.screening import DISTURBED, device_key
from pipeline.search.pool import candidates
from pipeline.trial import run_trial
from pipeline.workspace import Workspace
from search_spaces.candidate import Candidate

FIRST_S, AGAIN_S = 5.0, 0.2
OUT_OF_REACH = {"speedup": 1000.0}
AT_ONCE = 1e-6  # minutes: the training of what was not refused ends before its first epoch


def main(given: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--root", type=Path, default=Path("mlruns"))
    parser.add_argument("--candidates", type=int, default=20)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args(given)
    config = load_config(arguments.file, {"limits.trial_minutes": AT_ONCE}).model_copy(update={"budget": OUT_OF_REACH})
    with borrowed(arguments.root) as root:
        found = refused(config, Workspace(root, config.name), arguments.candidates)
    found = {"file": arguments.file, **found}
    if arguments.out:
        arguments.out.write_text(json.dumps(found) + "\n", encoding="utf-8")
    print(json.dumps(found))
    sys.exit(found["first_s"]["most"] > FIRST_S or found["again_s"]["most"] > AGAIN_S)


@contextmanager
def borrowed(root: Path) -> Iterator[Path]:
    """A new root with the teachers and caches of this one, but for the figures of shapes."""
    with tempfile.TemporaryDirectory() as folder:
        new = Path(folder)
        (new / "cache").mkdir()
        shared = [root / "teachers", *(one for one in (root / "cache").glob("*") if one.name != "screened")]
        for one in shared:
            if one.exists():
                (new / one.relative_to(root)).symlink_to(one.resolve())
        yield new


def refused(config: SearchConfig, workspace: Workspace, count: int) -> dict[str, Any]:
    """Seconds of candidates, measured and read, and how fast the teacher was: it tells a busy hour from a quiet one.

    Errors: SystemExit where one was not refused before training.
    """
    workspace.make()
    bench = workbench.prepare(config, workspace, lambda line: print(line, file=sys.stderr, flush=True))
    seconds: dict[str, list[float]] = {"first": [], "again": []}
    unreliable = 0
    wanted = drawn(bench, count, config.seed)
    for number, candidate in enumerate(wanted):
        for turn, (name, taken) in enumerate(seconds.items()):
            begin = time.perf_counter()
            record = run_trial(2 * number + turn, candidate, bench)
            if record.end != "refused" and DISTURBED in record.notes:
                unreliable += 1
                print("unreliable", file=sys.stderr, flush=True)
                break
            taken.append(time.perf_counter() - begin)
            if record.end != "refused" or record.curve or "distill" in record.seconds:
                raise SystemExit(f"{candidate.flat()} was {record.end}, {record.reason}; it should have been refused")
            print(f"{name} {taken[-1]:.2f} s, {record.reason}", file=sys.stderr, flush=True)
    told = {"candidates": len(wanted), "unreliable": unreliable, "teacher_ms": round(bench.teacher_latency_ms, 2)}
    return told | {f"{name}_s": figures(taken) for name, taken in seconds.items()}


def drawn(bench: Any, count: int, seed: int) -> list[Candidate]:
    """Random candidates, no two of which the device would feel alike; fewer where the space has no more."""
    found: dict[str, Candidate] = {}
    for candidate in candidates(bench.space.trained(), (), (), np.random.default_rng(seed)):
        found.setdefault(device_key(candidate, bench), candidate)
    return list(found.values())[:count]


def figures(seconds: list[float]) -> dict[str, float]:
    return {"median": round(median(seconds), 3), "most": round(max(seconds), 3)}


if __name__ == "__main__":
    main()
