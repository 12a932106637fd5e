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
import csv
import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, replace
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from bank_design import NEVER, Member, members, student_of, variants

from hardware_targets import Measurement, TargetError, Unmeasured
from pipeline import workbench
from pipeline.artifact import OnnxArtifact, TorchArtifact
from pipeline.config import SearchConfig, parse_config, read_yaml
from pipeline.cpu_time import cpu_seconds
from pipeline.errors import Failed, Refused
from pipeline.judging import device_figures
from pipeline.making import build, export_student, pruned
from pipeline.phases import Phases
from pipeline.record import read_json, write_json
from pipeline.stages.distill import distill, recover
from pipeline.stages.export import Inputs, export
from pipeline.stages.quantize import quantize
from pipeline.student_files import save_student
from pipeline.teacher_cache import teacher_targets
from pipeline.workbench import Workbench
from pipeline.workspace import Workspace
from search_spaces import IDENTITY
from search_spaces.candidate import Candidate, Scalar

Say = Callable[[str], None]
TEACHER = "teacher"  # its key in the table


class Bank:
    """The folder of one bank."""

    def __init__(self, root: Path, name: str) -> None:
        self.root, self.name, self.folder = root, name, root / "bank" / name

    @property
    def about(self) -> Path:
        return self.folder / "bank.json"

    def member(self, number: int) -> Path:
        return self.folder / "members" / f"{number:03d}"

    def file(self, shape: str) -> Path:
        return self.folder / "files" / f"{shape}.onnx"

    def figures(self, shape: str, tier: str) -> Path:
        return self.folder / "device" / tier / f"{shape}.json"

    def read_members(self) -> list[dict[str, Any]]:
        """Every trained student, the teacher's own files (number -1) among them."""
        return [read_json(path) for path in sorted(self.folder.glob("members/*/member.json"))]

    @property
    def config(self) -> SearchConfig:
        if not self.about.exists():
            raise SystemExit(f"there is no bank {self.name!r} below {self.root}; make it first: bank.py train FILE")
        return parse_config(read_json(self.about)["config"], str(self.about))


def configuration(file: Path, teachers: Mapping[str, str]) -> SearchConfig:
    """The search file, its teacher replaced by the trained one that was named for it."""
    data = read_yaml(file)
    if place := teachers.get(str(data.get("name"))):
        size = (data.get("teacher") or {}).get("size")
        data["teacher"] = {"path": place, **({} if size is None else {"size": size})}
    return parse_config(data, str(file))


def untimed(config: SearchConfig, workspace: Workspace, say: Say) -> Workbench:
    """A workbench for training: as the product prepares it, but nothing is measured, so no device figure is in it."""
    workspace.make()
    task = workbench.prepare_task(config, workspace)
    space, given = workbench.prepare_space(config, task)
    teacher = workbench.prepare_teacher(config, workspace, task, say)
    path = workspace.folder / "untimed" / "teacher.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    targets = teacher_targets(teacher, task, workspace.cache, progress=say)
    labels = task.labels("validation")
    return Workbench(
        config=config,
        workspace=workspace,
        task=task,
        teacher=teacher,
        targets=targets,
        target=workbench.prepare_target(config),
        space=space,
        input=given,
        families=workbench.prepare_families(space, teacher.module.model.config),
        reference=export(teacher.module, Inputs.of(task, teacher.view), path),
        teacher_latency_ms=math.nan,
        teacher_metrics=task.score(labels, targets.logits("validation")),
        teacher_intervals={},
        teacher_measurement={},
        chance=task.score(labels, majority(labels, len(task.classes))),
    )


def train(bank: Bank, config: SearchConfig, most: int, say: Say) -> Iterator[int]:
    """Train what is missing, a student at a time; yields the number of each that was trained."""
    bench = untimed(config, Workspace(bank.root, config.name), say)
    wanted = members(bench.space, config.seed)
    _same_bank(bank, bench, len(wanted))
    if not (bank.member(-1) / "member.json").exists():
        _finish(bank, -1, teacher_files(bank, bench))
    for member in wanted[:most]:
        if not (bank.member(member.number) / "member.json").exists():
            found = trained(bank, member, bench)
            _finish(bank, member.number, found)
            say(_line(bank.name, found, len(wanted)))
            yield member.number


def trained(bank: Bank, member: Member, bench: Workbench) -> dict[str, Any]:
    """Everything that is kept of one student; what is refused or fails is kept as that."""
    clock, curve = Phases(), Curve()
    student = build(member.candidate, bench)
    found = {"number": member.number, "recipe": member.recipe, "seed": member.seed, "values": member.flat}
    try:
        with clock("distill"):
            student, _ = distill(student, bench.task, bench.targets, **_learning(member.candidate, bench, curve))
        save_student(bank.member(member.number), student)
        files = list(_variants(bank, member, student, bench))
        end, reason = "complete", None
    except (Refused, Failed, TargetError) as error:
        files, end, reason = [], "failed", str(error)
    told = {"end": end, "reason": reason, "curve": curve.rows, "variants": files}
    return {**found, **told, "seconds": clock.seconds(), "cpu_seconds": clock.cpu_seconds()}


def teacher_files(bank: Bank, bench: Workbench) -> dict[str, Any]:
    """The teacher's own files, one for each scheme of the space's identity."""
    files = []
    for flat in bench.space.identity_candidates():
        candidate = Candidate.of(flat, 0)
        files.append(_variant(bank, candidate, bench.reference, {"teacher": bench.teacher.sha256}, bench, {}))
    return {"number": -1, "recipe": None, "seed": 0, "values": {"student": IDENTITY}, "end": "complete",
            "reason": None, "curve": [], "variants": files, "seconds": {}, "cpu_seconds": {}}  # fmt: skip


class Curve:
    """Collects the rows of `distill` or `recover`, with the processor time since `begin`."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self._begin = math.nan

    def begin(self) -> Curve:
        self._begin = cpu_seconds() or math.nan
        return self

    def __call__(self, row: Mapping[str, float]) -> None:
        self.rows.append({**row, "cpu_seconds": round((cpu_seconds() or math.nan) - self._begin, 3)})


def _variants(bank: Bank, member: Member, student: TorchArtifact, bench: Workbench) -> Iterator[dict[str, Any]]:
    """The files that one training serves; a ratio's student is pruned and recovered once for all its schemes."""
    by_ratio: dict[Scalar, list[Candidate]] = {}
    for flat in variants(member.flat, bench.space):
        by_ratio.setdefault(flat.get("prune.ratio", 0.0), []).append(Candidate.of(flat, member.seed))
    for ratio, candidates in by_ratio.items():
        clock, curve = Phases(), Curve()
        folder = bank.member(member.number)
        try:
            smaller = _smaller(student, candidates[0], bench, clock, curve) if ratio else student
            with clock("export"):
                plain = export_student(smaller, bench, folder)
        except (Refused, Failed) as error:
            yield from (_plain(candidate) | _ended("refused", error) for candidate in candidates)
            continue
        common = {"recovery": curve.rows, "seconds": clock.seconds(), "cpu_seconds": clock.cpu_seconds()}
        for candidate in candidates:
            yield _variant(bank, candidate, plain, smaller.shape, bench, common)
        plain.path.unlink()


def _smaller(
    student: TorchArtifact, candidate: Candidate, bench: Workbench, clock: Phases, curve: Curve
) -> TorchArtifact:
    with clock("prune"):
        smaller = pruned(student, candidate, bench)
    with clock("recover"):
        epochs = int(candidate.section("prune")["recovery_epochs"])
        learning = _learning(candidate, bench, curve)
        return recover(smaller, bench.task, bench.targets, epochs=epochs, **learning)[0]


def _learning(candidate: Candidate, bench: Workbench, curve: Curve) -> dict[str, Any]:
    return {
        "settings": candidate.section("distill"),
        "seed": candidate.seed,
        "teacher": bench.inner_teacher,
        "rows": bench.rows,
        "on_epoch": curve.begin(),
    }


def _variant(
    bank: Bank,
    candidate: Candidate,
    plain: OnnxArtifact,
    shape: Mapping[str, Any],
    bench: Workbench,
    common: Mapping[str, Any],
) -> dict[str, Any]:
    """Quantized and scored; the file is kept where it is the first of its shape and scheme."""
    clock, found = Phases(), _plain(candidate)
    out = bank.folder / "files" / ".new.onnx"
    settings = candidate.section("quantize")
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        with clock("quantize"):
            scheme, per_channel = str(settings["scheme"]), bool(settings.get("per_channel", False))
            shipped = quantize(plain, out, scheme, per_channel=per_channel, calibration=bench.calibration(plain))
        with clock("score"):
            logits = bench.target.predict(shipped.path, bench.feeds("validation", shipped))
    except (Refused, Failed, TargetError) as error:
        return {**found, **_ended("refused", error)}
    found |= {"end": "complete", "reason": None, "shape": shape_key(shape, settings), **common}
    found["quality"] = bench.task.score(bench.task.labels("validation"), logits)
    found["answers_sha256"] = hashlib.sha256(logits.argmax(1).astype(np.int32).tobytes()).hexdigest()
    for kind in ("seconds", "cpu_seconds"):
        found[kind] = {**common.get(kind, {}), **getattr(clock, kind)()}
    found |= {name: getattr(shipped, name) for name in ("size_bytes", "macs", "parameters")}
    _keep(bank, found["shape"], shipped)
    return found


def _keep(bank: Bank, shape: str, shipped: OnnxArtifact) -> None:
    path = bank.file(shape)
    if path.exists() and path.with_suffix(".json").exists():
        shipped.path.unlink()
        return
    shipped.path.replace(path)
    write_json(path.with_suffix(".json"), replace(shipped, path=path).to_json())


def shape_key(shape: Mapping[str, Any], quantization: Mapping[str, Scalar]) -> str:
    """16 hex digits that change with all of a file that its times depend on; weights do not."""
    timed = {name: value for name, value in shape.items() if name not in NEVER}
    return hashlib.sha256(json.dumps([timed, quantization], sort_keys=True).encode()).hexdigest()[:16]


def measure(bank: Bank, tier: str, say: Say) -> None:
    """Figures of every kept file that has none yet in this tier. What is unreliable is said and measured next time."""
    config = bank.config
    workspace = Workspace(bank.root, config.name)
    with workspace.lock():
        bench = workbench.prepare(config, workspace, say, say)
        paths = sorted((bank.folder / "files").glob("[!.]*.onnx"))
        missing = [path for path in paths if not bank.figures(path.stem, tier).exists()]
        say(f"{len(paths)} files, {len(missing)} to measure in tier {tier}")
        for place, path in enumerate(missing, 1):
            artifact = OnnxArtifact.from_json(read_json(path.with_suffix(".json")), path)
            begin = time.monotonic()
            try:
                found = device_figures(artifact, bench, tier)  # type: ignore[arg-type]
            except TargetError as error:
                say(f"{path.stem}: {error}")
                continue
            if not found.latency.unreliable:
                took_s = round(time.monotonic() - begin, 2)
                write_json(bank.figures(path.stem, tier), {"took_s": took_s, "measurement": found.to_json()})
            doubt = ", unreliable: not kept" if found.latency.unreliable else ""
            say(f"{place}/{len(missing)} {path.stem}: {1 / found.latency.ratio:.2f}x{doubt}")


def table(bank: Bank, tier: str) -> tuple[Path, int]:
    """Write `table.yaml` and `table.csv` for the target `recorded`: a row for each candidate that has figures.

    Latencies are the interleaved ratio times the teacher's frozen median, so that the ratio of two rows is the one that
    was measured, whatever the machine did between two sessions; energies likewise.
    """
    frozen = read_json(Workspace(bank.root, bank.config.name).folder / "teacher" / "figures.json")
    teacher = Measurement.from_json(frozen["measurement"])
    rows = [_row(TEACHER, teacher, teacher, own=True)]
    for member in bank.read_members():
        for variant in member["variants"]:
            stored = bank.figures(str(variant.get("shape")), tier)
            if variant["end"] == "complete" and stored.exists():
                found = Measurement.from_json(read_json(stored)["measurement"])
                rows.append(_row(variant["key"], found, teacher))
    path = bank.folder / "table.yaml"
    with path.with_suffix(".csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    path.write_text(yaml.safe_dump(_described(bank, tier, teacher), sort_keys=False), encoding="utf-8")
    return path, len(rows) - 1


def _row(key: str, found: Measurement, teacher: Measurement, own: bool = False) -> dict[str, Any]:
    latency, base = found.latency, teacher.latency.median_ms
    ratios = (1.0, 1.0, 1.0) if own else (latency.ratio, latency.ratio_low, latency.ratio_high)
    drift = 1.0 if own else base / latency.reference_median_ms
    row = dict(zip(("latency_ms", "latency_low", "latency_high"), (base * ratio for ratio in ratios), strict=True))
    known = None if isinstance(found.energy, Unmeasured) else found.energy
    energies = ("", "", "") if known is None else tuple(drift * x for x in (known.mj, known.mj_low, known.mj_high))
    row |= dict(zip(("energy_mj", "energy_low", "energy_high"), energies, strict=True))
    row["peak_memory_mb"] = "" if isinstance(found.peak_memory_mb, Unmeasured) else found.peak_memory_mb
    return {"key": key, **row}


def _described(bank: Bank, tier: str, teacher: Measurement) -> dict[str, Any]:
    energy = teacher.energy
    told = {} if isinstance(energy, Unmeasured) else {"energy": {"kind": energy.kind, "boundary": energy.boundary}}
    return {
        "source": f"benchmarks/bank.py of {bank.name}, tier {tier}; one file of each shape and scheme was measured",
        "device": teacher.conditions.cpu_model,
        "runtime": teacher.conditions.runtime,
        "runtime_version": teacher.conditions.runtime_version,
        "threads": teacher.conditions.threads,
        "latency_statistic": "median",
        **told,
        "rows": "table.csv",
    }


def _plain(candidate: Candidate) -> dict[str, Any]:
    compressed = {name: value for name, value in candidate.flat().items() if name not in student_of(candidate.flat())}
    return {"key": candidate.key, "values": compressed}


def _ended(end: str, error: Exception) -> dict[str, Any]:
    return {"end": end, "reason": str(error)}


def _finish(bank: Bank, number: int, found: Mapping[str, Any]) -> None:
    """The moment from which a student counts."""
    write_json(bank.member(number) / "member.json", found)


def _same_bank(bank: Bank, bench: Workbench, count: int) -> None:
    """A bank is of one configuration and one teacher."""
    about = {
        "config": bench.config.resolved(),
        "teacher": bench.teacher.sha256,
        "task": bench.task.fingerprint,
        "members": count,
        "input": {"kind": bench.input.kind, **asdict(bench.input)},
        "rows": bench.task.rows("validation"),
        "metric": bench.task.metric,
        "quality": dict(bench.teacher_metrics),
        "chance": dict(bench.chance),
        "threads": torch.get_num_threads(),
    }
    if bank.about.exists():
        before = read_json(bank.about)
        changed = [name for name in ("teacher", "task", "members", "threads") if before[name] != about[name]]
        now = about["config"]
        changed += ["space"] if before["config"]["space"] != now["space"] else []
        changed += ["trials.rows"] if before["config"]["trials"]["rows"] != now["trials"]["rows"] else []
        if changed:
            raise SystemExit(f"bank {bank.name} was begun with another {', '.join(changed)}; give another --root")
    write_json(bank.about, about)


def majority(labels: np.ndarray, classes: int) -> np.ndarray:
    """float32 [N, K] answers that name the commonest class every time."""
    answers = np.zeros((len(labels), classes), dtype=np.float32)
    answers[:, np.bincount(labels, minlength=classes).argmax()] = 1
    return answers


def _line(name: str, found: Mapping[str, Any], count: int) -> str:
    scores = [f"{next(iter(v['quality'].values())):.4f}" if v["end"] == "complete" else "-" for v in found["variants"]]
    spent = found["seconds"].get("distill", 0.0)
    return f"{name} {found['number']}/{count} {found['end']}: {len(found['curve'])} epochs, {spent:.0f} s, {scores}"


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


if __name__ == "__main__":
    main()
