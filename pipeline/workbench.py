"""Everything that trials share, prepared once: task, teacher, its cached outputs, target, reference file, space."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import hardware_targets
import search_spaces
from hardware_targets import HardwareTarget, Measurement
from pipeline import tasks
from pipeline.artifact import OnnxArtifact, View, sha256_of
from pipeline.config import SearchConfig
from pipeline.errors import ConfigError, Failed, Unavailable
from pipeline.figures import device_metrics
from pipeline.importance import stored_importance
from pipeline.measuring import check_target
from pipeline.memory import keep_few_kernels
from pipeline.metrics import PERCENTILES
from pipeline.modelled import EnergyModel, energy_model, no_model, told
from pipeline.quality import better_than_chance, quality_with_intervals
from pipeline.record import read_json, write_json
from pipeline.stages._own_bert import own
from pipeline.stages.export import Inputs, export
from pipeline.stages.inherit import unsupported
from pipeline.tasks._pretrained import check_teachers
from pipeline.teacher import REPORT, Teacher, kind_of, load_teacher, teacher_folder
from pipeline.teacher_cache import TeacherTargets, teacher_targets
from pipeline.teacher_files import class_order
from pipeline.teacher_hub import load_config
from pipeline.teacher_training import train_teacher
from pipeline.workspace import Workspace
from search_spaces import SearchSpace, TaskInput

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
    input: TaskInput
    families: Mapping[str, Any]
    reference: OnnxArtifact  # the teacher's own file: every ratio is against it
    teacher_latency_ms: float  # frozen at the study's start
    teacher_metrics: Mapping[str, float]
    teacher_intervals: Mapping[str, tuple[float, float]]
    teacher_measurement: Mapping[str, Any]
    chance: Mapping[str, float]  # quality of always answering the commonest class
    teacher_spent: Mapping[str, Any] = field(default_factory=dict)  # {trained, here, cpu_seconds, host} of its training
    energy: EnergyModel = no_model  # where no counter tells it
    in_full: bool = False  # finalists learn from every row
    notes: tuple[str, ...] = ()  # what the user should know of data and teacher, a sentence each
    _inner: dict[str, Any] = field(default_factory=dict)
    _preprocessing: dict[str, float] = field(default_factory=dict)

    def feeds(self, split: str, artifact: OnnxArtifact, limit: int | None = None) -> Path:
        return self.task.feeds(split, artifact.view, limit)

    def timing_feeds(self, artifact: OnnxArtifact) -> Path:
        """The frozen list of inputs that everything is timed on."""
        return self.feeds("validation", artifact, min(TIMED_INPUTS, self.task.rows("validation")))

    def calibration(self, artifact: OnnxArtifact) -> Any:
        """Training inputs for static quantization, as the artifact reads them."""
        rows = min(CALIBRATION_INPUTS, self.task.rows("train"))
        return hardware_targets.load_feeds(self.feeds("train", artifact, rows))

    def preprocessing_ms(self, artifact: OnnxArtifact) -> float:
        """Median time to turn one stored row into the model's input, on this machine; measured once per view."""
        key = json.dumps(dict(artifact.view), sort_keys=True)
        if key not in self._preprocessing:
            self._preprocessing[key] = preprocessing_ms(self.task, artifact.view)
        return self._preprocessing[key]

    def example(self, shape: Mapping[str, Any]) -> Any:
        """What `forward` of a student of this shape takes: one row of validation."""
        return next(iter(self.task.batches("validation", self.task.view(shape)).in_order(1))).inputs

    @property
    def rows(self) -> float:
        """Share of the training rows that a student learns from."""
        return 1.0 if self.in_full else self.config.trials.rows

    def inner_teacher(self) -> Any:
        """The teacher in its students' module, for terms that look inside it. Errors: ConfigError if it is no BERT."""
        if "teacher" not in self._inner:
            module = self.teacher.module
            self._inner["teacher"] = own(module.model, module.order.tolist() if module.reordered else None)
        return self._inner["teacher"]

    def importance(self) -> Any:
        """What matters in the teacher's weights, measured when it is first asked for; see pipeline.stages.inherit."""
        return stored_importance(self.teacher, self.task, self.workspace.cache)


def prepare_task(config: SearchConfig, workspace: Workspace) -> tasks.Task:
    """The task with its rows checked, and its tokenizer against the teacher's. Errors: ConfigError, Unavailable."""
    task, teacher = tasks.load(config.task, workspace.cache), config.teacher.place
    if config.task.input_kind == "text" and teacher not in (None, config.task.tokenizer):
        check_teachers(str(config.task.tokenizer), str(teacher))
    return task


def prepare_teacher(
    config: SearchConfig, workspace: Workspace, task: tasks.Task, step: Step = lambda _: None
) -> Teacher:
    """Load the teacher, or train it where none is stored yet."""
    wanted = config.teacher
    if wanted.path is not None:
        return load_teacher(wanted.path, task, size=wanted.size, trust_remote_code=wanted.trust_remote_code)
    assert wanted.train is not None
    folder, view = trained_folder(config, workspace, task)
    if not (folder / REPORT).exists():
        try:
            train_teacher(wanted.train, task, folder, view=view, progress=step)
        except Failed as error:
            raise ConfigError(f"the teacher cannot be trained so: {error}; see `teacher.train`") from error
    return load_teacher(str(folder), task, size=view.get("input_size"))


def teacher_spent(config: SearchConfig, workspace: Workspace, task: tasks.Task) -> dict[str, Any]:
    """What the teacher's training took: {trained, cpu_seconds, host}; the figures are None where it was not kept."""
    if config.teacher.train is None:
        return {"trained": False}
    stored = trained_folder(config, workspace, task)[0] / REPORT
    told = read_json(stored) if stored.exists() else {}
    return {"trained": bool(told), "cpu_seconds": told.get("cpu_seconds"), "host": told.get("host")}


def trained_folder(config: SearchConfig, workspace: Workspace, task: tasks.Task) -> tuple[Path, View]:
    """Where the teacher that this configuration trains is kept, and how it reads a row."""
    assert config.teacher.train is not None
    view = kind_of(task).view_for_training(task, config.teacher.size)
    return teacher_folder(workspace.root, config.name, config.teacher.train, task.fingerprint, view), view


def prepare_target(config: SearchConfig) -> HardwareTarget:
    """The device that measures, and the certainty that energy can be had as the user asked for it."""
    try:
        target = hardware_targets.load(
            config.target.name, threads=config.target.threads, seconds=config.target.seconds, **config.target.options
        )
    except hardware_targets.TargetError as error:
        raise ConfigError(str(error)) from None
    check_target(target, config.target.name)
    wanted = "energy_mj" in (*config.objectives, *config.budget)
    if wanted and energy_kind(target) == "unmeasured":
        raise Unavailable(
            f"energy is asked for but the meter of {config.target.name!r} cannot be read (niwaki doctor says why). "
            "Choose another in `target.options.meter`, or name `objectives:` without energy_mj"
        )
    if wanted and config.energy == "measured" and not energy_kind(target).startswith("measured"):
        raise Unavailable(
            f"energy is asked for but nothing on {config.target.name!r} measures it (niwaki doctor says why). "
            "Accept a model with `energy: modelled`, or name `objectives:` without energy_mj"
        )
    return target


def energy_kind(target: HardwareTarget) -> str:
    """Of the energy figures that a target will give, as far as it can say beforehand. Errors: Unavailable."""
    say = getattr(target, "energy_kind", None)
    try:
        return str(say()) if say is not None else "unknown"
    except hardware_targets.TargetError as error:  # the device went away meanwhile
        raise Unavailable(str(error)) from None


def prepare_space(config: SearchConfig, task: tasks.Task) -> tuple[SearchSpace, TaskInput]:
    """The user's space for what this task gives. Errors: ConfigError, Unavailable."""
    task.check_extra()  # the space offers to learn from these rows
    given = task.task_input()
    try:
        return search_spaces.load(config.space, input=given, augmentations=task.augmentations), given
    except search_spaces.SpaceError as error:
        raise ConfigError(str(error)) from None


def check_teacher(config: SearchConfig, task: tasks.Task, space: SearchSpace) -> tuple[str, ...]:
    """What its config.json alone tells, before anything is trained: notes. Errors: ConfigError, Unavailable."""
    wanted = config.teacher
    if wanted.place is None:
        return ()
    found = load_config(wanted.place, trust_remote_code=wanted.trust_remote_code)
    prepare_families(space, found)
    return () if wanted.path is None else class_order(found, task.classes, wanted.place)[1]


def prepare_families(space: SearchSpace, teacher: Any) -> dict[str, search_spaces.Family]:
    """The families for the space's kind of input; `teacher` is a configuration of transformers'.

    Errors: ConfigError where one cannot inherit from the teacher.
    """
    families = {name: search_spaces.load_family(name) for name in search_spaces.families(space.input.kind)}
    for name in families.keys() & space.students.keys():
        # what is built afresh takes nothing from the teacher but its sizes
        if not families[name].inherits or space.students[name].axes["init"].values() == ("random",):
            continue
        if reason := unsupported(teacher):
            raise ConfigError(f"student {name!r} cannot inherit from this teacher: {reason}")
    return families


def prepare(
    config: SearchConfig, workspace: Workspace, step: Step = lambda _: None, say: Step = lambda _: None
) -> Workbench:
    """Make or load all that trials share; `say` is told each note once, as soon as it is known.

    Errors: ConfigError, Unavailable, before the first epoch of a trial.
    """
    target = prepare_target(config)
    step("reading the data")
    task = prepare_task(config, workspace)
    keep_few_kernels(task.io())
    space, given = prepare_space(config, task)
    check_teacher(config, task, space)
    tell(task.notes, say)
    step("loading the teacher")
    there = teacher_spent(config, workspace, task)["trained"]
    teacher = prepare_teacher(config, workspace, task, step)
    tell(teacher.notes, say)
    families = prepare_families(space, teacher.module.model.config)
    step("computing the teacher's answers once")
    targets = teacher_targets(teacher, task, workspace.cache, states_gb=config.limits.states_gb, progress=step)
    labels = task.labels("validation")
    if reason := better_than_chance(labels, targets.logits("validation").argmax(1), task.metric):
        raise ConfigError(f"the teacher is of no use as one: {reason}; train it longer, or check `task.labels`")
    step("measuring the teacher")
    reference, frozen = _reference(workspace, task, teacher, target, config)
    measurement = Measurement.from_json(frozen["measurement"])
    chance, _ = quality_with_intervals(labels, _majority(task, labels))
    return Workbench(
        config=config,
        workspace=workspace,
        task=task,
        teacher=teacher,
        targets=targets,
        target=target,
        space=space,
        input=given,
        families=families,
        reference=reference,
        teacher_latency_ms=measurement.latency.median_ms,
        teacher_metrics=frozen["metrics"],
        teacher_intervals={name: (pair[0], pair[1]) for name, pair in frozen["intervals"].items()},
        teacher_measurement=frozen["measurement"],
        chance=chance,
        notes=(*task.notes, *teacher.notes),
        teacher_spent={**teacher_spent(config, workspace, task), "here": not there},
        energy=energy_model(workspace, target),
    )


def has_percentiles(teacher: Mapping[str, float], config: SearchConfig) -> None:
    """Errors: ConfigError where the teacher has too few single calls for a percentile that ranks."""
    if missing := [name for name in config.objectives if name in PERCENTILES and name not in teacher]:
        raise ConfigError(
            f"objectives name {', '.join(missing)}, but within target.seconds ({config.target.seconds:g}) the teacher "
            "makes too few single calls for that, and a student might; raise target.seconds, or rank by latency_p50_ms"
        )


def tell(notes: Sequence[str], say: Step) -> None:
    for note in notes:
        say(f"note: {note}")


def preprocessing_ms(task: tasks.Task, view: View) -> float:
    """Median milliseconds from a row as it is stored to the model's input, on this machine, one row at a time."""
    rows = task.raw("validation", 50)
    spent = []
    for row in [*rows, *rows, *rows]:
        begin = time.perf_counter()
        task.preprocess(row, view)
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
    if stored.exists() and path.exists():
        frozen = dict(read_json(stored))
        if frozen["teacher"] != teacher.sha256 or frozen["sha256"] != sha256_of(path):
            raise ConfigError(
                f"the teacher of search {config.name!r} has changed since its first trial, and every ratio is against "
                "it; give the search another `name:`, or put the old teacher back"
            )
        if frozen.get("task", task.fingerprint) != task.fingerprint:  # searches of before kept none
            raise ConfigError(
                f"the rows of search {config.name!r} have changed since its first trial, so its students may have "
                "learned what they would be judged by; give the search another `name:`, or put the old rows back"
            )
        return OnnxArtifact.from_json(frozen["artifact"], path), frozen
    folder.mkdir(parents=True, exist_ok=True)
    try:
        artifact = export(teacher.module, Inputs.of(task, teacher.view), path)
    except Failed as error:
        raise ConfigError(f"this teacher cannot be used: {error}") from error
    feeds = task.feeds("validation", teacher.view, None)
    timing = task.feeds("validation", teacher.view, min(TIMED_INPUTS, task.rows("validation")))
    measurement = target.measure(path, timing, path, timing, seed=config.seed)
    measurement = told(measurement, energy_model(workspace, target), artifact.precision, artifact.macs)
    logits = target.predict(path, feeds)
    quality, intervals = quality_with_intervals(task.labels("validation"), logits)
    np.save(folder / "predictions.npy", logits.argmax(1).astype(np.int32))
    np.save(folder / "validation_labels.npy", task.labels("validation"))
    own = device_metrics(
        measurement,
        artifact,
        ratio=1.0,  # the yardstick itself; what it measured against itself stays in `measurement`
        teacher_latency_ms=measurement.latency.median_ms,
        preprocessing_ms=preprocessing_ms(task, teacher.view),
    )
    has_percentiles(own, config)  # before they are frozen
    frozen = {
        "teacher": teacher.sha256,
        "task": task.fingerprint,
        "sha256": artifact.sha256,
        "artifact": artifact.to_json(),
        "measurement": measurement.to_json(),
        "metrics": {**quality, **own},
        "intervals": {name: list(pair) for name, pair in intervals.items()},
    }
    write_json(stored, frozen)
    return artifact, frozen
