"""How a candidate becomes a file: built and inherited, pruned, made to round, exported, quantized."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hardware_targets import this_worker
from pipeline.ancestor import Ancestor
from pipeline.artifact import OnnxArtifact, TorchArtifact
from pipeline.importance import importance_of
from pipeline.stages.distill import gradient_batches
from pipeline.stages.export import Inputs, export
from pipeline.stages.inherit import MEASURED, inherit
from pipeline.stages.int8_aware import fake_quantized, tolerance_of
from pipeline.stages.overlap import overlap
from pipeline.stages.prune import prune
from pipeline.stages.quantize import quantize
from pipeline.student_files import load_student
from search_spaces.candidate import Candidate
from search_spaces.compression import TRAINED_SCHEMES

if TYPE_CHECKING:
    from pipeline.workbench import Workbench


def build(
    candidate: Candidate, bench: Workbench, *, inherited: bool = True, ancestor: Ancestor | None = None
) -> TorchArtifact:
    """The untrained student of a candidate: drawn from the candidate's seed, then inherited where its family does.

    With an `ancestor` it begins with the weights of that student, whatever its family.
    """
    import torch

    family = bench.families[candidate.student]
    architecture = candidate.section(candidate.student)
    shape = family.shape(architecture, bench.input)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(candidate.seed)
        module = family.build(shape)
        if ancestor is not None:
            larger = load_student(ancestor.folder)
            if family.inherits:
                _inherit_from_student(module, shape, str(architecture["init"]), larger, bench)
            else:
                overlap(module, larger.module)
        elif family.inherits and inherited:
            _inherit(module, shape, str(architecture["init"]), bench)
    return TorchArtifact(module, family.name, shape)


def _inherit(module: Any, shape: Mapping[str, Any], how: str, bench: Workbench) -> None:
    teacher = bench.teacher.module
    inherit(
        module,
        shape,
        teacher.model,
        how=how,  # type: ignore[arg-type]
        importance=bench.importance() if how in MEASURED else None,
        kept_pieces=bench.task.kept_pieces(bench.task.view(shape)),
        order=teacher.order.tolist() if teacher.reordered else None,
    )


def _inherit_from_student(
    module: Any, shape: Mapping[str, Any], how: str, larger: TorchArtifact, bench: Workbench
) -> None:
    # layers are counted as the teacher's, of which the larger student has some: the nearest one stands for another
    theirs = larger.shape["taken"]
    taken = [min(range(len(theirs)), key=lambda place: abs(theirs[place] - number)) for number in shape["taken"]]
    inherit(
        module,
        {**shape, "taken": taken},
        larger.module,
        how=how,  # type: ignore[arg-type]
        importance=importance_of(larger, bench.task) if how in MEASURED else None,
        kept_pieces=None,  # it reads the same ones
    )


def pruned(student: TorchArtifact, candidate: Candidate, bench: Workbench, trained: bool = True) -> TorchArtifact:
    settings = candidate.section("prune")
    # Local ratios fix the shape; which channels go decides accuracy only, so an untrained twin needs no gradients.
    criterion = str(settings["criterion"]) if trained else "magnitude"
    gradients = None
    if criterion == "taylor":
        distilling = candidate.section("distill")
        gradients = gradient_batches(bench.task, bench.targets, student, distilling, seed=candidate.seed)
    smaller, _ = prune(
        student,
        bench.families[student.family],
        ratio=float(settings["ratio"]),
        criterion=criterion,  # type: ignore[arg-type]
        round_to=int(settings["round_to"]),
        example=bench.example(student.shape),
        gradient_batches=gradients,
    )
    return smaller


def rounding(student: TorchArtifact, candidate: Candidate, bench: Workbench) -> TorchArtifact:
    """The twin of a student that rounds as its 8-bit file will; the student itself where that is not learned."""
    if candidate.section("quantize")["scheme"] not in TRAINED_SCHEMES:
        return student
    return fake_quantized(student, bench.example(student.shape))


def export_student(student: TorchArtifact, bench: Workbench, folder: Path) -> OnnxArtifact:
    """The student as a 32-bit ONNX file, its outputs compared with torch's."""
    inputs = Inputs.of(bench.task, bench.task.view(student.shape))
    with this_worker().step():
        return export(student.module, inputs, folder / "float32.onnx", tolerance=tolerance_of(student.module))


def quantized(plain: OnnxArtifact, candidate: Candidate, bench: Workbench, out: Path) -> OnnxArtifact:
    """The file that would ship; static schemes are calibrated on training inputs."""
    settings = candidate.section("quantize")
    with this_worker().step():
        made = quantize(
            plain,
            out,
            str(settings["scheme"]),
            per_channel=bool(settings.get("per_channel", False)),
            calibration=bench.calibration(plain),
        )
    if plain.path != bench.reference.path and plain.path != out:
        plain.path.unlink(missing_ok=True)  # the 32-bit file is of no further use: torch weights are kept beside it
    return made
