"""What each measure bought that makes training cheaper: the same student with one of them taken away.

    .venv/bin/python benchmarks/training_speed.py examples/sst2.yaml --out benchmarks/results/training_speed_sst2.json

Variants, each the product's own `distill` with one part replaced: batches of rows of any length (no buckets), float32
(no bfloat16), AdamW as a loop over tensors (not fused), the whole word table learning (not only the rows that are
shown), and the teacher asked in every step (answers not cached). The last two are a student that learns from hidden
states as well, read from the disk or computed beside it. All of them take turns in random order; figures are processor
seconds relative to the whole (or to the states read) in the same round: median and range over the rounds. The first
round, in which what is made once is made, does not count.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
from students import candidate, prepared

from pipeline import training
from pipeline.making import build
from pipeline.stages import distill as distilling
from pipeline.tasks import _buckets

Variant = Callable[[Any], Any]
Settings = dict[str, Any]


@contextmanager
def whole(_: Any) -> Iterator[None]:
    yield


def no_buckets(_: Any) -> Any:
    return patch.object(_buckets, "WINDOW", 1)  # sorted within one batch: any lengths stand beside each other


def no_bfloat16(_: Any) -> Any:
    return patch.object(training, "pays_in_bf16", lambda _: False)


def not_fused(_: Any) -> Any:
    def plain(*arguments: Any, **named: Any) -> torch.optim.Optimizer:
        return adamw(*arguments, **{**named, "fused": False, "foreach": False})

    adamw = torch.optim.AdamW
    return patch.object(torch.optim, "AdamW", plain)


def whole_table(_: Any) -> Any:
    return patch.object(training, "shown_rows", lambda *_: nullcontext())


def asked_every_step(bench: Any) -> Any:
    class Asking(distilling.Loss):
        def __call__(self, logits: torch.Tensor, projected: torch.Tensor | None, batch: Any) -> torch.Tensor:
            with torch.inference_mode():
                bench.teacher.module(*batch.inputs)
            return super().__call__(logits, projected, batch)

    return patch.object(distilling, "Loss", Asking)


def states_beside(bench: Any) -> Any:
    return patch.object(bench, "targets", replace(bench.targets, states=None))


HIDDEN: Settings = {"distill.hidden_weight": 0.5, "distill.hidden_of": "last"}
# name -> what it is set against, how the student learns, what is taken away
VARIANTS: dict[str, tuple[str, Settings, Variant]] = {
    "all of it": ("all of it", {}, whole),
    "batches of any lengths": ("all of it", {}, no_buckets),
    "float32": ("all of it", {}, no_bfloat16),
    "AdamW not fused": ("all of it", {}, not_fused),
    "the whole word table": ("all of it", {}, whole_table),
    "the teacher asked in every step": ("all of it", {}, asked_every_step),
    "hidden states read": ("hidden states read", HIDDEN, whole),
    "hidden states computed beside": ("hidden states read", HIDDEN, states_beside),
}


def cpu_seconds(bench: Any, settings: Settings, variant: Variant, rows: float, layers: int) -> float:
    """Of one epoch over a share of the training rows."""
    one = candidate(bench, {"bert.layers": layers, "distill.epochs": 1, **settings}, 0)
    student = build(one, bench)
    with variant(bench):
        begin = time.process_time()
        distilling.distill(
            student, bench.task, bench.targets, one.section("distill"), seed=0, rows=rows, teacher=bench.inner_teacher
        )
        return time.process_time() - begin


def table(seconds: dict[str, list[float]]) -> list[dict[str, Any]]:
    """Per variant the processor time relative to what it is set against, same round: median, least, most."""
    found = []
    for name, spent in seconds.items():
        base = VARIANTS[name][0]
        ratios = [own / whole for own, whole in zip(spent, seconds[base], strict=True)]
        found.append(
            {
                "variant": name,
                "against": base,
                "times": round(median(ratios), 3),
                "range": [round(min(ratios), 3), round(max(ratios), 3)],
            }
        )
    return found


def main(given: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--root", type=Path, default=Path("mlruns"))
    parser.add_argument("--rows", type=float, default=0.02, help="share of the training rows")
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=None, help="write the table as JSON")
    arguments = parser.parse_args(given)
    bench = prepared(arguments.file, arguments.root)
    chance, seconds = random.Random(0), {name: list[float]() for name in VARIANTS}
    for turn in range(arguments.rounds + 1):
        for name in chance.sample(list(VARIANTS), len(VARIANTS)):
            spent = cpu_seconds(bench, *VARIANTS[name][1:], arguments.rows, arguments.layers)
            if turn:
                seconds[name].append(spent)
    lines = table(seconds)
    print(*(json.dumps(line) for line in lines), sep="\n", flush=True)
    if arguments.out:
        told = {key: value for key, value in vars(arguments).items() if key not in ("root", "out")}
        told |= {"threads": torch.get_num_threads(), "table": lines}
        arguments.out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
