"""How a bank's students are trained: the product's own way, without a device, one after the other and resumable."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from bank_design import Member, members, student_of, variants
from bank_store import Bank, shape_key

from hardware_targets import TargetError
from pipeline import workbench
from pipeline.artifact import OnnxArtifact, TorchArtifact
from pipeline.config import SearchConfig
from pipeline.cpu_time import cpu_seconds
from pipeline.errors import Failed, Refused
from pipeline.making import build, export_student, pruned
from pipeline.memory import give_back, keep_few_kernels
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


@dataclass(frozen=True)
class Part:
    """Which students a process trains: every `of`-th from `place` on; a worker ends with the process it works for."""

    place: int = 0
    of: int = 1
    parent: int | None = None

    def __contains__(self, number: int) -> bool:
        return number % self.of == self.place

    @property
    def orphaned(self) -> bool:
        return self.parent is not None and os.getppid() != self.parent


def untimed(config: SearchConfig, workspace: Workspace, say: Say, part: Part) -> Workbench:
    """A workbench for training: as the product prepares it, but nothing is measured, so no device figure is in it."""
    workspace.make()
    task = workbench.prepare_task(config, workspace)
    keep_few_kernels(task.io())
    space, given = workbench.prepare_space(config, task)
    teacher = workbench.prepare_teacher(config, workspace, task, say)
    path = workspace.folder / "untimed" / f"teacher{part.place}.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    targets = teacher_targets(teacher, task, workspace.cache, states_gb=config.limits.states_gb, progress=say)
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


def train(bank: Bank, config: SearchConfig, most: int, say: Say, part: Part) -> Iterator[int]:
    """Train what is missing of a part, a student at a time; yields the number of each that was trained."""
    bench = untimed(config, Workspace(bank.root, config.name), say, part)
    wanted = members(bench.space, config.seed)
    _same_bank(bank, bench, len(wanted))
    if not (bank.member(-1) / "member.json").exists():
        _finish(bank, -1, teacher_files(bank, bench))
    for member in wanted[:most]:
        if part.orphaned:
            return
        if member.number in part and not (bank.member(member.number) / "member.json").exists():
            found = trained(bank, member, bench)
            _finish(bank, member.number, found)
            give_back()
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
    out = bank.folder / "files" / f".new{os.getpid()}.onnx"
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
