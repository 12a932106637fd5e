"""The picked folder: a model that works without niwaki, and a card that says what is known of it.

model.onnx  preprocessor.json  labels.json  predict.py  pick.json  statement.json  label.svg  README.md, and what the
kind of input needs besides (texts: tokenizer.json)
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from pipeline.arrays import fresh
from pipeline.artifact import sha256_of
from pipeline.card import card
from pipeline.errors import ConfigError
from pipeline.label import label
from pipeline.record import TrialRecord, read_json, write_json
from pipeline.statement import statement

MARK = "niwaki_pick"  # the key in pick.json by which a folder is known as one of ours, and its version
FILES = (
    "model.onnx", "preprocessor.json", "labels.json", "predict.py", "pick.json", "README.md",
    "statement.json", "label.svg",
)  # fmt: skip


@dataclass(frozen=True)
class Package:
    """Everything that goes into a picked folder. `record`, `teacher` and their intervals are on validation.

    `preprocessing`, `template` and `files` come from the task, for this model's view.
    `selection`: {rows, metrics, intervals} of the same file.
    `test`: {rows, date, metrics, teacher}, the sealed figures of this file and of the teacher by metric.
    `choice`: {ties, fastest_tie, knee, alias}.
    `search`: {name, data, rows, trials, target, threads, hardware, teacher}.
    """

    record: TrialRecord
    model: Path
    preprocessing: Mapping[str, Any]
    classes: Sequence[str]
    quality: str
    teacher: Mapping[str, float]
    teacher_intervals: Mapping[str, Sequence[float]]
    selection: Mapping[str, Any]
    budget: Mapping[str, float]
    choice: Mapping[str, Any]
    search: Mapping[str, Any]
    energy: str  # the sentence of pipeline.energy_words
    reference: Mapping[str, Any] = field(default_factory=dict)  # {sha256, measurement} of the teacher's file, frozen
    footprint: Mapping[str, Any] = field(default_factory=dict)  # of `pipeline.footprint`, this trial's and the search's
    test: Mapping[str, Any] | None = None
    kind: str = "image"  # of input; chooses the card's words
    template: str = "predict.py.txt"  # of predict.py
    files: Mapping[str, bytes] = field(default_factory=dict)  # further files, by name
    licence: str | None = None  # a Hugging Face licence identifier, e.g. apache-2.0
    licence_notes: Sequence[str] = ()
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @property
    def sha256(self) -> str:
        """Of the file that was measured."""
        return str((self.record.artifact or {}).get("sha256"))


def write_package(out: Path, **parts: Any) -> Path:
    """Make the folder `out` whole or not at all, of the `parts` that Package names; an earlier pick is replaced.

    Errors: ConfigError when something else stands there, when `out` cannot be written, or when the model's bytes are
    not those that were measured.
    """
    package = Package(**parts)
    check_out(out)
    check_model(package)
    try:
        with fresh(out.absolute()) as beside:
            beside.mkdir()
            _fill(beside, package)
    except OSError as error:
        raise ConfigError(
            f"{out} cannot be written: {error.strerror or error}; give another folder with --out"
        ) from None
    return out


def check_out(out: Path) -> None:
    """Refuse a place that holds anything but an earlier pick, before any work is done. Errors: ConfigError."""
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise ConfigError(f"{out} is no folder of its own; give a new folder with --out")
    if not out.exists() or not any(out.iterdir()):
        return
    if not is_pick(out):
        raise ConfigError(f"{out} holds files that are no pick of niwaki's; give a new folder with --out")
    known = (*FILES, *read_json(out / "pick.json").get("files", ()), "__pycache__")
    strange = sorted(path.name for path in out.iterdir() if path.name not in known)
    if strange:
        raise ConfigError(
            f"{out} is an earlier pick, but also holds {', '.join(strange[:3])}, which would be lost; "
            "move that away, or give a new folder with --out"
        )


def is_pick(folder: Path) -> bool:
    """Whether this folder was written by `write_package`."""
    try:
        return MARK in read_json(folder / "pick.json")
    except (OSError, ValueError, TypeError):
        return False


def check_model(package: Package) -> None:
    """The file must be the one whose figures the card gives. Errors: ConfigError."""
    number, again = package.record.number, f"niwaki rerun {package.search['name']} {package.record.number}"
    if not package.model.is_file():
        raise ConfigError(f"the model file of trial {number} is gone; make it again: {again}")
    if package.sha256 != sha256_of(package.model):
        raise ConfigError(
            f"the model of trial {number} is not the file that was measured (its SHA-256 differs); "
            f"make it again: {again}"
        )


def pick_json(package: Package) -> dict[str, Any]:
    """What was picked, for what budget, and every figure of it."""
    record = package.record
    return {
        MARK: 1,
        "created": package.created,
        "search": without_paths(package.search),
        "trial": record.number,
        "parameters": record.candidate.flat(),
        "seed": record.candidate.seed,
        "sha256": package.sha256,
        "files": sorted(package.files),
        "budget": dict(package.budget),
        "choice": dict(package.choice),
        "quality": package.quality,
        "metrics": dict(record.metrics),
        "intervals": {name: list(pair) for name, pair in record.intervals.items()},
        "selection": dict(package.selection),
        "test": None if package.test is None else dict(package.test),
        "teacher": {
            "metrics": dict(package.teacher),
            "intervals": {name: list(pair) for name, pair in package.teacher_intervals.items()},
        },
        "energy": {"kind": record.energy_kind, "says": package.energy},
        "measurement": record.measurement,
        "test_seen": record.test_seen,
    }


def without_paths(value: Any) -> Any:
    """The same data with the last part only of every absolute path: the folder may be published, the machine not."""
    if isinstance(value, Mapping):
        return {key: without_paths(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_paths(item) for item in value]
    if isinstance(value, str) and (value.startswith("~") or Path(value).is_absolute()):
        return Path(value).name
    return value


def _fill(folder: Path, package: Package) -> None:
    shutil.copyfile(package.model, folder / "model.onnx")
    write_json(folder / "preprocessor.json", dict(package.preprocessing))
    write_json(folder / "labels.json", list(package.classes))
    predict = files("pipeline").joinpath(f"templates/{package.template}").read_text(encoding="utf-8")
    (folder / "predict.py").write_text(predict, encoding="utf-8")
    for name, data in package.files.items():
        (folder / name).write_bytes(data)
    (folder / "README.md").write_text(card(package), encoding="utf-8")
    write_json(folder / "pick.json", pick_json(package))
    said = without_paths(statement(package))
    write_json(folder / "statement.json", said)
    (folder / "label.svg").write_text(label(said), encoding="utf-8")
