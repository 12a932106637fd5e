"""What is available here, and for everything that is not, a sentence why: the parts of `niwaki doctor`."""

from __future__ import annotations

import importlib
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import hardware_targets
import search_spaces
from pipeline import tasks
from pipeline.config_file import load_config
from pipeline.errors import NiwakiError
from pipeline.workspace import Workspace

PACKAGES = ("torch", "transformers", "datasets", "optuna", "torch-pruning", "onnx", "onnxruntime", "mlflow")


def checkup(file: Path | None, root: Path) -> list[dict[str, Any]]:
    """One row per part: role, name, available, reason. With `file`, its data and teacher are opened too.

    Where `niwaki search FILE --dry-run` would end with an error, the row that says why has its `exit_code`.
    """
    rows = list(hardware_targets.doctor())
    rows += [_row("task", name) for name in tasks.available()]
    rows += [_row("student", name) for name in search_spaces.families()]
    rows += [_package(name) for name in PACKAGES]
    rows.append(_disk(root))
    if file is not None:
        rows += _configured(file, root)
    return rows


def _row(role: str, name: str, reason: str | None = None, note: str | None = None) -> dict[str, Any]:
    return {"role": role, "name": name, "available": reason is None, "reason": reason or note}


def _package(name: str) -> dict[str, Any]:
    try:
        importlib.import_module(name.replace("-", "_"))
        return _row("package", name, note=version(name))
    except Exception as error:  # a broken installation raises whatever it likes; the doctor's work is to say so
        return _row("package", name, f"it does not import: {error}; install niwaki again with its constraints file")


def _disk(root: Path) -> dict[str, Any]:
    place = root.absolute()
    while not place.exists():
        place = place.parent
    return _row("disk", str(root), note=f"{shutil.disk_usage(place).free / 1e9:.1f} GB free")


def _configured(file: Path, root: Path) -> list[dict[str, Any]]:
    """Data and teacher of a configuration; each stage needs the one before it."""
    from pipeline import workbench
    from pipeline.planning import fits_what_is_there, try_teacher

    rows = []
    step = "configuration"
    try:
        config = load_config(file)
        rows.append(_row(step, str(file)))
        workspace = Workspace(root, config.name)
        fits_what_is_there(config, root)
        step = "energy"
        workbench.prepare_target(config)
        step = "data"
        task = workbench.prepare_task(config, workspace)
        rows.append(
            _row(step, config.task.kind, note=f"{task.rows('train')} training rows, {len(task.classes)} classes")
        )
        step = "space"
        space, _ = workbench.prepare_space(config, task)
        rows.append(_row(step, str(config.space)[:60]))
        step = "teacher"
        rows.append(_teacher(config, workspace, task))
        try_teacher(config, task, space)
    except NiwakiError as error:
        rows.append({**_row(step, str(file), str(error)), "exit_code": error.exit_code})
    return rows


def _teacher(config: Any, workspace: Workspace, task: Any) -> dict[str, Any]:
    from pipeline import workbench

    if config.teacher.train is not None:
        folder, _ = workbench.trained_folder(config, workspace, task)
        if not folder.exists():
            return _row(
                "teacher",
                str(folder),
                note=f"not trained yet; the search trains it, or: niwaki teacher for {config.name}",
            )
    teacher = workbench.prepare_teacher(config, workspace, task)
    view = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in teacher.view.items())
    return _row("teacher", str(teacher.place), note=view)
