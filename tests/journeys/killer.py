"""Run one niwaki command line and die by SIGKILL at a named moment: `killer.py MOMENT ARGUMENT...`."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any


def die(*_: Any, **__: Any) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def at_an_epoch() -> None:
    import pipeline.trial as trial

    usual = trial.distill

    def distill(*args: Any, **kwargs: Any) -> Any:
        return usual(*args, **{**kwargs, "on_epoch": die})

    trial.distill = distill


def at_export() -> None:
    import pipeline.making as making

    making.export = die


def while_measuring() -> None:
    import pipeline.judging as judging

    usual = judging.device_figures

    def device_figures(*args: Any) -> Any:
        threading.Timer(1.0, die).start()  # the measuring child is alive and timing then
        return usual(*args)

    judging.device_figures = device_figures


def between_record_and_tell() -> None:
    import pipeline.search.study as study

    study.tell = die


def between_tell_and_mlflow() -> None:
    from pipeline.tracking import Tracker

    Tracker.log = die


def during_the_front() -> None:
    import pipeline.report_page as report_page

    report_page.page = die


def note_epochs() -> None:
    """Every epoch that ends from now on is a line of `epochs.log`: what is taught, how, and which epoch it was."""
    import pipeline.trial as trial

    usual = trial.distill

    def distill(*args: Any, on_epoch: Any, **kwargs: Any) -> Any:
        def noted(row: Any) -> None:
            with Path("epochs.log").open("a", encoding="utf-8") as log:
                log.write(f"{args[3]['learning_rate']} {args[3]['temperature']} {kwargs['seed']} {row['epoch']}\n")
            on_epoch(row)

        return usual(*args, on_epoch=noted, **kwargs)

    trial.distill = distill


def at_a_rung(wanted: int = 1) -> None:
    from pipeline.at_rungs import Climb

    usual = Climb._judge

    def judge(self: Any, rung: int) -> None:
        return die() if rung == wanted else usual(self, rung)

    Climb._judge = judge  # type: ignore[method-assign]


def at_the_next_rung() -> None:
    at_a_rung(2)


def during_a_promotion() -> None:
    import pipeline.search.study as study
    import pipeline.trial as trial

    begin, usual, going = study.begin, trial.distill, list[int]()

    def noted(*args: Any) -> int:
        going.append(begin(*args))
        return going[-1]

    def distill(*args: Any, on_epoch: Any, **kwargs: Any) -> Any:
        return usual(*args, on_epoch=die if going else on_epoch, **kwargs)

    study.begin, trial.distill = noted, distill


def never() -> None:
    pass


RUNG_MOMENTS = {function.__name__: function for function in (at_a_rung, at_the_next_rung, during_a_promotion, never)}

MOMENTS = {
    function.__name__: function
    for function in (
        at_an_epoch,
        at_export,
        while_measuring,
        between_record_and_tell,
        between_tell_and_mlflow,
        during_the_front,
    )
}

if __name__ == "__main__":
    moment, *arguments = sys.argv[1:]
    if moment in RUNG_MOMENTS:
        note_epochs()
    {**MOMENTS, **RUNG_MOMENTS}[moment]()
    from pipeline.cli import run

    sys.exit(run(arguments))
