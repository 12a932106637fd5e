"""Three tables over students of texts, trained by the product's own stages: what is inherited, of whom, which recipe.

    .venv/bin/python benchmarks/students.py examples/sst2.yaml inheritance --rows 0.3
    .venv/bin/python benchmarks/students.py examples/sst2.yaml nearest --rows 0.3
    .venv/bin/python benchmarks/students.py examples/sst2.yaml recipes --rows 0.3

`inheritance`: the same narrower students, begun by projection, by importance, truncated or at random. `nearest`:
narrower students begun with the teacher or with a trained student that holds them (`trials.inherit: nearest`), not
trained at all and for the epochs. `recipes`: one shape, every recipe for about the same processor time of training: the
cheapest one sees `--rows`, the others as many as take as long.
Figures are validation accuracies of the float32 torch students over several seeds; intervals are percentile bootstraps
over rows and seeds, differences are paired by row and seed. Nothing is measured on a device and the test split stays
sealed. The teacher is trained first where it is not stored yet.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

import search_spaces
from pipeline import workbench
from pipeline.ancestor import Ancestor
from pipeline.artifact import TorchArtifact
from pipeline.config_file import load_config
from pipeline.importance import stored_importance
from pipeline.making import build
from pipeline.stages._own_bert import own
from pipeline.stages.distill import distill
from pipeline.student_files import save_student
from pipeline.teacher_cache import teacher_targets
from pipeline.training import logits_of
from pipeline.workspace import Workspace
from search_spaces.candidate import Candidate

DRAWS = 5000
PROBES = (0.02, 0.06)  # shares of the rows on which a training's cost is estimated: what is fixed, and what grows
INHERITANCE = ("projection", "importance", "truncation", "random")
RECIPES = ("hinton", "distilbert", "tinybert", "minilm")

Flat = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One line of a table: a name, and right answers bool [seeds, rows]."""

    name: str
    right: np.ndarray
    cpu_seconds: float  # of one student's training
    rows: float

    def plain(self, against: Row | None) -> dict[str, Any]:
        """Mean accuracy with its interval, and the difference from the line before it."""
        means = self.right.mean(1)
        found = {
            "name": self.name,
            "accuracy": round(fmean(means), 4),
            "interval": _interval(self.right.astype(float)),
            "sd_of_seeds": round(stdev(means), 4) if len(means) > 1 else None,
            "cpu_seconds": round(self.cpu_seconds, 1),
            "rows": round(self.rows, 3),
        }
        if against is not None:
            lead = against.right.astype(float) - self.right.astype(float)
            found["behind_the_line_above"] = [round(float(lead.mean()), 4), *_interval(lead)]
        return found


def _interval(values: np.ndarray, seed: int = 0) -> list[float]:
    """95 % of the mean over seeds and rows [S, N], both drawn anew."""
    generator = np.random.default_rng(seed)
    seeds, rows = values.shape
    means = []
    for _ in range(DRAWS):
        drawn = values[generator.integers(0, seeds, seeds)].mean(0)
        means.append(drawn[generator.integers(0, rows, rows)].mean())
    return [round(float(end), 4) for end in np.quantile(means, [0.025, 0.975])]


def prepared(file: str, root: Path) -> Any:
    """What building and distilling need of a search, without a device."""
    config = load_config(file)
    workspace = Workspace(root, config.name)
    task = workbench.prepare_task(config, workspace)
    space, given = workbench.prepare_space(config, task)
    teacher = workbench.prepare_teacher(config, workspace, task, lambda line: print(line, flush=True))
    order = teacher.module.order.tolist() if teacher.module.reordered else None
    inner: list[Any] = []

    def inner_teacher() -> Any:
        inner[:] = inner or [own(teacher.module.model, order)]
        return inner[0]

    return SimpleNamespace(
        task=task,
        teacher=teacher,
        targets=teacher_targets(teacher, task, workspace.cache, states_gb=config.limits.states_gb),
        families=workbench.prepare_families(space, teacher.module.model.config),
        input=given,
        importance=lambda: stored_importance(teacher, task, workspace.cache),
        space=search_spaces.load({"preset": "text"}, input=given, augmentations=task.augmentations),
        inner_teacher=inner_teacher,
    )


def candidate(bench: Any, flat: Mapping[str, Any], seed: int) -> Candidate:
    """`flat` with every default of the text preset filled in."""
    params = bench.space.params_of({"student": "bert", **flat})
    if isinstance(params, str):
        raise SystemExit(params)
    return Candidate.of(bench.space.sample(_Given(params), seed).flat(), seed)


class _Given:
    """A trial whose parameters are given."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        self.params = params

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("suggest_"):
            raise AttributeError(name)
        return lambda parameter, *_, **__: self.params[parameter]


def trained(
    bench: Any, flat: Mapping[str, Any], seed: int, rows: float, ancestor: Ancestor | None = None
) -> tuple[np.ndarray, float]:
    """Right answers on validation, bool [N], and processor seconds of training: the same beside other work."""
    begin = time.process_time()
    student = made(bench, flat, seed, rows, ancestor)
    return answers(bench, student), time.process_time() - begin


def made(
    bench: Any, flat: Mapping[str, Any], seed: int, rows: float, ancestor: Ancestor | None = None
) -> TorchArtifact:
    """A student, trained on a share of the rows; on none of them it is as it began."""
    one = candidate(bench, flat, seed)
    student = build(one, bench, ancestor=ancestor)
    if not rows:
        return student
    student, _ = distill(
        student,
        bench.task,
        bench.targets,
        one.section("distill"),
        seed=seed,
        teacher=bench.inner_teacher,
        rows=rows,
    )
    return student


def answers(bench: Any, student: TorchArtifact) -> np.ndarray:
    """Which of its answers on validation are right, bool [N]."""
    held_out = bench.task.batches("validation", bench.task.view(student.shape))
    right: np.ndarray = logits_of(student.module, held_out).argmax(1) == bench.task.labels("validation")
    return right


def inheritance(bench: Any, arguments: argparse.Namespace) -> Iterator[tuple[str, list[Row]]]:
    """Per shape, the ways to begin."""
    given = bench.input
    shapes = {
        "half the width": {"bert.width": given.width // 2},
        "half the heads": {"bert.heads": given.heads // 2},
        "a quarter of the neurons": {"bert.ff": given.ff // 4},
    }
    for name, shape in shapes.items():
        common = {"bert.layers": arguments.layers, "distill.epochs": arguments.epochs, **shape}
        common |= {"distill.learning_rate": arguments.learning_rate} if arguments.learning_rate else {}
        yield name, [table_row(bench, how, {**common, "bert.init": how}, arguments) for how in INHERITANCE]


def by_ancestor(bench: Any, arguments: argparse.Namespace) -> Iterator[tuple[str, list[Row]]]:
    """Per narrower shape: begun with the teacher or with a trained student of whole layers; at once, and trained."""
    given = bench.input
    common = {"bert.layers": arguments.layers, "bert.init": "importance", "distill.epochs": arguments.epochs}
    common |= {"distill.learning_rate": arguments.learning_rate} if arguments.learning_rate else {}
    shapes = {
        f"1/{part} of the heads and neurons": {
            "bert.heads": offered(bench, "heads", given.heads / part),
            "bert.ff": offered(bench, "ff", given.ff / part),
        }
        for part in (2, 3)
    }
    with TemporaryDirectory() as there:
        larger = {}
        for seed in range(arguments.seeds):
            folder = Path(there) / str(seed)
            save_student(folder, made(bench, common, seed, arguments.rows))
            larger[seed] = Ancestor(seed, folder)
        for name, shape in shapes.items():
            flat = {**common, **shape}
            yield (
                name,
                [
                    table_row(bench, f"{whose}, {when}", flat, arguments, rows, ancestors)
                    for when, rows in (("not trained", 0.0), ("trained", arguments.rows))
                    for whose, ancestors in (("the teacher's weights", {}), ("the larger student's", larger))
                ],
            )


def offered(bench: Any, axis: str, size: float) -> int:
    """The nearest size that the space has."""
    return min(bench.space.students["bert"].axes[axis].values(), key=lambda value: abs(value - size))


def by_recipe(bench: Any, arguments: argparse.Namespace) -> Iterator[tuple[str, list[Row]]]:
    """One shape, every recipe and plain soft targets, for about the same processor time."""
    known = search_spaces.recipes("text")
    flats: dict[str, Flat] = {}
    for name in RECIPES:
        learned = {axis: value for axis, value in known[name].items() if axis.startswith(("distill.", "bert."))}
        flats[name] = {**learned, "bert.layers": arguments.layers, "distill.epochs": arguments.epochs}
        flats[name] |= {"distill.learning_rate": arguments.learning_rate} if arguments.learning_rate else {}
    costs = {name: _cost(bench, flat) for name, flat in flats.items()}
    seconds = min(fixed + growing * arguments.rows for fixed, growing in costs.values())
    shares = {name: max((seconds - fixed) / growing, PROBES[0]) for name, (fixed, growing) in costs.items()}
    rows = [table_row(bench, name, flats[name], arguments, shares[name]) for name in RECIPES]
    yield f"{arguments.layers} layers", sorted(rows, key=lambda row: -row.right.mean())


def _cost(bench: Any, flat: Flat) -> tuple[float, float]:
    """Processor seconds of a training: those that any takes, and those that all rows add."""
    trained(bench, flat, 0, PROBES[0])  # what is made once is made now
    few, more = (trained(bench, flat, 0, share)[1] for share in PROBES)
    growing = max(more - few, 1e-3) / (PROBES[1] - PROBES[0])
    return max(few - growing * PROBES[0], 0.0), growing


def table_row(
    bench: Any,
    name: str,
    flat: Flat,
    arguments: argparse.Namespace,
    rows: float | None = None,
    ancestors: Mapping[int, Ancestor] | None = None,
) -> Row:
    share, begun = arguments.rows if rows is None else rows, ancestors or {}
    found = [trained(bench, flat, seed, share, begun.get(seed)) for seed in range(arguments.seeds)]
    row = Row(name, np.stack([right for right, _ in found]), fmean(seconds for _, seconds in found), share)
    print(f"{name}: {row.right.mean():.4f}, {row.cpu_seconds:.0f} processor seconds a student", flush=True)
    return row


TABLES = {"inheritance": inheritance, "nearest": by_ancestor, "recipes": by_recipe}


def main(given: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("table", choices=tuple(TABLES))
    parser.add_argument("--root", type=Path, default=Path("mlruns"))
    parser.add_argument("--rows", type=float, default=0.3, help="share of the training rows")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--learning-rate", type=float, default=None)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=None, help="write the table as JSON")
    arguments = parser.parse_args(given)
    bench = prepared(arguments.file, arguments.root)
    teacher = bench.targets.logits("validation").argmax(1) == bench.task.labels("validation")
    print(f"teacher: {teacher.mean():.4f} on {len(teacher)} validation rows", flush=True)
    tables = {}
    for name, rows in TABLES[arguments.table](bench, arguments):
        lines = [row.plain(rows[place - 1] if place else None) for place, row in enumerate(rows)]
        tables[name] = lines
        print(name, *(json.dumps(line) for line in lines), sep="\n", flush=True)
    if arguments.out:
        told = {key: value for key, value in vars(arguments).items() if key not in ("root", "out")}
        told |= {"teacher": round(float(teacher.mean()), 4), "threads": torch.get_num_threads(), "tables": tables}
        arguments.out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
