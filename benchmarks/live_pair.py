"""Two finished searches of one task, live: how many seconds the second needed for the front that the first had.

    python benchmarks/live_pair.py bank_sst2_plain bank_sst2_niwaki --out benchmarks/results/live_sst2.json

The target is the volume of the first search's front at its end, its time the moment when it first had it; one pair,
so no interval. Training-seconds are processor seconds of distillation, recovery and learning with rounding, as in the
replay; wall seconds are those of all phases of all trials, and where both ran side by side each waited for the other.
Both searches must have one teacher, one set of validation rows and the same objectives.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from bank_training import majority
from replay import seconds_to
from replay_search import Mark, Run

from pipeline.config import SearchConfig
from pipeline.config_file import parse_config
from pipeline.pareto import front_hypervolume
from pipeline.quality import quality_with_intervals
from pipeline.record import TrialRecord, read_json, read_records, write_json
from pipeline.workspace import Workspace, existing

TRAINING = ("distill", "recover", "aware")


def run_of(workspace: Workspace, config: SearchConfig) -> Run:
    """A finished search as a replayed one is kept: where it stood after each of its trials."""
    folder = workspace.folder / "teacher"
    teacher, chance = (
        read_json(folder / "figures.json")["metrics"],
        chance_of(np.load(folder / "validation_labels.npy")),
    )
    records = [record for record in read_records(workspace.folder) if record.final_of is None]
    train_s = wall_s = 0.0
    run = Run()
    for record in sorted(records, key=lambda one: one.number):
        train_s += sum(record.cpu_seconds.get(phase, 0.0) for phase in TRAINING)
        wall_s += sum(record.seconds.values())
        run.records.append(record)
        run.marks.append(Mark(train_s, wall_s, front_hypervolume(run.records, config.objectives, teacher, chance)))
    return run


def chance_of(labels: np.ndarray) -> dict[str, float]:
    """Quality of always answering the commonest class."""
    return quality_with_intervals(labels, majority(labels, int(labels.max()) + 1))[0]


def pair(first: Workspace, second: Workspace) -> dict[str, Any]:
    """Seconds of both to the first one's last volume, and their ratio."""
    configs = [parse_config((space.state() or {})["config"], space.name) for space in (first, second)]
    same = [_teacher(space) for space in (first, second)]
    if same[0] != same[1] or configs[0].objectives != configs[1].objectives:
        raise SystemExit(
            f"{first.name} and {second.name} have not the same teacher and objectives, so their fronts do not compare"
        )
    runs = [run_of(space, config) for space, config in zip((first, second), configs, strict=True)]
    target = runs[0].last.volume
    found: dict[str, Any] = {"first": first.name, "second": second.name, "volume": round(target, 4)}
    for axis in ("train_s", "wall_s"):
        (base, _), (other, reached) = (seconds_to(run, target, axis) for run in runs)
        found |= {axis: [round(base, 1), round(other, 1)], f"{axis}_ratio": round(other / base, 3), "reached": reached}
    return found | {"volume_of_second": round(runs[1].last.volume, 4), "trials": [len(run.records) for run in runs],
                    "trained": [sum(_trained(record) for record in run.records) for run in runs],
                    "unreliable": [sum(_unreliable(record) for record in run.records) for run in runs]}  # fmt: skip


def _trained(record: TrialRecord) -> bool:
    return record.seconds.get("distill", 0.0) > 0


def _unreliable(record: TrialRecord) -> bool:
    """Complete, and on no front for want of a quiet machine."""
    return record.end == "complete" and record.unreliable


def _teacher(workspace: Workspace) -> str:
    return str(read_json(workspace.folder / "teacher" / "figures.json")["teacher"])


def main(given: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", help="name of the plain search")
    parser.add_argument("second")
    parser.add_argument("--root", type=Path, default=Path("mlruns"))
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args(given)
    found = pair(*(existing(arguments.root, name) for name in (arguments.first, arguments.second)))
    print(json.dumps(found, indent=1))
    if arguments.out:
        write_json(arguments.out, found)


if __name__ == "__main__":
    main()
