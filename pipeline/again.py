"""Train and measure one trial's candidate again, beside its first result; neither study nor front see it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace

from pipeline import ancestor
from pipeline.errors import ConfigError
from pipeline.record import TrialRecord, write_json
from pipeline.trial import run_trial
from pipeline.workbench import Workbench
from pipeline.workspace import Workspace
from search_spaces.candidate import Candidate


def rerun(
    record: TrialRecord, bench: Workbench, seed: int | None, say: Callable[[str], None]
) -> tuple[TrialRecord, int]:
    """The new record, and which rerun of this trial it is. A lost model file is put back if the bytes are the same."""
    workspace = bench.workspace
    if record.end == "interrupted":
        raise ConfigError(
            f"trial {record.number} was cut off, so there is no result to repeat; resume the search instead"
        )
    candidate = Candidate(record.candidate.values, record.candidate.seed if seed is None else seed)
    folder = workspace.trial(record.number)
    count = 1 + sum(1 for _ in folder.glob("rerun-*"))
    aside = Workspace(workspace.root, f"{workspace.name}/trials/{record.number:05d}/rerun-{count}")
    start = ancestor.again(record, workspace.folder, say)
    beside = replace(bench, workspace=aside, in_full=record.final_of is not None)
    new = run_trial(record.number, candidate, beside, say, ancestor=start)
    new = new.with_(test_seen=workspace.test_file.exists())
    made = aside.trial(record.number)
    final = folder / f"rerun-{count}"
    for path in made.iterdir():
        path.replace(final / path.name)
    shutil.rmtree(final / "trials", ignore_errors=True)
    write_json(final / "record.json", new.to_json())
    lost = folder / "model.onnx"
    same = (new.artifact or {}).get("sha256") == (record.artifact or {}).get("sha256")
    if not lost.exists() and same and (final / "model.onnx").exists():
        shutil.copyfile(final / "model.onnx", lost)
        say(f"the same bytes came out; {lost} is back")
    return new, count
