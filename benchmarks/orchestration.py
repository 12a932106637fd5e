"""What niwaki itself costs per trial: ask, record, tell, MLflow, front; no training, no measuring.

    .venv/bin/python benchmarks/orchestration.py --trials 200

    .venv/bin/python benchmarks/orchestration.py --search fashion_mnist

Bars: at most 0.3 s per trial at 200 synthetic trials; at most 3 % of a real search that ran without a break, which is
the time between its first and last complete trial that belongs to no phase of a trial. Prints JSON.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

REPO = Path(__file__).parent.parent
sys.path[:0] = [str(REPO), str(REPO / "tests")]

import synthetic

from pipeline.progress import Quiet
from pipeline.record import read_records
from pipeline.search import loop
from pipeline.workspace import existing


def share(folder: Path) -> dict[str, float]:
    """Wall seconds of a finished search, those inside trials, and the rest in percent."""
    records = [record for record in read_records(folder) if record.end == "complete"]
    begin, end = (datetime.fromisoformat(moment) for moment in (records[0].started, records[-1].ended))
    wall, inside = (end - begin).total_seconds(), sum(sum(record.seconds.values()) for record in records)
    return {
        "wall_s": wall,
        "in_trials_s": round(inside, 1),
        "orchestration_percent": round(100 * (1 - inside / wall), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--sampler", default="device_aware", help="the product's own by default")
    parser.add_argument("--search", help="a search that has been run: its share of time outside trials")
    parser.add_argument("--root", type=Path, default=Path("mlruns"))
    arguments = parser.parse_args()
    if arguments.search:
        print(json.dumps(share(existing(arguments.root, arguments.search).folder)))
        return
    loop.run_trial = synthetic.record
    settings = synthetic.config(arguments.trials, sampler=arguments.sampler, space="default")
    moments: list[float] = []

    class Watch(Quiet):
        def end(self, *_: object) -> None:
            moments.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        result = loop.run_search(
            settings, synthetic.workspace(Path(folder), settings), Watch(), prepare=synthetic.bench
        )
        whole = time.perf_counter() - begin
    steps = [after - before for before, after in itertools.pairwise(moments)]
    last = steps[-50:]
    print(
        json.dumps(
            {
                "trials": len(result.report.records),
                "front": len(result.report.front_numbers),
                "seconds_per_trial": round(whole / len(result.report.records), 4),
                "seconds_per_trial_last_50": round(sum(last) / len(last), 4),
                "slowest_step_s": round(max(steps), 3),
                "whole_s": round(whole, 2),
            }
        )
    )


if __name__ == "__main__":
    main()
