"""Run one niwaki command line and die by SIGKILL at a named moment: `killer.py MOMENT ARGUMENT...`."""

from __future__ import annotations

import os
import signal
import sys
import threading
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
    MOMENTS[moment]()
    from pipeline.cli import run

    sys.exit(run(arguments))
