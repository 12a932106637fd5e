"""What the window over a search's history costs in quality: hypervolume of TPE with and without it.

    .venv/bin/python benchmarks/window.py --trials 1000 --seeds 20 --windows 250 500

A synthetic problem with the traits of ours: two families with axes of their own, quality against two costs that mostly
go together, noise, and a limit that much of the space breaks. The search's own sampler and its own window, over a
storage in memory. Volume is that of the trials within the limit, of the noiseless objectives, as a share of the
reference box; differences are paired by seed, with a 95 % interval from Student's t. Writes a line per run, and prints
the table of all lines.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev

REPO = Path(__file__).parent.parent
sys.path[:0] = [str(REPO), str(REPO / "tests")]

import numpy as np
import optuna
import synthetic
from scipy.stats import t as student

from pipeline.pareto import efficient, hypervolume
from pipeline.search.study import make_sampler
from pipeline.search.window import Window

CORNER = (0.0, 3.0, 3.0)  # of minus quality, and the two costs
LIMIT = 2.0  # of the first cost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--windows", type=int, nargs="+", default=[250, 500])
    parser.add_argument(
        "--lines", type=Path, required=True, help="a run per line; runs that are there are not repeated"
    )
    arguments = parser.parse_args()
    kinds = [0, *arguments.windows]  # 0: none
    for seed in range(arguments.seeds):
        for most in kinds:
            if (seed, most) not in known(arguments.lines):
                row = {"seed": seed, "window": most, "volume": volume(most, seed, arguments.trials)}
                with arguments.lines.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
    for line in table(known(arguments.lines), kinds):
        print(line)


def known(path: Path) -> dict[tuple[int, int], float]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    return {(row["seed"], row["window"]): row["volume"] for row in rows}


def volume(most: int, seed: int, trials: int) -> float:
    """Of one search with so many trials in its window; 0: without one."""
    plain = optuna.storages.InMemoryStorage()
    study = optuna.create_study(
        study_name="one",
        storage=Window(plain, "one", most=most) if most else plain,
        directions=["maximize", "minimize", "minimize"],
    )
    study.sampler = make_sampler(synthetic.config(trials), seed)
    chance, found = random.Random(seed), list[tuple[float, float, float]]()
    for _ in range(trials):
        trial = study.ask()
        quality, first, second = figures(trial)
        trial.set_constraint("first", first / LIMIT - 1)
        study.tell(trial, [quality + chance.gauss(0, 0.02), first * chance.uniform(0.97, 1.03), second])
        if first <= LIMIT:
            found.append((-quality, first, second))
    points = np.array(found)
    return hypervolume(points[efficient(points)], CORNER) / math.prod(np.abs(CORNER[1:]))


def figures(trial: optuna.Trial) -> tuple[float, float, float]:
    """Quality in [0, 1] and two costs of what a trial suggests, without noise."""
    family = trial.suggest_categorical("family", ["a", "b"])
    width = trial.suggest_float(f"{family}.width", 0.1, 10, log=True)
    depth = trial.suggest_int(f"{family}.depth", 1, 8)
    rate = trial.suggest_float("rate", 1e-4, 1e-1, log=True)
    bits = trial.suggest_categorical("bits", [8, 16, 32])
    cut = trial.suggest_float("cut", 0, 0.9)
    better = 1.0 if family == "a" else 0.8
    size = width * depth**0.5 * (1 - cut)
    miss = (math.log10(rate) + 2.5 + 0.2 * depth / 8) ** 2
    quality = 1 - math.exp(-better * size) - 0.3 * miss - 0.1 * cut**2 - {8: 0.03, 16: 0.01, 32: 0.0}[bits]
    cost = size * {8: 0.4, 16: 0.8, 32: 1.0}[bits] * (1.0 if family == "a" else 0.7)
    return max(0.0, quality), cost, 0.5 * cost + 0.2 * depth * (bits / 32)


def table(found: dict[tuple[int, int], float], kinds: Sequence[int]) -> list[str]:
    seeds = [seed for seed in sorted({seed for seed, _ in found}) if all((seed, kind) in found for kind in kinds)]
    lines = [
        f"{len(seeds)} seeds",
        "| window | volume, mean and sd | difference from none, relative, 95 % |",
        "| --- | --- | --- |",
    ]
    plain = [found[seed, 0] for seed in seeds]
    for kind in kinds:
        volumes = [found[seed, kind] for seed in seeds]
        said = (
            ""
            if kind == 0
            else interval([100 * (mine / other - 1) for mine, other in zip(volumes, plain, strict=True)])
        )
        lines.append(f"| {kind or 'none'} | {fmean(volumes):.4f}, {stdev(volumes):.4f} | {said} |")
    return lines


def interval(values: Sequence[float]) -> str:
    half = float(student.ppf(0.975, len(values) - 1)) * stdev(values) / math.sqrt(len(values))
    return f"{fmean(values):+.2f} % [{fmean(values) - half:+.2f}, {fmean(values) + half:+.2f}]"


if __name__ == "__main__":
    main()
