"""What an earlier search leaves to a new one: its files measured again here, or its best candidates to try first.

Where both searches have the same rows and the same teacher, a file is worth on the new target what it is measured to be
there, and nothing is trained. Where they have not, only what its front looked like is of use.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifact import OnnxArtifact, sha256_of
from pipeline.config import SearchConfig
from pipeline.errors import ConfigError
from pipeline.findings import config_of
from pipeline.judging import judge
from pipeline.pareto import front
from pipeline.phases import Phases
from pipeline.record import TrialRecord, read_json, read_records
from pipeline.student_files import SHAPE, WEIGHTS
from pipeline.trial import recorded
from pipeline.workspace import Workspace, existing
from search_spaces import IDENTITY, SearchSpace
from search_spaces.candidate import Scalar

if TYPE_CHECKING:
    from pipeline.workbench import Workbench

FILES = ("model.onnx", SHAPE, WEIGHTS)


Taken = tuple[TrialRecord, Mapping[str, Scalar]]  # a trial of another search, and its candidate as parameters here


@dataclass(frozen=True)
class Loan:
    """What a search takes over: files that are measured here; or, where there is a `why` not, candidates to try."""

    name: str  # of the lending search
    records: tuple[Taken, ...]
    why: str | None

    def sentence(self, count: int) -> str:
        """What becomes of so many of them."""
        if self.why is None:
            return f"{count} models of search {self.name} are measured here; none is trained again"
        return f"{count} candidates of search {self.name} are tried first; its models cannot be used: {self.why}"


@dataclass(frozen=True)
class Lender:
    """An earlier search: its configuration and the students that it trained, by number."""

    workspace: Workspace
    config: SearchConfig
    records: tuple[TrialRecord, ...]

    @property
    def best(self) -> list[TrialRecord]:
        """Its front, the teacher's own files apart."""
        return front(self.records, self.config.objectives)


def lender(root: Path, name: str, config: SearchConfig) -> Lender:
    """The search `name` below `root`. Errors: ConfigError where there is none, or none that could lend."""
    if name == config.name:
        raise ConfigError(f"search {name!r} cannot begin with its own trials; it goes on with them by itself")
    workspace = existing(root, name)
    theirs = config_of(workspace)
    if theirs.task.input_kind != config.task.input_kind:
        raise ConfigError(
            f"search {name!r} is of {theirs.task.input_kind}s and this one of {config.task.input_kind}s, so nothing of "
            "it can be used; name another search in `warm_start`, or leave it out"
        )
    students = [
        record
        for record in read_records(workspace.folder)
        if record.end == "complete" and record.same_as is None and record.candidate.student != IDENTITY
    ]
    if not students:
        raise ConfigError(f"search {name!r} has no complete student to begin with; leave `warm_start` out")
    return Lender(workspace, theirs, tuple(students))


def loan(lends: Lender, bench: Workbench, space: SearchSpace) -> Loan:
    """What `lends` has for a search with this sampler's space."""
    why = differs(lends, bench)
    there = files(lends) if why is None else {}
    useful = lends.best if why else [record for record in lends.records if record.number in there]
    return Loan(lends.workspace.name, tuple(fitting(useful, space)), why)


def differs(lends: Lender, bench: Workbench) -> str | None:
    """Why the lender's files cannot be judged here; None where they can."""
    stored = lends.workspace.folder / "teacher" / "figures.json"
    frozen = read_json(stored) if stored.exists() else {}
    if frozen.get("teacher") != bench.teacher.sha256:
        return "its teacher is another one"
    # Its students would be judged here by what they have learned from. What lies where its rows lay says nothing: they
    # may have been replaced since.
    if frozen.get("task") != bench.task.fingerprint:
        return "its rows, or how they are split, are others"
    return None


def files(lends: Lender) -> dict[int, Path]:
    """Folders of the trials whose model file is there, and is the one that was scored."""
    found = {}
    for record in lends.records:
        folder = lends.workspace.trial(record.number)
        path = folder / "model.onnx"
        if path.exists() and sha256_of(path) == (record.artifact or {}).get("sha256"):
            found[record.number] = folder
    return found


def borrowed(number: int, theirs: TrialRecord, bench: Workbench, step: Callable[[str], None]) -> TrialRecord:
    """Their file as trial `number` of this search: copied, measured and scored here, not trained."""

    def travel(folder: Path, clock: Phases, found: dict[str, Any]) -> None:
        source = Workspace(bench.workspace.root, str(bench.config.warm_start)).trial(theirs.number)
        for name in FILES:
            if (source / name).exists():
                shutil.copyfile(source / name, folder / name)
        shipped = OnnxArtifact.from_json(theirs.artifact or {}, folder / "model.onnx")
        found["artifact"] = shipped.to_json()
        search = bench.config.warm_start
        found["notes"] = (f"trained by trial {theirs.number} of search {search}, measured again here",)
        judge(shipped, bench, folder, clock, step, found)

    lent_by = f"{bench.config.warm_start}#{theirs.number}"
    made = recorded(number, theirs.candidate, bench, travel, lent_by=lent_by)
    return made.with_(test_seen=made.test_seen or theirs.test_seen)  # of the same rows


def fitting(records: Sequence[TrialRecord], space: SearchSpace) -> list[Taken]:
    """Those whose candidate lies in `space`, one per candidate: of equal ones the final, which was trained in full."""
    found: dict[str, Taken] = {}
    for record in sorted(records, key=lambda record: record.final_of is None):
        params = space.params_of(record.candidate.flat())
        if not isinstance(params, str):
            found.setdefault(record.candidate.key, (record, params))
    return sorted(found.values(), key=lambda taken: taken[0].number)
