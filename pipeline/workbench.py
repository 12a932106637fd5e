"""Everything that trials share, prepared once: task, teacher, its cached outputs, target, reference file, space."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import hardware_targets
import search_spaces
from hardware_targets import HardwareTarget, Measurement
from pipeline import tasks
from pipeline.artifact import OnnxArtifact, sha256_of
from pipeline.config import SearchConfig
from pipeline.errors import ConfigError, Unavailable
from pipeline.figures import device_metrics
from pipeline.quality import better_than_chance, quality_with_intervals
from pipeline.record import read_json, write_json
from pipeline.stages.export import export
from pipeline.teacher import Teacher, load_teacher, teacher_folder, train_teacher
from pipeline.teacher_cache import TeacherTargets, teacher_targets
from pipeline.workspace import Workspace
from search_spaces import ImageInput, SearchSpace

Step = Callable[[str], None]

TIMED_INPUTS = 200
CALIBRATION_INPUTS = 200


@dataclass
class Workbench:
    """What `run_trial` works with; nothing here changes from trial to trial."""

    config: SearchConfig
    workspace: Workspace
    task: tasks.Task
    teacher: Teacher
    targets: TeacherTargets
    target: HardwareTarget
    space: SearchSpace
    image_input: ImageInput
    families: Mapping[str, Any]
    reference: OnnxArtifact  # the teacher's own file: every ratio is against it
    teacher_latency_ms: float  # frozen at the study's start
    teacher_metrics: Mapping[str, float]
    teacher_intervals: Mapping[str, tuple[float, float]]
    teacher_measurement: Mapping[str, Any]
    chance: Mapping[str, float]  # quality of always answering the commonest class
    _preprocessing: dict[int, float] = field(default_factory=dict)

    def feeds(self, split: str, artifact: OnnxArtifact, limit: int | None = None) -> Path:
        return self.task.feeds(split, artifact.input_shape[-1], limit)

    def timing_feeds(self, artifact: OnnxArtifact) -> Path:
        """The frozen list of inputs that everything is timed on."""
        return self.feeds("validation", artifact, min(TIMED_INPUTS, self.task.rows("validation")))

    def calibration(self, artifact: OnnxArtifact) -> Any:
        """Training inputs for static quantization, at the artifact's size."""
        rows = min(CALIBRATION_INPUTS, self.task.rows("train"))
        return hardware_targets.load_feeds(self.feeds("train", artifact, rows))

    def preprocessing_ms(self, artifact: OnnxArtifact) -> float:
        """Median time to turn one stored image into the model's input, on this machine; measured once per size."""
        size = artifact.input_shape[-1]
        if size not in self._preprocessing:
            self._preprocessing[size] = preprocessing_ms(self.task, size)
        return self._preprocessing[size]

    def example(self, shape: Mapping[str, Any]) -> Any:
        """One batch-1 input in torch for a student of this shape."""
        import torch

        size = int(shape["input_size"])
        return torch.zeros(1, self.task.channels, size, size)


def prepare_task(config: SearchConfig, workspace: Workspace) -> tasks.Task:
    """The task with its rows checked. Errors: ConfigError, Unavailable."""
    return tasks.load(config.task, workspace.cache)


def prepare_teacher(
    config: SearchConfig, workspace: Workspace, task: tasks.Task, step: Step = lambda _: None
) -> Teacher:
    """Load the teacher, or train it where none is stored yet."""
    wanted = config.teacher
    if wanted.path is not None:
        return load_teacher(wanted.path, task, size=wanted.size, trust_remote_code=wanted.trust_remote_code)
    assert wanted.train is not None
    size = wanted.size or config.task.size
    folder = teacher_folder(workspace.root, config.name, wanted.train, task.fingerprint, size)
    if not (folder / "niwaki_teacher.json").exists():
        train_teacher(wanted.train, task, folder, size=size, progress=step)
    return load_teacher(str(folder), task, size=size)


def prepare_target(config: SearchConfig) -> HardwareTarget:
    """The device that measures, and the certainty that energy can be had as the user asked for it."""
    try:
        target = hardware_targets.load(config.target.name, threads=config.target.threads)
    except hardware_targets.TargetError as error:
        raise ConfigError(str(error)) from None
    if reason := target.unavailable():
        raise Unavailable(f"target {config.target.name!r} cannot be used: {reason}")
    if "energy_mj" in (*config.objectives, *config.budget) and config.energy == "measured":
        raise Unavailable(
            f"energy is asked for but nothing on {config.target.name!r} measures it: no reader for an energy counter "
            "is there yet. Accept a model with `energy: modelled`, or name `objectives:` without energy_mj"
        )
    return target


def prepare_space(config: SearchConfig, task: tasks.Task) -> tuple[SearchSpace, ImageInput]:
    """The user's space for this task's images. Errors: ConfigError."""
    image_input = ImageInput(channels=task.channels, size=task.size, classes=len(task.classes))
    try:
        return search_spaces.load(config.space, input=image_input, augmentations=task.augmentations), image_input
    except search_spaces.SpaceError as error:
        raise ConfigError(str(error)) from None


def prepare(config: SearchConfig, workspace: Workspace, step: Step = lambda _: None) -> Workbench:
    """Make or load all that trials share. Errors: ConfigError, Unavailable, before the first epoch of a trial."""
    target = prepare_target(config)
    step("reading the data")
    task = prepare_task(config, workspace)
    space, image_input = prepare_space(config, task)
    step("loading the teacher")
    teacher = prepare_teacher(config, workspace, task, step)
    step("computing the teacher's answers once")
    targets = teacher_targets(teacher, task, workspace.cache, progress=step)
    labels = task.labels("validation")
    if reason := better_than_chance(labels, targets.logits("validation").argmax(1), task.metric):
        raise ConfigError(f"the teacher is of no use as one: {reason}; train it longer, or check `task.labels`")
    step("measuring the teacher")
    reference, frozen = _reference(workspace, task, teacher, target, config)
    measurement = Measurement.from_json(frozen["measurement"])
    chance, _ = quality_with_intervals(labels, _majority(task, labels))
    families = {name: search_spaces.load_family(name) for name in search_spaces.families()}
    return Workbench(
        config=config,
        workspace=workspace,
        task=task,
        teacher=teacher,
        targets=targets,
        target=target,
        space=space,
        image_input=image_input,
        families=families,
        reference=reference,
        teacher_latency_ms=measurement.latency.median_ms,
        teacher_metrics=frozen["metrics"],
        teacher_intervals={name: (pair[0], pair[1]) for name, pair in frozen["intervals"].items()},
        teacher_measurement=frozen["measurement"],
        chance=chance,
    )


def preprocessing_ms(task: tasks.Task, size: int) -> float:
    """Median milliseconds from a stored image to the model's input at `size`, on this machine, one image at a time."""
    images = task.raw_images("validation", 50)
    spent = []
    for image in [*images, *images, *images]:
        begin = time.perf_counter()
        task.preprocess(image, size)
        spent.append((time.perf_counter() - begin) * 1000)
    return statistics.median(spent)


def _majority(task: tasks.Task, labels: np.ndarray) -> np.ndarray:
    answers = np.zeros((len(labels), len(task.classes)), dtype=np.float32)
    answers[:, np.bincount(labels, minlength=len(task.classes)).argmax()] = 1
    return answers


def _reference(
    workspace: Workspace, task: tasks.Task, teacher: Teacher, target: HardwareTarget, config: SearchConfig
) -> tuple[OnnxArtifact, Mapping[str, Any]]:
    """The teacher's ONNX file with its figures, made and measured once, then frozen for the whole study."""
    folder = workspace.folder / "teacher"
    path, stored = folder / "model.onnx", folder / "figures.json"
    shape = (1, task.channels, teacher.size, teacher.size)
    if stored.exists() and path.exists():
        frozen = dict(read_json(stored))
        if frozen["teacher"] == teacher.sha256 and frozen["sha256"] == sha256_of(path):
            return OnnxArtifact(path=path, **_artifact_fields(frozen["artifact"])), frozen
        raise ConfigError(
            f"the teacher of search {config.name!r} has changed since its first trial, and every ratio is against it; "
            "give the search another `name:`, or put the old teacher back"
        )
    folder.mkdir(parents=True, exist_ok=True)
    artifact = export(teacher.module, shape, path)
    feeds = task.feeds("validation", teacher.size, None)
    timing = task.feeds("validation", teacher.size, min(TIMED_INPUTS, task.rows("validation")))
    measurement = target.measure(path, timing, path, timing, seed=config.seed)
    logits = target.predict(path, feeds)
    quality, intervals = quality_with_intervals(task.labels("validation"), logits)
    np.save(folder / "predictions.npy", logits.argmax(1).astype(np.int32))
    np.save(folder / "validation_labels.npy", task.labels("validation"))
    own = device_metrics(
        measurement,
        artifact,
        ratio=1.0,  # the yardstick itself; what it measured against itself stays in `measurement`
        teacher_latency_ms=measurement.latency.median_ms,
        preprocessing_ms=preprocessing_ms(task, teacher.size),
    )
    frozen = {
        "teacher": teacher.sha256,
        "sha256": artifact.sha256,
        "artifact": artifact.to_json(),
        "measurement": measurement.to_json(),
        "metrics": {**quality, **own},
        "intervals": {name: list(pair) for name, pair in intervals.items()},
    }
    write_json(stored, frozen)
    return artifact, frozen


def _artifact_fields(data: Mapping[str, Any]) -> dict[str, Any]:
    fields = {name: value for name, value in data.items() if name != "path"}
    return {**fields, "input_shape": tuple(fields["input_shape"])}
