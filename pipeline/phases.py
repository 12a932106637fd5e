"""What each phase of a trial took."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from pipeline.cpu_time import cpu_seconds


class Phases:
    """Seconds and processor time spent in each phase of a trial: `with clock("distill"): ...`."""

    def __init__(
        self, now: Callable[[], float] = time.monotonic, cpu: Callable[[], float | None] = cpu_seconds
    ) -> None:
        self._now, self._cpu = now, cpu
        self._spent: dict[str, float] = {}
        self._used: dict[str, float] = {}
        self._open: tuple[str, float, float | None] = ("", 0.0, None)

    def __call__(self, name: str) -> Phases:
        self._open = (name, self._now(), self._cpu())
        return self

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        name, since, used_before = self._open
        self._spent[name] = self._spent.get(name, 0.0) + self._now() - since
        used = self._cpu()
        if used is not None and used_before is not None:
            self._used[name] = self._used.get(name, 0.0) + used - used_before

    def seconds(self) -> dict[str, float]:
        return {name: round(value, 3) for name, value in self._spent.items()}

    def cpu_seconds(self) -> dict[str, float]:
        """Over all threads and the processes that were started; empty where the system does not say."""
        return {name: round(value, 3) for name, value in self._used.items()}


def added(phases: Mapping[str, float], more: Mapping[str, float]) -> dict[str, float]:
    """The seconds of both, by phase."""
    return {**phases, **{name: phases.get(name, 0.0) + seconds for name, seconds in more.items()}}
