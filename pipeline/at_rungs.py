"""A student on its way through the rungs: its state is kept at each, it is judged there, and it may have to stop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pipeline import rungs
from pipeline.budget import unknown_quality
from pipeline.checkpoints import Checkpoints
from pipeline.errors import Stopped
from pipeline.record import TrialRecord
from pipeline.rungs import Peers, Terms, Verdict
from pipeline.workspace import Workspace
from search_spaces.candidate import Candidate

if TYPE_CHECKING:
    from pipeline.config import SearchConfig
    from pipeline.screening import Twin
    from pipeline.training_state import TrainingState
    from pipeline.workbench import Workbench

STOPPED = "stopped"  # the constraint that a stopped trial violates


def terms_of(config: SearchConfig, bench: Workbench) -> Terms:
    """By what the students of a search are compared at its rungs."""
    return Terms(tuple(config.objectives), config.budget, bench.teacher_metrics, bench.chance, config.trials.reduction)


def checkpoints_of(config: SearchConfig, workspace: Workspace) -> Checkpoints:
    """Where the half-trained students of a search wait."""
    return Checkpoints(workspace.folder / "checkpoints", config.trials.checkpoints_gb * 1e9)


class Climb:
    """One student between its epochs. `peers`: whom it is compared with; `twin`: its device figures, if known.

    `begin` is where an earlier training of the same candidate was left, None where there was none; `curve` grows.
    """

    def __init__(self, number: int, candidate: Candidate, bench: Workbench, peers: Peers, twin: Twin | None) -> None:
        from pipeline.stages.distill import Begin

        self.number, self.candidate, self.bench, self.peers, self.twin = number, candidate, bench, peers, twin
        self._kept = checkpoints_of(bench.config, bench.workspace)
        left = self._kept.load(candidate.key)
        self.begin = None if left is None or left.seed != candidate.seed else Begin(left.state, left.curve)
        self.curve: list[Mapping[str, float]] = [] if self.begin is None else list(self.begin.curve)

    def judge_again(self) -> None:
        """Where the student was left: it may have been cut off before it was judged. Errors: Stopped."""
        if self.begin is not None:
            self._judge(self.begin.state.epoch)

    def between(self, done: int, take: Callable[[], TrainingState]) -> None:
        """After `done` epochs: at a rung, keep the state, then judge. Errors: Stopped."""
        if done in self.bench.config.trials.rungs:
            self._kept.save(self.candidate, take(), self.curve)
            self._judge(done)

    def _judge(self, rung: int) -> None:
        # Judged once more by a tie, it would stop and be let go on for ever. Without a twin the device was away.
        if self.twin is None or rung <= self.peers.passed:
            return
        student = TrialRecord(
            number=self.number,
            candidate=self.candidate,
            end="stopped",
            curve=tuple(self.curve),
            screened=self.twin.metrics,
            measurement=self.twin.measurement,
        )
        found = rungs.verdict(student, self.peers.records, rung, terms_of(self.bench.config, self.bench))
        if not found.goes_on:
            raise self._stopped(found, rung, self.twin)

    def _stopped(self, found: Verdict, rung: int, twin: Twin) -> Stopped:
        accuracy = float(next(row["rung_accuracy"] for row in self.curve if row["epoch"] == rung))
        return Stopped(
            _sentence(found, rung, self.candidate, accuracy),
            rung,
            accuracy,
            violations={**unknown_quality(self.bench.config.budget, twin.metrics), STOPPED: found.shortfall},
            metrics=dict(twin.metrics),
            measurement=dict(twin.measurement),
        )


def _sentence(found: Verdict, rung: int, candidate: Candidate, accuracy: float) -> str:
    epochs: Any = candidate.section("distill")["epochs"]
    named = ", ".join(map(str, found.beaten_by[:4])) + (" ..." if len(found.beaten_by) > 4 else "")
    return (
        f"after {rung} of {epochs} epochs its rung_accuracy of {accuracy:.4f} and its device figures are beaten by "
        f"{len(found.beaten_by)} of {found.of - 1} other students there (trials {named}); it is kept, and goes on if "
        "it belongs to the best at this rung later"
    )
