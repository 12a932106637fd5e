"""Write down which trials of a search were picked, before anything is scored on the test split.

    .venv/bin/python benchmarks/fix_picks.py examples/sick.yaml 6:6 --out examples/picks/sick.yaml

Each pick is SPEEDUP:TRIAL, the least speed-up that it is for and the number of the trial; its finals (`niwaki finals`)
are listed with the SHA-256 of their files. Refuses a search whose test split has been scored.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import yaml

from pipeline.config_file import load_config
from pipeline.record import TrialRecord, read_records
from pipeline.workspace import Workspace

HEAD = (
    "# Fixed before the test split was scored. Each pick is distilled in full with several seeds; "
    "its figure is their mean.\n"
)


def pick(speedup: float, number: int, records: list[TrialRecord]) -> dict[str, Any]:
    """One pick with its candidate and its finals."""
    record = next((item for item in records if item.number == number and item.end == "complete"), None)
    if record is None:
        raise SystemExit(f"there is no complete trial {number} to pick")
    finals = [item for item in records if item.final_of == number and item.end == "complete"]
    return {
        "budget": {"speedup": speedup},
        "trial": number,
        "candidate": record.candidate.flat(),
        "seed": record.candidate.seed,
        "finals": [
            {
                "trial": item.number,
                "seed": item.candidate.seed,
                "epochs": item.candidate.flat().get("distill.epochs"),
                "sha256": (item.artifact or {})["sha256"],
            }
            for item in finals
        ],
    }


def main(given: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="the search's YAML file")
    parser.add_argument("picks", nargs="+", metavar="SPEEDUP:TRIAL")
    parser.add_argument("--root", type=Path, default=Path("mlruns"))
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args(given)
    workspace = Workspace(arguments.root, load_config(arguments.file).name)
    if workspace.test_file.exists():
        raise SystemExit(f"the test split of {workspace.name} has been scored, so no pick can be fixed any more")
    records = read_records(workspace.folder)
    pairs = [text.split(":") for text in arguments.picks]
    picks = [pick(float(speedup), int(number), records) for speedup, number in pairs]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    body = yaml.safe_dump({"search": arguments.file, "picks": picks}, sort_keys=False, allow_unicode=True)
    arguments.out.write_text(HEAD + body, encoding="utf-8")
    print(f"{len(picks)} picks written to {arguments.out}")


if __name__ == "__main__":
    main()
