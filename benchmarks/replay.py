"""How many seconds each strategy needs for the front that plain TPE has at the end of its budget, replayed on a bank.

    python benchmarks/replay.py benchmarks/bank_sst2.yaml --seeds 20 --out benchmarks/results/replay_sst2.json

Per seed, plain TPE runs for `--trials`; its target is the volume (`replay_search.volume`) that it has then, and its
time the moment when it first had it. Every other strategy runs until it has spent as many training-seconds, and on
until it has the volume, up to three times as many; the figure is the sum of its times to the same targets over the sum
of plain TPE's, with a bootstrap over seeds (pairs stay together), and the median over seeds beside it. A seed that
never gets there counts with all the seconds it was given, so a ratio is then too small by an unknown amount: `reached`
says how many did. Training-seconds are processor seconds of one thread; wall seconds add what export, quantization,
scoring and measurement take, not the sampler's own.

A replay that was cut off goes on from the rows that it has (`OUT.part`) when the same command is typed again.

All strategies have the same space, recipes, identities, constraints, de-duplication and threads; the chooser leaves a
second recipe of the same shape to its own choice, as the product does.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import yaml
from bank_store import Bank
from replay_bank import Stored, stored
from replay_kept import Rows
from replay_product import device_aware, dominated, goes_on, leaves, of_the_bank, stopped
from replay_rules import beaten_at_rung, over_budget
from replay_rules import dominated as dominated_by_ridge
from replay_search import Run, Search, Strategy, best_volume

from pipeline.config_file import load_config
from pipeline.record import read_json, write_json
from search_spaces import IDENTITY, ImageInput, TaskInput, TextInput

BASE = "tpe"
SCORED = "tpe, told the score"
DRAWS = 10_000
LISTED, ALL_LISTED = "tpe, choosing in the bank", "all, choosing in the bank"
SIBLINGS = 4
EQUAL = 1e-9  # of two volumes
AT_MOST, STEPS = 3, 40  # times plain TPE's training, and in how many steps the rest of it is looked at
INPUTS = {"image": ImageInput, "text": TextInput}


def strategies(rungs: tuple[int, ...]) -> dict[str, Strategy]:
    """By name: the baselines, each of the product's rules alone, two simpler ones, all rules, and all but one."""
    rules: dict[str, dict[str, Any]] = {
        "measure": {"refuses": (over_budget,)},
        "dominated": {"refuses": (dominated,)},
        "rungs": {"stops": stopped, "resumes": goes_on, "rungs": rungs},
        "harvest": {"harvest": SIBLINGS},
        "chooser": {"choose": device_aware, "leaves": leaves},
    }
    found = {BASE: Strategy(), SCORED: Strategy(told_score=True)}
    found["tpe, told the score, begins sooner"] = Strategy(told_score=True, sooner=True)
    found[LISTED] = Strategy(listed=True)
    found["tpe, told the score, choosing in the bank"] = Strategy(listed=True, told_score=True)
    found["tpe, told no identities"] = Strategy(told_identities=False)
    found |= {"nsga2": Strategy("nsga2"), "random": Strategy("random")}
    found |= {f"tpe + {name}": _with([rule]) for name, rule in rules.items()}
    found["tpe + dominated by a regression"] = Strategy(refuses=(dominated_by_ridge,))
    found["tpe + rungs for good"] = Strategy(stops=beaten_at_rung, rungs=rungs)
    found["all"] = _with(rules.values())
    found[ALL_LISTED] = replace(found["all"], choose=of_the_bank)
    found["all, every shape screened before"] = replace(found["all"], screened_before=True)
    return found | {
        f"all - {left}": _with(rule for name, rule in rules.items() if name != left) for left in rules
    }  # fmt: skip


def _with(rules: Any) -> Strategy:
    merged: dict[str, Any] = {}
    for rule in rules:
        for name, value in rule.items():
            merged[name] = (*merged.get(name, ()), *value) if name == "refuses" else value
    return Strategy(**merged)


def rungs_of(bank: Stored) -> tuple[int, ...]:
    """Those of the search file; without, half of the shortest training of the space and all of it."""
    if bank.config.trials.rungs:
        return tuple(bank.config.trials.rungs)
    shortest = min(int(value) for value in bank.space.distill["epochs"].values() or ())
    return tuple(dict.fromkeys((max(1, shortest // 2), shortest)))


def run(bank: Stored, strategy: Strategy, of_seed: tuple[int, Mapping[str, Any]]) -> Run:
    """The search of one seed, up to its limit of trials or training-seconds (`Search.until`).

    With a `volume` it goes on past so many seconds until it has that, up to `AT_MOST` times as many.
    """
    seed, limit = of_seed
    search = Search(bank, strategy, seed)
    found = search.until(trials=limit.get("trials"), train_s=limit.get("train_s"))
    if "volume" in limit:
        for share in range(1, STEPS + 1):
            if found.last.volume >= limit["volume"] - EQUAL:
                break
            found = search.until(train_s=limit["train_s"] * (1 + (AT_MOST - 1) * share / STEPS))
    return found


def compared(base: Sequence[Run], other: Sequence[Run]) -> dict[str, Any]:
    """Figures of a strategy beside plain TPE's, seed by seed."""
    targets = [run.last.volume for run in base]
    found: dict[str, Any] = {}
    for axis in ("train_s", "wall_s"):
        times = [seconds_to(run, target, axis) for run, target in zip(other, targets, strict=True)]
        own = [seconds_to(run, target, axis) for run, target in zip(base, targets, strict=True)]
        found[f"{axis}_ratio"] = ratio([time for time, _ in times], [time for time, _ in own])
        found[f"{axis}_median"] = _round(median(a / b for (a, _), (b, _) in zip(times, own, strict=True) if b > 0))
        found["reached"] = sum(there for _, there in times)
    equal = [volume_within(run, own.last.train_s) for run, own in zip(other, base, strict=True)]
    found["volume_at_equal_training"] = ratio(equal, targets)
    return {**found, **summary(other)}


def seconds_to(run: Run, volume: float, axis: str) -> tuple[float, bool]:
    """When a run first had a volume, and whether it ever had; its last moment if not."""
    for mark in run.marks:
        if mark.volume >= volume - EQUAL:
            return getattr(mark, axis), True
    return getattr(run.last, axis), False


def volume_within(run: Run, train_s: float) -> float:
    """What a run had before it went over so many training-seconds."""
    return max((mark.volume for mark in run.marks if mark.train_s <= train_s + EQUAL), default=0.0)


def ratio(ours: Sequence[float], theirs: Sequence[float], seed: int = 0) -> dict[str, float]:
    """Sum over sum, with the percentile interval of a bootstrap over seeds."""
    pairs = np.array([ours, theirs], dtype=float)
    drawn = np.random.default_rng(seed).integers(0, pairs.shape[1], (DRAWS, pairs.shape[1]))
    sums = pairs[:, drawn].sum(-1)
    low, high = np.quantile(sums[0] / sums[1], [0.025, 0.975])
    return {"value": _round(pairs[0].sum() / pairs[1].sum()), "low": _round(low), "high": _round(high)}


def summary(found: Sequence[Run]) -> dict[str, Any]:
    """Means over seeds of what a strategy did."""
    wronged, entered = _summed(run.wronged for run in found), sum(run.entered for run in found)
    points = [count for run in found for count in run.points_per_student]
    return {
        "volume": _round(fmean(run.last.volume for run in found)),
        "train_s": _round(fmean(run.last.train_s for run in found)),
        "wall_s": _round(fmean(run.last.wall_s for run in found)),
        "volume_per_1000_train_s": _round(1000 * fmean(run.last.volume / max(run.last.train_s, 1.0) for run in found)),
        "trials": _round(fmean(len(run.records) for run in found)),
        "trained": _round(fmean(run.trained for run in found)),
        "stopped": _round(fmean(run.stopped for run in found)),
        "resumed": _round(fmean(run.resumed for run in found)),
        "refused": {name: _round(count / len(found)) for name, count in _summed(r.refused for r in found).items()},
        # of the candidates that full training would have put on the front at their moment, those that a rule kept off
        "wronged_share": {name: _round(count / max(1, count + entered)) for name, count in wronged.items()},
        "points_per_trained_student": _round(fmean(points)) if points else None,
    }


def _summed(counts: Any) -> dict[str, int]:
    total: dict[str, int] = {}
    for count in counts:
        for name, value in count.items():
            total[name] = total.get(name, 0) + value
    return total


def _round(value: float) -> float:
    return float(f"{value:.4g}")


def against(
    base_name: str,
    bank: Stored,
    names: Sequence[str],
    seeds: Sequence[int],
    trials: int,
    each: Callable[..., Iterable[Any]],
    rows: Rows,
) -> dict[str, Any]:
    """The figures of the named strategies against one of them, which runs so many trials."""
    known = strategies(rungs_of(bank))
    base = list(each(partial(run, bank, known[base_name]), [(seed, {"trials": trials}) for seed in seeds]))
    budgets = [
        (seed, {"train_s": of_base.last.train_s, "volume": of_base.last.volume})
        for seed, of_base in zip(seeds, base, strict=True)
    ]

    def row(name: str) -> dict[str, Any]:
        return compared(base, list(each(partial(run, bank, known[name]), budgets)))

    found = {base_name: compared(base, base)}
    print(f"{base_name}: {json.dumps(found[base_name])}", flush=True)
    for name in names:
        if name != base_name:
            found[name] = rows.of(f"{base_name}: {name}", partial(row, name))
            print(f"{name}: {json.dumps(found[name])}", flush=True)
    return found


def about(bank: Stored, table: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """What the figures rest on."""
    students = {point.candidate.values: 0 for point in bank.points.values()}
    return {
        "search": bank.config.name,
        "students": len({_training(values) for values in students if dict(values)["student"] != IDENTITY}),
        "candidates": len(bank.points),
        "figures": yaml.safe_load(table.read_text(encoding="utf-8"))["source"],
        "objectives": bank.config.objectives,
        "budget": bank.config.budget,
        "reference_point": "chance accuracy at the teacher's latency and energy",
        "rungs": rungs_of(bank),
        "seeds": arguments.seeds,
        "first_seed": arguments.first_seed,
        "trials_of_plain_tpe": arguments.trials,
        "seconds_of_a_measurement": {"screen": bank.screen_s, "trial": bank.measure_s},
        "volume_of_the_whole_bank": _round(best_volume(bank)),
    }


def _training(values: Sequence[tuple[str, Any]]) -> tuple[tuple[str, Any], ...]:
    return tuple(pair for pair in values if not pair[0].startswith(("prune.", "quantize.")))


def input_of(plain: Mapping[str, Any]) -> TaskInput:
    kind = INPUTS[plain["kind"]]
    given: TaskInput = kind(**{name: value for name, value in plain.items() if name != "kind"})
    return given


def main(given: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--root", type=Path, default=Path("mlruns"))
    parser.add_argument("--table", type=Path, default=None, help="other device figures than the bank's own")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--trials", type=int, default=40, help="plain TPE's budget")
    parser.add_argument("--workers", type=int, default=1, help="processes; the figures are the same with any number")
    parser.add_argument("--strategies", nargs="+", default=None, help="by name; all without it")
    parser.add_argument("--budget", action="append", default=[], metavar="METRIC=LIMIT", help="instead of the file's")
    parser.add_argument("--out", type=Path, default=None, help="write the figures as JSON")
    arguments = parser.parse_args(given)
    limits = {name: float(value) for name, value in (pair.split("=", 1) for pair in arguments.budget)}
    config = load_config(arguments.file, {"budget": limits or None})
    bank_folder = Bank(arguments.root, config.name)
    table = arguments.table or bank_folder.folder / "table.yaml"
    bank = stored(bank_folder, config, input_of(read_json(bank_folder.about)["input"]), table)
    told = about(bank, table, arguments)
    print(json.dumps(told), flush=True)
    names = arguments.strategies or list(strategies(()))
    with ProcessPoolExecutor(arguments.workers, mp_context=get_context("spawn")) as pool:
        each = map if arguments.workers == 1 else pool.map
        rows = Rows(arguments.out, told)
        seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
        asked = (seeds, arguments.trials, each, rows)
        found = {**told, "strategies": against(BASE, bank, names, *asked)}
        # the same question against a TPE that is told what is scored: log2 of the latency, and no energy
        found["against_told_the_score"] = against(SCORED, bank, ["all"], *asked) if {"all", SCORED} <= {*names} else {}
        # and, both being told what the bank holds, against the TPE that chooses in it
        both = {ALL_LISTED, LISTED} <= {*names}
        found["against_tpe_in_the_bank"] = against(LISTED, bank, [ALL_LISTED], *asked) if both else {}
    if arguments.out:
        write_json(arguments.out, found)
        rows.done()


if __name__ == "__main__":
    main()
