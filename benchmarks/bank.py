"""A bank of trained students: every member of a designed set trained once, so that searches can be replayed in seconds.

    python benchmarks/bank.py train benchmarks/bank_sst2.yaml benchmarks/bank_fashion_mnist.yaml
    python benchmarks/bank.py device bank_sst2 --tier screen        # on a quiet machine
    python benchmarks/bank.py table bank_sst2

`train` goes the product's own way (built, distilled, pruned, recovered, exported, quantized, scored on the exported
file), takes several files in turn, and goes on where it was killed. Kept of each student: its seconds and validation
accuracy after every epoch, and the accuracy of every file that its training serves (`bank_design.variants`). `device`
measures one file of each shape and scheme against the teacher. `table` writes what is known as a table that the target
`recorded` reads. All lies below `<root>/bank/<name>`, which is no part of the repository.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from itertools import chain, zip_longest
from pathlib import Path

import torch
from bank_figures import measure, table
from bank_store import Bank
from bank_training import train

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
    for verb in ("device", "table"):
        known = verbs.add_parser(verb)
        known.add_argument("name")
        known.add_argument("--tier", choices=("screen", "trial", "final"), default="screen")
    arguments = parser.parse_args(given)
    say: Say = lambda line: print(line, flush=True)  # noqa: E731
    if arguments.verb == "train":
        train_in_turn(arguments, say)
        return
    bank = Bank(arguments.root, arguments.name)
    if arguments.verb == "device":
        measure(bank, arguments.tier, say)
    path, rows = table(bank, arguments.tier)
    say(f"{path}: {rows} rows")


def train_in_turn(arguments: argparse.Namespace, say: Say) -> None:
    """One thread, as the students of a search on a shared machine; a student of each bank in turn."""
    torch.set_num_threads(1)
    teachers = dict(given.split("=", 1) for given in arguments.teacher)
    with ExitStack() as stack:
        turns = []
        for file in arguments.files:
            config = configuration(file, teachers)
            workspace = Workspace(arguments.root, config.name)
            workspace.make()
            stack.enter_context(workspace.lock())
            turns.append(train(Bank(arguments.root, config.name), config, arguments.most, say))
        for _ in chain.from_iterable(zip_longest(*turns)):
            pass


def configuration(file: Path, teachers: Mapping[str, str]) -> SearchConfig:
    """The search file, its teacher replaced by the trained one that was named for it."""
    data = read_yaml(file)
    if place := teachers.get(str(data.get("name"))):
        size = (data.get("teacher") or {}).get("size")
        data["teacher"] = {"path": place, **({} if size is None else {"size": size})}
    return parse_config(data, str(file))


if __name__ == "__main__":
    main()
