"""What a search would do, checked whole, short of training and of writing anything."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline import workbench
from pipeline.config import SearchConfig
from pipeline.config_file import load_config
from pipeline.preflight import needed_bytes, recipes, same_search
from pipeline.tasks import Task
from pipeline.teacher import kind_of
from pipeline.teacher_training import check_untrained
from pipeline.warm_start import lender
from pipeline.workspace import Workspace
from search_spaces import SearchSpace


def fits_what_is_there(config: SearchConfig, root: Path) -> None:
    """Errors: ConfigError where the search was begun otherwise, or cannot borrow what it asks for."""
    same_search(config, Workspace(root, config.name))
    if config.warm_start:
        lender(root, config.warm_start, config)


def try_teacher(config: SearchConfig, task: Task, space: SearchSpace) -> tuple[str, ...]:
    """Notes on a teacher that is there; one that is made from nothing reads a row untrained. Errors: ConfigError."""
    made = config.teacher.train
    if made is not None and made.from_checkpoint is None:
        check_untrained(made, task, kind_of(task).view_for_training(task, config.teacher.size))
    return workbench.check_teacher(config, task, space)


def plan(file: str | Path, root: Path, changes: Mapping[str, Any] | None) -> dict[str, Any]:
    """Check a configuration whole, short of training and of writing anything; say what a search would do."""
    config = load_config(file, changes)
    fits_what_is_there(config, root)
    workbench.prepare_target(config)
    with tempfile.TemporaryDirectory() as scratch:
        task = workbench.prepare_task(config, Workspace(Path(scratch), config.name))
        space, _ = workbench.prepare_space(config, task)
        of_teacher = try_teacher(config, task, space)
        rows = {split: task.rows(split) for split in ("train", "validation", "selection")}
        classes, notes = list(task.classes), [*task.notes, *of_teacher]
    first = recipes(config)
    left_out = {name: why for name, flat in first.items() if isinstance(why := space.params_of(flat), str)}
    known = len(space.identity_candidates()) + len(first) - len(left_out)
    size = space.size()
    sentences = [
        f"{config.name}: {', '.join(f'{count} {split}' for split, count in rows.items())} rows, {len(classes)} classes",
        *(f"note: {note}" for note in notes),
        f"objectives {', '.join(config.objectives)}; budget {config.budget or 'none'}; sampler {config.sampler.name}",
        f"space: {'not finite' if size is None else f'{size} candidates'}; {known} known ones come first",
        *(f"recipe {name} is left out: {why}" for name, why in left_out.items()),
        f"at most {config.limits.trials} trials"
        + (f" or {config.limits.hours:g} hours" if config.limits.hours else "")
        + f"; up to {needed_bytes(config, sum(rows.values())) / 1e6:.0f} MB under {root}",
        "nothing was trained; leave out --dry-run to begin",
    ]
    return {
        "config": config.resolved(),
        "space": space.describe(),
        "rows": rows,
        "notes": notes,
        "sentences": sentences,
    }
