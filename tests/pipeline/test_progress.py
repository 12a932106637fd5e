"""What a user sees while a search runs: a panel without threads, plain lines, counts and times."""

from __future__ import annotations

import io
import threading

from records_helper import make_record
from rich.console import Console

from pipeline.progress import Count, Lines, Panel, ending, minutes
from pipeline.report import FrontReport


def report(*records) -> FrontReport:
    return FrontReport(
        name="x", objectives=("accuracy", "latency_p50_ms"), quality="accuracy", records=records,
        front_numbers=tuple(record.number for record in records if record.end == "complete"), teacher={},
        teacher_intervals={}, target="local_cpu", energy_kind=None, energy_boundary=None, energy_source=None,
        indistinguishable={}, test=None, created="2026-11-23",
    )  # fmt: skip


def test_counts_and_remaining_time() -> None:
    moments = iter([0.0, 60.0])
    count = Count(4, None, lambda: next(moments))
    count.add(make_record(0))
    count.add(make_record(1).with_(end="refused"))
    assert count.sentence() == "1 complete, 1 refused of 4 | 1:00 elapsed, about 1:00 left"


def test_hours_bound_the_remaining_time() -> None:
    moments = iter([0.0, 60.0])
    count = Count(1000, 0.02, lambda: next(moments))
    count.add(make_record(0))
    assert count.sentence().endswith("about 0:12 left")


def test_a_resumed_search_counts_what_it_had() -> None:
    """Repetitions are no candidates, who goes on with a stopped student takes its place, no hour is spent twice."""
    moments = iter([0.0, 60.0])
    count = Count(8, 0.1, lambda: next(moments))
    before = [make_record(0).with_(seconds={"distill": 100.0}), make_record(1, end="stopped")]
    again = make_record(2, end="stopped").with_(seconds={"distill": 100.0}, continued_in=3)
    count.before([*before, again, make_record(3).with_(resumed_from=2)])
    count.add(make_record(4).with_(same_as=0, end="duplicate"))
    count.add(make_record(5).with_(resumed_from=1))
    said = count.sentence()
    assert said.startswith("3 complete, 2 stopped, 1 repeated of 8 | 1:00 elapsed")
    assert said.endswith("about 1:40 left")  # five candidates at half a minute are more than the hours allow
    assert count._done == 3


def test_times_read_well() -> None:
    assert [minutes(value) for value in (7, 750, 3750)] == ["0:07", "12:30", "1:02:30"]


def test_a_refusal_says_why() -> None:
    line = ending(make_record(3).with_(end="refused", reason="too slow"))
    assert "trial   3" in line and line.endswith("refused: too slow")


def test_lines_are_plain() -> None:
    out = io.StringIO()
    lines = Lines(4, None, out)
    lines.step("reading the data")
    record = make_record(0)
    lines.begin(0, record.candidate)
    lines.step("epoch 1")
    lines.end(record, report(record))
    said = out.getvalue()
    assert "reading the data" in said and "front 1" in said
    assert "epoch 1" not in said and "\x1b" not in said


def test_the_panel_draws_only_when_spoken_to() -> None:
    out = io.StringIO()
    before = threading.active_count()
    panel = Panel(4, None, Console(file=out, force_terminal=True, width=120))
    assert threading.active_count() == before, "a thread would redraw while something is timed"
    record = make_record(0)
    panel.begin(0, record.candidate)
    panel.step("epoch 1: validation 0.900")
    panel.end(record, report(record))
    panel.close()
    said = out.getvalue()
    assert "epoch 1" in said and "1 complete of 4" in said and "scheme" in said
