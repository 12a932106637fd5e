"""One of two live searches of a bank's task, for `live_pair.py`: plain TPE, or all that niwaki spends less by.

    OMP_NUM_THREADS=1 python benchmarks/live_search.py bank_sst2 plain
    OMP_NUM_THREADS=1 python benchmarks/live_search.py bank_sst2 niwaki
    OMP_NUM_THREADS=1 python benchmarks/live_search.py bank_fashion_mnist plain --teacher FOLDER

Both search the bank's space with its teacher, rows and recipes; they may run side by side, for they take turns at
measuring. `niwaki` is what the replay calls "all". `--teacher` is where the bank's own was trained, or each search
would train one. The searches are called `bank_sst2_plain` and `bank_sst2_niwaki`, unless `--name` says otherwise;
killed, the same command goes on.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import yaml
from bank_store import Bank
from replay import BASE, SIBLINGS, input_of, rungs_of
from replay_bank import stored

from pipeline import api
from pipeline.progress import Lines
from pipeline.record import read_json


def settings(bank: Bank, way: str, teacher: Path | None, trials: int, name: str | None = None) -> dict[str, Any]:
    """The whole configuration of such a search, as plain data."""
    found = bank.config.resolved()
    found |= {"name": name or f"{bank.name}_{way}", "limits": {"trials": trials}}
    if teacher is not None:
        found["teacher"] |= {"path": str(teacher), "train": None}
    if way == "plain":
        return found | {"sampler": {**found["sampler"], "name": BASE}}
    rungs = rungs_of(stored(bank, bank.config, input_of(read_json(bank.about)["input"])))
    spares = {"harvest": SIBLINGS, "rungs": list(rungs), "refuse_dominated": True}
    return found | {"sampler": {"name": "device_aware"}, "trials": {**found["trials"], **spares}}


def main(given: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bank")
    parser.add_argument("way", choices=("plain", "niwaki"))
    parser.add_argument("--root", type=Path, default=Path("mlruns"))
    parser.add_argument("--teacher", type=Path, default=None)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--name", default=None, help="of the search, for another one of the same kind")
    arguments = parser.parse_args(given)
    bank = Bank(arguments.root, arguments.bank)
    data = settings(bank, arguments.way, arguments.teacher, arguments.trials, arguments.name)
    file = bank.folder / f"live_{data['name']}.yaml"
    file.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
    api.search(file, root=arguments.root, progress=Lines)


if __name__ == "__main__":
    main()
