"""A bank of trained students: every member of a designed set trained once, so that searches can be replayed in seconds.

    python benchmarks/bank.py train benchmarks/bank_sst2.yaml benchmarks/bank_fashion_mnist.yaml
    python benchmarks/bank.py train benchmarks/bank_sst2.yaml --workers 2
    python benchmarks/bank.py device bank_sst2 --tier screen --known-to 0.1        # on a quiet machine
    python benchmarks/bank.py table bank_sst2

`train` goes the product's own way (built, distilled, pruned, recovered, exported, quantized, scored on the exported
file), takes several files in turn, and goes on where it was killed. With `--workers` so many processes of one thread
share the students. Kept of each student: its seconds and validation accuracy after every epoch, and the accuracy of
every file that its training serves (`bank_design.variants`). `device` measures one file of each shape and scheme
against the teacher; with `--known-to` it takes what is known so well only, and the same command goes on with the rest.
`table` writes what is known as a table that the target `recorded` reads. All lies below `<root>/bank/<name>`, which is
no part of the repository.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from itertools import chain, zip_longest
from pathlib import Path

import torch
from bank_figures import measure, table
from bank_store import Bank
from bank_training import Part, train

from pipeline.config import SearchConfig
from pipeline.config_file import parse_config, read_yaml
from pipeline.workspace import Workspace

Say = Callable[[str], None]


def main(given: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("mlruns"))
    verbs = parser.add_subparsers(dest="verb", required=True)
    training = verbs.add_parser("train")
    training.add_argument("files", type=Path, nargs="+")
    training.add_argument("--teacher", action="append", default=[], metavar="NAME=FOLDER", help="a trained one")
    training.add_argument("--most", type=int, default=10**6, help="students of each bank")
    training.add_argument("--workers", type=int, default=1, help="processes, of one thread each")
    for verb in ("device", "table"):
        known = verbs.add_parser(verb)
        known.add_argument("name")
        known.add_argument("--tier", choices=("screen", "trial", "final"), default="screen")
        known.add_argument(
            "--known-to",
            type=float,
            default=math.inf,
            metavar="SHARE",
            help="how well a ratio must be known: 0.1 is 10 %% to either side",
        )
    arguments = parser.parse_args(given)
    if arguments.verb == "train":
        train_in_turn(arguments, print_line)
        return
    bank = Bank(arguments.root, arguments.name)
    if arguments.verb == "device":
        measure(bank, arguments.tier, arguments.known_to, print_line)
    path, rows = table(bank, arguments.tier, arguments.known_to)
    print_line(f"{path}: {rows} rows")


def train_in_turn(arguments: argparse.Namespace, say: Say) -> None:
    """One thread a process, as the students of a search on a shared machine; a student of each bank in turn."""
    teachers = dict(given.split("=", 1) for given in arguments.teacher)
    configs = [configuration(file, teachers) for file in arguments.files]
    with ExitStack() as stack:
        for config in configs:
            workspace = Workspace(arguments.root, config.name)
            workspace.make()
            stack.enter_context(workspace.lock())
        if arguments.workers == 1:
            work(arguments.root, configs, arguments.most, Part(), say)
            return
        work(arguments.root, configs, 0, Part(), say)  # what is made once is made before they share the rest
        parts = [Part(place, arguments.workers, os.getpid()) for place in range(arguments.workers)]
        spawn = multiprocessing.get_context("spawn")
        given = [(arguments.root, configs, arguments.most, part, print_line) for part in parts]
        workers = [spawn.Process(target=work, args=one, daemon=True) for one in given]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        if any(worker.exitcode for worker in workers):
            raise SystemExit("a worker ended early; the same command goes on")


def work(root: Path, configs: Sequence[SearchConfig], most: int, part: Part, say: Say) -> None:
    """Train this process's part of every bank."""
    torch.set_num_threads(1)
    turns = [train(Bank(root, config.name), config, most, say, part) for config in configs]
    for _ in chain.from_iterable(zip_longest(*turns)):
        pass


def print_line(line: str) -> None:
    print(line, flush=True)


def configuration(file: Path, teachers: Mapping[str, str]) -> SearchConfig:
    """The search file, its teacher replaced by the trained one that was named for it."""
    data = read_yaml(file)
    if place := teachers.get(str(data.get("name"))):
        size = (data.get("teacher") or {}).get("size")
        data["teacher"] = {"path": place, **({} if size is None else {"size": size})}
    return parse_config(data, str(file))


if __name__ == "__main__":
    main()
