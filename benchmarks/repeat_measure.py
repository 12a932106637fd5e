"""The latency ratio of one trial to its teacher, measured again and again: how far do the figures scatter?

    .venv/bin/python benchmarks/repeat_measure.py --search fashion_mnist --trial 12 --times 10
    .venv/bin/python benchmarks/repeat_measure.py --search sst2 --trial 8 --times 6 --tier final

Bar: standard deviation of the ratio <= 1.5 % over ten measurements. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from pathlib import Path

from pipeline import workbench
from pipeline.artifact import view_of
from pipeline.findings import config_of
from pipeline.record import read_json
from pipeline.workspace import existing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("mlruns"))
    parser.add_argument("--search", required=True)
    parser.add_argument("--trial", type=int, required=True)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=None, help="of one measurement; default: as the search did")
    parser.add_argument("--tier", choices=("screen", "trial", "final"), default="trial")
    arguments = parser.parse_args()
    workspace = existing(arguments.root, arguments.search)
    config = config_of(workspace)
    task, target = workbench.prepare_task(config, workspace), workbench.prepare_target(config)
    trial, teacher = workspace.trial(arguments.trial), workspace.folder / "teacher"
    record = read_json(trial / "record.json")
    rows = min(workbench.TIMED_INPUTS, task.rows("validation"))
    feeds = task.feeds("validation", view_of(record["artifact"]), rows)
    teacher_feeds = task.feeds("validation", view_of(read_json(teacher / "figures.json")["artifact"]), rows)
    found = []
    for _ in range(arguments.times):
        measured = target.measure(
            trial / "model.onnx",
            feeds,
            teacher / "model.onnx",
            teacher_feeds,
            seed=len(found),
            seconds=arguments.seconds,
            tier=arguments.tier,
        ).latency
        found.append(measured.ratio)
        print(
            f"speedup {1 / measured.ratio:.3f} [{1 / measured.ratio_high:.3f}, {1 / measured.ratio_low:.3f}], "
            f"{measured.median_ms:.4f} ms against {measured.reference_median_ms:.4f} ms",
            flush=True,
        )
    mean = statistics.mean(found)
    print(
        json.dumps(
            {
                "times": len(found),
                "speedup": round(1 / mean, 3),
                "sd_percent": round(100 * statistics.stdev(found) / mean, 3),
                "in_the_search": round(record["metrics"]["speedup"], 3),
                "load_1_minute": round(os.getloadavg()[0], 2),
            }
        )
    )


if __name__ == "__main__":
    main()
