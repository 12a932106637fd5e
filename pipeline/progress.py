"""What a user sees while a search runs: a live panel in a terminal, plain lines elsewhere.

The panel is drawn only when the search says something. No thread redraws it, so nothing moves while a file is timed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pipeline.metrics import text
from pipeline.record import TrialRecord
from search_spaces.candidate import Candidate

if TYPE_CHECKING:
    from pipeline.report import FrontReport

SHOWN_POINTS = 12
SHORT = {"latency_p50_ms": "latency", "size_mb": "size"}


class Quiet:
    """Says nothing: for `--json` and for the Python API."""

    def before(self, records: Sequence[TrialRecord]) -> None: ...
    def step(self, sentence: str) -> None: ...
    def begin(self, number: int, candidate: Candidate) -> None: ...
    def end(self, record: TrialRecord, report: FrontReport) -> None: ...
    def say(self, sentence: str) -> None: ...
    def close(self) -> None: ...


class Lines:
    """One plain line per event, for logs and pipes."""

    def __init__(self, trials: int, hours: float | None, out: TextIO | None = None) -> None:
        self._count = Count(trials, hours)
        self._out = out or sys.stdout
        self._in_trial = False

    def before(self, records: Sequence[TrialRecord]) -> None:
        self._count.before(records)

    def step(self, sentence: str) -> None:
        if not self._in_trial:  # epochs and steps inside a trial would drown a log
            self.say(sentence)

    def begin(self, _number: int, _candidate: Candidate) -> None:
        self._in_trial = True

    def end(self, record: TrialRecord, report: FrontReport) -> None:
        self._count.add(record)
        self.say(f"{ending(record, report.quality)} | front {len(report.front_numbers)} | {self._count.sentence()}")

    def say(self, sentence: str) -> None:
        print(sentence, file=self._out, flush=True)

    def close(self) -> None:
        pass


class Panel:
    """The live view: counts, what is being done, the front as it grows."""

    def __init__(self, trials: int, hours: float | None, console: Console | None = None) -> None:
        self._count = Count(trials, hours)
        self._console = console or Console()
        self._now, self._doing, self._front = "", "", Text("")
        self._live = Live(Text(""), console=self._console, auto_refresh=False, transient=True)
        self._live.start()

    def before(self, records: Sequence[TrialRecord]) -> None:
        self._count.before(records)

    def step(self, sentence: str) -> None:
        self._doing = sentence
        self._draw()

    def begin(self, number: int, candidate: Candidate) -> None:
        scheme = candidate.section("quantize").get("scheme", "none")
        self._now = f"trial {number}: {candidate.student}, {scheme}"
        self.step("")

    def end(self, record: TrialRecord, report: FrontReport) -> None:
        self._count.add(record)
        self._now, self._doing = "", ""
        self._front = small_front(report)  # type: ignore[assignment]
        self.say(ending(record, report.quality))

    def say(self, sentence: str) -> None:
        self._console.print(sentence, highlight=False, markup=False)
        self._draw()

    def close(self) -> None:
        self._live.stop()

    def _draw(self) -> None:
        now = f"{self._now}  {self._doing}".strip()
        self._live.update(Group(self._front, Text(self._count.sentence(), style="bold"), Text(now)), refresh=True)


class Count:
    """Trials done, refused and failed, elapsed and remaining."""

    def __init__(self, trials: int, hours: float | None, now: Callable[[], float] = time.monotonic) -> None:
        self._trials, self._hours, self._now = trials, hours, now
        self._begin = now()
        self._ends: dict[str, int] = {}
        self._new = 0
        self._done = 0  # candidates that count
        self._spent_s = 0.0

    def before(self, records: Sequence[TrialRecord]) -> None:
        """The trials that a resumed search has already, and what they took of its hours."""
        for record in records:
            self._note(record)
            self._done += record.counts
            self._spent_s += sum(record.seconds.values())

    def add(self, record: TrialRecord) -> None:
        self._note(record)
        self._done += record.counts and record.resumed_from is None  # who goes on with a stopped one takes its place
        self._new += 1

    def _note(self, record: TrialRecord) -> None:
        kind = "repeated" if record.same_as is not None else record.end
        self._ends[kind] = self._ends.get(kind, 0) + 1

    def sentence(self) -> str:
        elapsed = self._now() - self._begin
        counts = ", ".join(f"{count} {kind}" for kind, count in self._ends.items()) or "no trial yet"
        out = f"{counts} of {self._trials} | {minutes(elapsed)} elapsed"
        if self._new:
            left = max(self._trials - self._done, 0) * elapsed / self._new
            if self._hours is not None:
                left = min(left, max(self._hours * 3600 - self._spent_s - elapsed, 0))
            out += f", about {minutes(left)} left"
        return out


def minutes(seconds: float) -> str:
    """`0:07`, `12:30`, `1:02:30`."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def ending(record: TrialRecord, quality: str = "accuracy") -> str:
    """One line on a finished trial."""
    head = f"trial {record.number:3d} {record.candidate.student} {record.precision}"
    if record.end != "complete":
        return f"{head}: {record.end}: {record.reason}"
    shown = [name for name in (quality, "latency_p50_ms", "speedup", "size_mb") if name in record.metrics]
    figures = "  ".join(f"{SHORT.get(name, name)} {text(name, record.metrics[name])}" for name in shown)
    over = "" if record.feasible else "  over budget"
    return f"{head}: {figures}{over}"


def small_front(report: FrontReport) -> Table:
    """The front in a few columns, fastest first."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("trial", "student", "scheme", report.quality, "p50", "faster", "size"):
        table.add_column(title, justify="left" if title in ("student", "scheme") else "right")
    by_number = {record.number: record for record in report.records}
    for number in list(report.front_numbers)[:SHOWN_POINTS]:
        record = by_number[number]
        names = (report.quality, "latency_p50_ms", "speedup", "size_mb")
        cells = [text(name, record.metrics.get(name)) for name in names]
        table.add_row(str(number), record.candidate.student, record.precision, *cells)
    return table
