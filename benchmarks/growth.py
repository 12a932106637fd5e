"""How a search grows: resume, front, ask, tell and logging at 100, 1,000 and 10,000 synthetic trials.

    .venv/bin/python benchmarks/growth.py --sizes 10 100 1000 10000 --out benchmarks/results/growth.json

Each figure comes from a fresh process; `cpu` is processor time, which a loaded machine lengthens less. `resume` is from
the imports to the first ask, without data, teacher and device, which a search of ten trials waits for as well; `front`
is the whole command; `end` is what follows the last ask; the rest are medians over the trials after the resume. Bars at
10,000: resume 5 s beyond the imports, front 5 s, ask and tell 150 ms, memory 1 GiB. `growth_store.py` writes the stores
in bulk; a resume that has to mend one ends the benchmark.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

REPO = Path(__file__).parent.parent
sys.path[:0] = [str(REPO), str(REPO / "tests"), str(REPO / "benchmarks")]

Moment = np.ndarray  # wall and processor seconds

SIZES = (10, 100, 1000, 10_000)
STEPS = 20  # trials that are run after the resume
BARS = {"resume_s": 5.0, "front_s": 5.0, "ask_ms": 150.0, "tell_ms": 150.0, "peak_memory_mb": 1024.0}
COLUMNS = (
    "trials", "imports_s", "resume_s", "resume_cpu_s", "front_s", "front_cpu_s", "ask_ms", "ask_cpu_ms", "tell_ms",
    "tell_cpu_ms", "log_ms", "step_ms", "step_cpu_ms", "end_s", "peak_memory_mb",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--sampler", default="device_aware", help="the product's own by default")
    parser.add_argument("--root", type=Path, help="keep the stores here, and use those that are there")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--part", choices=["store", "resume"], help="what a process of the benchmark does")
    arguments = parser.parse_args()
    if arguments.part == "store":
        store(arguments.root, arguments.sizes[0], arguments.sampler)
    elif arguments.part == "resume":
        print(json.dumps(resumed(arguments.root, arguments.sampler)))
    else:
        with tempfile.TemporaryDirectory() as folder:
            rows = [measured(arguments.root or Path(folder), size, arguments.sampler) for size in arguments.sizes]
        say(rows)
        if arguments.out:
            load = {"load_average": os.getloadavg(), "cores": os.cpu_count()}
            found = {"sampler": arguments.sampler, **load, "bars_at_10000": BARS, "rows": rows}
            arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def store(root: Path, trials: int, sampler: str) -> None:
    import growth_store

    growth_store.make(root, trials, sampler)


def measured(root: Path, trials: int, sampler: str) -> dict[str, Any]:
    """One row: a store of so many trials, resumed and shown by fresh processes."""
    place = root / f"{sampler}-{trials}"
    if not (place / "searches").exists():
        part(place, trials, sampler, "store")
    name = ["synthetic", "--root", str(place)]
    before = np.array([time.time(), children_s()])
    front = run([sys.executable, "-m", "pipeline.cli", "front", *name])
    front_s, front_cpu_s = np.round([time.time(), children_s()] - before, 2).tolist()
    found = json.loads(part(place, trials, sampler, "resume").splitlines()[-1])
    return {
        "trials": trials,
        "front_s": front_s,
        "front_cpu_s": front_cpu_s,
        "front_lines": len(front.splitlines()),
        **found,
    }


def children_s() -> float:
    """Processor time of the processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def part(place: Path, trials: int, sampler: str, name: str) -> str:
    begun = {"GROWTH_BEGUN": repr(time.time())}
    return run(
        [sys.executable, __file__, "--part", name, "--sizes", str(trials), "--sampler", sampler, "--root", str(place)],
        begun,
    )


def run(command: list[str], more: dict[str, str] | None = None) -> str:
    environment = {**os.environ, "PYTHONPATH": str(REPO), "COLUMNS": "160", **(more or {})}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def resumed(place: Path, sampler: str) -> dict[str, Any]:
    """In a process of its own: resume the search at `place`, and run some more trials."""
    import growth_store
    import mlflow.tracking  # noqa: F401 - the product imports it when it opens the store
    import synthetic

    from pipeline.progress import Quiet
    from pipeline.search import loop

    begun, imported = float(os.environ["GROWTH_BEGUN"]), now()
    spans: dict[str, list[Moment]] = {name: [] for name in ("ask", "tell", "log", "show")}
    asked: list[Moment] = []

    class Watch(Quiet):
        def begin(self, *_: Any) -> None:
            asked.append(now())

        def say(self, sentence: str) -> None:
            raise SystemExit(f"the store was not accepted as it is: {sentence}")

    loop.studies.tell = timed(loop.studies.tell, spans["tell"])
    loop.Tracker.log = timed(loop.Tracker.log, spans["log"])
    loop.Tracker.show_front = timed(loop.Tracker.show_front, spans["show"])
    loop.studies.sampling = timed_block(loop.studies.sampling, spans["ask"])
    loop.run_trial = growth_store.record
    there = len(list((place / "searches" / "synthetic" / "trials").iterdir()))
    config = growth_store.settings(there + STEPS, sampler)
    loop.run_search(config, synthetic.workspace(place, config), Watch(), prepare=synthetic.bench)
    spans["step"] = [after - before for before, after in itertools.pairwise(asked)]
    resume, end = (np.round(each, 2).tolist() for each in (asked[0] - imported, now() - asked[-1]))
    found = {"imports_s": round(imported[0] - begun, 2), "resume_s": resume[0], "resume_cpu_s": resume[1]}
    for name, spent in spans.items():
        for kind, values in zip(("ms", "cpu_ms"), np.array(spent).T, strict=True):
            found[f"{name}_{kind}"] = round(1000 * float(np.median(values)), 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {**found, "end_s": end[0], "end_cpu_s": end[1], "peak_memory_mb": round(peak, 1)}


def timed(call: Callable[..., Any], spent: list[Moment]) -> Callable[..., Any]:
    def around(*given: Any, **named: Any) -> Any:
        begin = now()
        try:
            return call(*given, **named)
        finally:
            spent.append(now() - begin)

    return around


def timed_block(block: Callable[..., Any], spent: list[Moment]) -> Callable[..., Any]:
    @contextmanager
    def around(*given: Any) -> Iterator[None]:
        begin = now()
        with block(*given):
            yield
        spent.append(now() - begin)

    return around


def now() -> Moment:
    """Wall and processor seconds."""
    return np.round([time.time(), time.process_time()], 4)


def say(rows: list[dict[str, Any]]) -> None:
    for name in COLUMNS:
        print(f"{name:>16}" + "".join(f"{row[name]:>10}" for row in rows))


if __name__ == "__main__":
    main()
