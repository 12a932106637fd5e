"""What niwaki itself costs per trial: ask, record, tell, MLflow, front; no training, no measuring.

    .venv/bin/python benchmarks/orchestration.py --trials 200

Bar: at most 0.3 s per trial at 200 trials. Prints JSON.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
import time
from pathlib import Path

REPO = Path(__file__).parent.parent
sys.path[:0] = [str(REPO), str(REPO / "tests")]

import synthetic

from pipeline.progress import Quiet
from pipeline.search import loop


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--sampler", default="tpe")
    arguments = parser.parse_args()
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
