"""Olive and NNCF on the teacher of a search of texts, and niwaki's front against every point of theirs.

They live in an environment of their own, from the repository's root (Python as for niwaki, no niwaki installed):

    python3 -m venv peers
    peers/bin/pip install -c constraints.txt olive-ai==0.13.0 nncf==3.4.0 openvino==2026.4.1 requests tabulate \\
        torch transformers datasets onnx onnxscript onnxruntime optuna pyarrow pyyaml psutil

    peers/bin/python benchmarks/peers.py make  --teacher mlruns/teachers/NAME --search mlruns/searches/sst2
    peers/bin/python benchmarks/peers.py score --teacher mlruns/teachers/NAME --search mlruns/searches/sst2 --accuracy
    peers/bin/python benchmarks/peers.py score --teacher mlruns/teachers/NAME --search mlruns/searches/sst2 --latency \\
        --out benchmarks/results/peers_sst2.json

`make` keeps every file that the tools give, and the sentence where they give none. `--accuracy` answers the validation
rows at batch 1, none padded, with the tokenizer's file and the plain runtime. `--latency` times each file in turn with
the teacher's, by niwaki's own protocol in the tier `final` (or `--tier trial`), on the inputs that the search timed:
on a machine that does nothing else. With `--against "trial 0"` each is timed in turn with that file of ours instead, so
that files of like speed are told apart also where the float32 teacher drifts from hour to hour. All three go on where
they were stopped. The test split is not read. `score` alone prints the table.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np

TOOLS = ("olive", "nncf")


def main(given: list[str] | None = None) -> None:
    arguments = _arguments(given)
    if arguments.step == "make":
        make(arguments)
        return
    from peers_score import Scores

    paths = (arguments.work, arguments.teacher, arguments.search, arguments.data, arguments.trials, arguments.feeds)
    scores = Scores(*paths, arguments.against)
    if arguments.accuracy:
        scores.answer(tuple(arguments.only or [""]))
    if arguments.latency:
        scores.time(arguments.seconds, tuple(arguments.only or [""]), arguments.tier)
    found = scores.report()
    print(*scores.lines(found), sep="\n")
    (arguments.work / "table.json").write_text(_json(found), encoding="utf-8")
    if arguments.out:
        arguments.out.write_text(_json(found), encoding="utf-8")


def make(arguments: argparse.Namespace) -> None:
    """Every point of every tool, one folder each; what is in made.json is not made again."""
    import peers_nncf
    import peers_olive

    view = json.loads((arguments.search / "teacher" / "figures.json").read_text(encoding="utf-8"))["artifact"]["view"]
    files = (arguments.teacher, arguments.search / "teacher" / "model.onnx", arguments.data)
    given = peers_olive.Given(*(path.resolve() for path in files), view["max_length"], arguments.samples)
    made = arguments.work.resolve() / "made.json"
    done: dict[str, Any] = json.loads(made.read_text(encoding="utf-8")) if made.exists() else {}
    for maker in [item for tool in (peers_olive, peers_nncf) for item in tool.makers(given)]:
        if maker.name in done or not maker.name.startswith(tuple(arguments.only or [""])):
            continue
        told = _made(maker, arguments.work.resolve() / "points" / maker.name)
        done[maker.name] = _without_paths(told, [*given.paths, ("WORK", arguments.work.resolve())])
        print(maker.name, done[maker.name].get("failed") or done[maker.name]["files"], flush=True)
        made.write_text(_json(done), encoding="utf-8")


def _made(maker: Any, folder: Path) -> dict[str, Any]:
    import shutil

    from peers_olive import Failed

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    begin, note, failed = time.monotonic(), None, None
    try:
        note = maker.make(folder)
    except Failed as error:
        failed = str(error)
    files = sorted(
        str(path.relative_to(folder)) for path in folder.rglob("model.*") if path.suffix in (".onnx", ".xml")
    )
    told = {"how": maker.how, "seconds": round(time.monotonic() - begin, 1), "files": files}
    return told | ({"note": note} if note else {}) | ({"failed": failed} if failed else {})


def _without_paths(told: dict[str, Any], named: list[tuple[str, Path]]) -> dict[str, Any]:
    """Where things lie on this machine is nobody's business: names in the place of folders, in commands and faults."""
    text = json.dumps(told)
    for name, path in named:
        text = text.replace(str(path), name)
    return dict(json.loads(text))


def _json(found: Any) -> str:
    return json.dumps(found, indent=1, default=_plain) + "\n"


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else str(value)


def _arguments(given: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--teacher", type=Path, required=True, help="the Hugging Face folder that the search started from"
    )
    common.add_argument("--search", type=Path, required=True, help="the search's folder below mlruns/searches")
    common.add_argument("--data", type=Path, default=Path("../shared/data/sst2"), help="train and validation .parquet")
    common.add_argument("--work", type=Path, default=Path("mlruns/peers"), help="where files and figures are kept")
    common.add_argument("--only", nargs="*", help="of their points, those whose names begin so")
    steps = parser.add_subparsers(dest="step", required=True)
    one = steps.add_parser("make", parents=[common], help="every point of Olive and NNCF")
    one.add_argument("--samples", type=int, default=24, help="steps of Olive's search")
    two = steps.add_parser("score", parents=[common], help="accuracy, latency and the table")
    two.add_argument("--accuracy", action="store_true")
    two.add_argument("--latency", action="store_true")
    two.add_argument("--tier", default="final", choices=["trial", "final"], help="a trial takes a fifth of the time")
    two.add_argument("--seconds", type=float, default=40.0, help="of one measurement, at most")
    two.add_argument("--trials", type=int, nargs="*", help="of ours; default: the front and the untrained teachers")
    two.add_argument("--feeds", type=Path, help="the search's timed inputs; default: found in mlruns/cache/feeds")
    two.add_argument("--against", default="teacher", help="the file to time in turn with, such as 'trial 0'")
    two.add_argument("--out", type=Path, help="write the table there, too")
    return parser.parse_args(given)


if __name__ == "__main__":
    main()
