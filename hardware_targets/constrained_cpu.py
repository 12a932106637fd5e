"""This machine's CPU held to some of its cores and some of its memory: a stand-in for a smaller machine.

It stands in for fewer cores and less memory, not for another processor: caches, clock and memory bandwidth stay.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hardware_targets import _limits, local_cpu
from hardware_targets._errors import DeviceFailure, TargetError
from hardware_targets._feeds import Input
from hardware_targets._measurement import Conditions, Energy, Latency, Measurement, Unmeasured
from hardware_targets._plan import Tier

LEAST_MB = 16  # nothing starts in less
_OUT_OF_MEMORY = ("MemoryError", "bad_alloc", "bad allocation", "allocat", "failed to map segment", "SIGKILL")


class Target:
    """Measures as `local_cpu` does, and shares its lock, in a process that may use only what is named here.

    `cores`: how many (the first ones that this process may use), or which; None: as many as threads. `memory_mb`: of
    the whole measuring process, interpreter and runtime included; None: no limit. `cgroup`: the folder of a control
    group that this user may write to; with None memory is limited by RLIMIT_DATA.
    """

    name = "constrained_cpu"

    def __init__(
        self,
        threads: int = 1,
        seconds: float = local_cpu.SECONDS,
        runtime: str = "onnxruntime",
        cores: int | Sequence[int] | None = None,
        memory_mb: float | None = None,
        cgroup: str | None = None,
        meter: str | None = None,
        meter_options: Mapping[str, Any] | None = None,
    ) -> None:
        self.threads = threads
        if memory_mb is not None and (isinstance(memory_mb, bool) or not memory_mb >= LEAST_MB):
            raise TargetError(f"memory_mb is {memory_mb!r}, in which nothing starts; give {LEAST_MB} or more")
        self._group = None if cgroup is None else Path(cgroup)
        self._limits: dict[str, Any] = {
            "cores": _chosen(threads if cores is None else cores),
            "memory_mb": memory_mb,
            "cgroup": cgroup,
        }
        metered = {"meter": meter, "meter_options": meter_options}
        self._cpu = _Held(self._limits, threads=threads, seconds=seconds, runtime=runtime, **metered)

    def unavailable(self) -> str | None:
        if not hasattr(os, "sched_setaffinity"):
            return "constrained_cpu chooses cores, which only Linux lets it do; use local_cpu"
        if self._group is not None and (problem := _limits.group_problem(self._group)):
            return problem
        return self._cpu.unavailable()

    def conditions(self) -> Conditions:
        """This machine as it is now, and the limits."""
        return self._limited(self._cpu.conditions())

    def energy_kind(self) -> str:
        """Of the meter that energy will come from, see `local_cpu`."""
        return self._cpu.energy_kind()

    def energy_of(
        self, latency: Latency, conditions: Conditions, *, precision: str | None = None, macs_m: float | None = None
    ) -> Energy | Unmeasured | None:
        """By the energy model in use, see `local_cpu`."""
        return self._cpu.energy_of(latency, conditions, precision=precision, macs_m=macs_m)

    def inputs(self, model: Path) -> tuple[Input, ...]:
        """Names, dtypes and shapes of a model's inputs. Errors: BadModel."""
        with self._explained():
            return self._cpu.inputs(model)

    def measure(
        self,
        model: Path,
        feeds: Path,
        reference: Path,
        reference_feeds: Path,
        *,
        seed: int,
        seconds: float | None = None,
        time_limit_s: float | None = None,
        tier: Tier = "trial",
        raw: Path | None = None,
        over: float | None = None,
    ) -> Measurement:
        """Time `model` against `reference` within the limits; both must fit into them together. Errors: TargetError."""
        with self._explained():
            found = self._cpu.measure(
                model,
                feeds,
                reference,
                reference_feeds,
                seed=seed,
                seconds=seconds,
                time_limit_s=time_limit_s,
                tier=tier,
                raw=raw,
                over=over,
            )
        return replace(found, conditions=self._limited(found.conditions))

    def predict(self, model: Path, feeds: Path, *, time_limit_s: float = 600.0) -> np.ndarray:
        """The first output for every row, [rows, ...], by the very calls that are timed. Errors: TargetError."""
        with self._explained():
            return self._cpu.predict(model, feeds, time_limit_s=time_limit_s)

    def _limited(self, conditions: Conditions) -> Conditions:
        return replace(conditions, limits=_limits.told(self._limits))

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """A failure that looks like the end of the memory names the limit."""
        try:
            yield
        except DeviceFailure as error:
            memory_mb = self._limits["memory_mb"]
            if memory_mb is None or not any(word in str(error) for word in _OUT_OF_MEMORY):
                raise
            raise DeviceFailure(
                f"it does not fit into {memory_mb:g} MB, or died of something else; give `memory_mb` more, or a "
                f"smaller model. What was said: {error}"
            ) from error


class _Held(local_cpu.Target):
    """`local_cpu` with limits in every job; it keeps the name, and with it the lock."""

    def __init__(self, limits: Mapping[str, Any], **options: Any) -> None:
        super().__init__(**options)
        self._limits = limits

    def _job(self, task: str, model: Path, feeds: Path | None = None) -> dict[str, Any]:
        return super()._job(task, model, feeds) | {"limits": dict(self._limits)}


def _chosen(cores: object) -> list[int] | None:
    """The cores that are meant, among those that this process may use; None where the system has no affinity."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    mine = sorted(os.sched_getaffinity(0))
    if isinstance(cores, int) and not isinstance(cores, bool) and 1 <= cores <= len(mine):
        return mine[:cores]
    if isinstance(cores, Sequence) and not isinstance(cores, str) and len(cores) > 0 and set(cores) <= set(mine):
        return sorted(set(cores))
    raise TargetError(
        f"cores is {cores!r}, but this process may use the {len(mine)} cores {', '.join(map(str, mine))}; "
        f"give a number up to {len(mine)} or a list of them"
    )
