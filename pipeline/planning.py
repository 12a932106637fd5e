"""What a search would do, checked whole, short of training and of writing anything."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline import workbench
from pipeline.config_file import load_config
from pipeline.preflight import needed_bytes, recipes, same_search
from pipeline.teacher_training import check_untrained
from pipeline.warm_start import lender
from pipeline.workspace import Workspace


def plan(file: str | Path, root: Path, changes: Mapping[str, Any] | None) -> dict[str, Any]:
    """Check a configuration whole, short of training and of writing anything; say what a search would do."""
    config = load_config(file, changes)
    same_search(config, Workspace(root, config.name))
    if config.warm_start:
        lender(root, config.warm_start, config)
    workbench.prepare_target(config)
    with tempfile.TemporaryDirectory() as scratch:
        task = workbench.prepare_task(config, Workspace(Path(scratch), config.name))
        space, _ = workbench.prepare_space(config, task)
        of_teacher = workbench.check_teacher(config, task, space)
        if config.teacher.train is not None and config.teacher.place is None:
            _, view = workbench.trained_folder(config, Workspace(Path(scratch), config.name), task)
            check_untrained(config.teacher.train, task, view)
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
