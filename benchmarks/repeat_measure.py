"""The latency ratio of one trial to its teacher, measured again and again: how far do the figures scatter?

    .venv/bin/python benchmarks/repeat_measure.py --search fashion_mnist --trial 12 --times 10
    .venv/bin/python benchmarks/repeat_measure.py --search sst2 --trial 8 --times 10 --tier final
    .venv/bin/python benchmarks/repeat_measure.py --search sst2 --trial 8 --times 10 --tier final --load

Bars: standard deviation of the ratio <= 1.5 % over the conclusive ones of ten measurements; with `--load`, a busy loop
on one other core all the while, every measurement is void in part or flagged, and none counts as it came. Exit code 1
where a bar is missed. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hardware_targets import Measurement
from pipeline import workbench
from pipeline.artifact import view_of
from pipeline.findings import config_of
from pipeline.record import read_json
from pipeline.workspace import existing

MOST_PERCENT = 1.5
# Above everything else a session says of itself: what a reader may not overlook.
FLAGS = ("unreliable", "inconclusive", "never came back", "other processes used", "withheld")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("mlruns"))
    parser.add_argument("--search", required=True)
    parser.add_argument("--trial", type=int, required=True)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=None, help="of one measurement; default: as the search did")
    parser.add_argument("--tier", choices=("screen", "trial", "final"), default="trial")
    parser.add_argument("--load", action="store_true", help="keep one core busy meanwhile")
    parser.add_argument("--core", type=int, default=None, help="which core; default: the last that may be used")
    options = parser.parse_args()
    workspace = existing(options.root, options.search)
    config = config_of(workspace)
    task, target = workbench.prepare_task(config, workspace), workbench.prepare_target(config)
    trial, teacher = workspace.trial(options.trial), workspace.folder / "teacher"
    record = read_json(trial / "record.json")
    rows = min(workbench.TIMED_INPUTS, task.rows("validation"))
    feeds = task.feeds("validation", view_of(record["artifact"]), rows)
    teacher_feeds = task.feeds("validation", view_of(read_json(teacher / "figures.json")["artifact"]), rows)
    found = list[Measurement]()
    with busy(options.core) if options.load else _idle():
        for place in range(options.times):
            files = (trial / "model.onnx", feeds, teacher / "model.onnx", teacher_feeds)
            found.append(target.measure(*files, seed=place, seconds=options.seconds, tier=options.tier))
            print(line(found[-1]), flush=True)
    told = summary(found, loaded=options.load)
    told |= {"in_the_search": round(record["metrics"]["speedup"], 3), "load_1_minute": round(os.getloadavg()[0], 2)}
    print(json.dumps(told))
    return 0 if told["met"] else 1


def line(found: Measurement) -> str:
    """One measurement."""
    timed = found.latency
    words = [word for word in FLAGS if any(word in warning for warning in found.warnings)]
    return (
        f"speedup {1 / timed.ratio:.3f} [{1 / timed.ratio_high:.3f}, {1 / timed.ratio_low:.3f}], "
        f"{timed.median_ms:.4f} ms against {timed.reference_median_ms:.4f} ms, resolution "
        f"{'none' if timed.resolution is None else f'{math.expm1(timed.resolution):.1%}'}, "
        f"{timed.voided_rounds} of {timed.rounds} rounds void{'; ' if words else ''}{', '.join(words)}"
    )


def summary(found: Sequence[Measurement], *, loaded: bool) -> dict[str, Any]:
    """Scatter over the figures that may be relied on, how many these are, and whether the bar is met.

    A figure is kept where it is conclusive and reliable. Under a load the bar is that no figure looks like one of a
    quiet machine: rounds were void, or a flag was raised.
    """
    kept = [item.latency.ratio for item in found if item.latency.conclusive and not item.latency.unreliable]
    flagged = [any(word in warning for warning in item.warnings for word in FLAGS) for item in found]
    void = [item.latency.voided_rounds > 0 for item in found]
    sd = 100 * statistics.stdev(kept) / statistics.mean(kept) if len(kept) > 1 else None
    scatter_met = sd is None or sd <= MOST_PERCENT
    told_met = all(one or other for one, other in zip(void, flagged, strict=True))
    return {
        "times": len(found),
        "conclusive": len(kept),
        "speedup": round(1 / statistics.mean(kept), 3) if kept else None,
        "sd_percent": None if sd is None else round(sd, 3),
        "all_sd_percent": _spread([item.latency.ratio for item in found]),
        "reference_sd_percent": _spread([item.latency.reference_median_ms for item in found]),
        "with_void_rounds": sum(void),
        "unreliable": sum(item.latency.unreliable for item in found),
        "flagged": sum(flagged),
        "met": scatter_met and (told_met if loaded else sd is not None),
    }


def _spread(values: Sequence[float]) -> float | None:
    return round(100 * statistics.stdev(values) / statistics.mean(values), 3) if len(values) > 1 else None


@contextmanager
def busy(core: int | None) -> Iterator[None]:
    """A loop on one core, until the block ends; the core is pinned where the system lets it be."""
    pin = ""
    if hasattr(os, "sched_getaffinity"):
        pin = f"os.sched_setaffinity(0, [{max(os.sched_getaffinity(0)) if core is None else core}])"
    loop = subprocess.Popen([sys.executable, "-c", f"import os\n{pin}\nwhile os.getppid() == {os.getpid()}: pass"])
    try:
        yield
    finally:
        loop.kill()
        loop.wait()


@contextmanager
def _idle() -> Iterator[None]:
    yield


if __name__ == "__main__":
    sys.exit(main())
