"""The picked folder: a model that works without niwaki, and a card that says what is known of it.

model.onnx  preprocessor.json  labels.json  predict.py  pick.json  README.md
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from pipeline.arrays import fresh
from pipeline.artifact import sha256_of
from pipeline.card import card
from pipeline.errors import ConfigError
from pipeline.record import TrialRecord, read_json, write_json

MARK = "niwaki_pick"  # the key in pick.json by which a folder is known as one of ours, and its version
FILES = ("model.onnx", "preprocessor.json", "labels.json", "predict.py", "pick.json", "README.md")


@dataclass(frozen=True)
class Package:
    """Everything that goes into a picked folder.

    `preprocessing` is {"size", "channels", "mean", "std", "resample"}; `classes` are label names by index. Figures of
    `record` and `teacher_metrics` are on validation; `selection_metrics` and `test_metrics` are of the same file on
    splits that the search did not see. `dataset` and `config` are shown on the card: keep paths of the machine out.
    """

    record: TrialRecord
    model: Path
    preprocessing: Mapping[str, Any]
    classes: Sequence[str]
    search: str
    quality: str
    dataset: str
    target: str
    teacher_metrics: Mapping[str, float]
    selection_metrics: Mapping[str, float]
    energy: str  # the sentence of pipeline.energy_words
    created: str  # ISO 8601
    teacher_intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    teacher_selection_metrics: Mapping[str, float] = field(default_factory=dict)
    selection_intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    test_metrics: Mapping[str, float] | None = None
    teacher_test_metrics: Mapping[str, float] = field(default_factory=dict)
    budget: Mapping[str, float] = field(default_factory=dict)
    knee: bool = False
    ties: Sequence[int] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    licence: str | None = None  # a Hugging Face licence identifier, e.g. apache-2.0
    licence_notes: Sequence[str] = ()


def write_package(out: Path, package: Package) -> Path:
    """Make the folder `out` whole or not at all; an earlier pick is replaced.

    Errors: ConfigError when something else stands there, when `out` cannot be written, or when the model's bytes are
    not those that were measured.
    """
    check_out(out)
    check_model(package)
    try:
        with fresh(out.absolute()) as beside:
            beside.mkdir(parents=True)
            _fill(beside, package)
    except OSError as error:
        raise ConfigError(
            f"{out} cannot be written: {error.strerror or error}; give another folder with --out"
        ) from None
    return out


def check_out(out: Path) -> None:
    """Refuse a place that holds anything but an earlier pick, before any work is done. Errors: ConfigError."""
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise ConfigError(f"{out} is no folder; give a new folder with --out")
    if not out.exists() or not any(out.iterdir()):
        return
    if not is_pick(out):
        raise ConfigError(f"{out} holds files that are no pick of niwaki's; give a new folder with --out")
    strange = sorted(path.name for path in out.iterdir() if path.name not in (*FILES, "__pycache__"))
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
    number, measured = package.record.number, (package.record.artifact or {}).get("sha256")
    if not package.model.is_file():
        raise ConfigError(
            f"the model of trial {number} is no longer on disk; make it again: niwaki rerun {package.search} {number}"
        )
    if measured != sha256_of(package.model):
        raise ConfigError(
            f"the model of trial {number} is not the file that was measured (its SHA-256 differs); "
            f"make it again: niwaki rerun {package.search} {number}"
        )


def pick_json(package: Package) -> dict[str, Any]:
    """What was picked, for what budget, and every figure of it."""
    record = package.record
    return {
        MARK: 1,
        "search": package.search,
        "trial": record.number,
        "created": package.created,
        "target": package.target,
        "dataset": package.dataset,
        "quality": package.quality,
        "budget": dict(package.budget),
        "knee": package.knee,
        "ties": list(package.ties),
        "sha256": (record.artifact or {}).get("sha256"),
        "parameters": record.candidate.flat(),
        "seed": record.candidate.seed,
        "metrics": {
            "validation": dict(record.metrics),
            "selection": dict(package.selection_metrics),
            "test": None if package.test_metrics is None else dict(package.test_metrics),
        },
        "intervals": {
            "validation": {name: list(pair) for name, pair in record.intervals.items()},
            "selection": {name: list(pair) for name, pair in package.selection_intervals.items()},
        },
        "teacher": {
            "validation": dict(package.teacher_metrics),
            "selection": dict(package.teacher_selection_metrics),
            "test": dict(package.teacher_test_metrics),
        },
        "energy": {"kind": record.energy_kind, "says": package.energy},
        "measurement": record.measurement,
        "config": dict(package.config),
    }


def _fill(folder: Path, package: Package) -> None:
    shutil.copyfile(package.model, folder / "model.onnx")
    write_json(folder / "preprocessor.json", dict(package.preprocessing))
    write_json(folder / "labels.json", list(package.classes))
    predict = files("pipeline").joinpath("templates/predict.py.txt").read_text(encoding="utf-8")
    (folder / "predict.py").write_text(predict, encoding="utf-8")
    (folder / "README.md").write_text(card(package), encoding="utf-8")
    write_json(folder / "pick.json", pick_json(package))
