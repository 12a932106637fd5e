"""The same RAPL counters through the kernel's perf events (`perf stat -e power/energy-pkg/`).

Where powercap is not mounted (many containers) but perf is allowed, this is the way. The kernel widens the counters to
64 bits, so nothing wraps. perf_event_open(2) has no wrapper in the C library: it is called by its number.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import re
import struct
import time
from collections.abc import Callable
from pathlib import Path

from hardware_targets._counters import (
    Clock,
    MeterFault,
    Read,
    StepCounter,
    Total,
    is_virtual,
    number,
    optional,
    rapl_kind,
    text,
)

Event = Callable[[], int]
OpenEvent = Callable[[int, int, int], tuple[Event, Callable[[], None]]]  # PMU type, configuration, processor

_NUMBERS = {"x86_64": 298, "aarch64": 241}  # of the system call
_CLOSE_ON_EXEC = 8
_WANTED = {"energy-pkg": "package", "energy-ram": "dram"}


class Meter:
    """Joules of the packages and their memory, of one processor per package."""

    name = "perf_power"
    period_s = 0.001
    lag_s = 0.0
    window_s = 5.0

    def __init__(
        self,
        root: Path = Path("/"),
        clock: Clock = time.monotonic,
        read: Read = text,
        open_event: OpenEvent | None = None,
    ) -> None:
        self._root, self._clock, self._read = root, clock, read
        self._open_event = open_event or _perf_event
        self._home = root / "sys/bus/event_source/devices/power"

    @property
    def kind(self) -> str:
        return rapl_kind(self._root, self._read)

    @property
    def boundary(self) -> str:
        return "+".join(_WANTED[event] for event in self._events()) or "package"

    def unavailable(self) -> str | None:
        if is_virtual(self._root, self._read):
            return (
                "this is a virtual machine: power events of perf are not of this machine; measure on its host or on "
                "another machine, or accept a model"
            )
        if "energy-pkg" not in self._events():
            return (
                f"perf has no event energy-pkg ({self._home} is not there); "
                "load the driver of an x86 processor: sudo modprobe rapl"
            )
        try:
            self._open().close()
        except MeterFault as fault:
            return str(fault)
        return None

    def source(self) -> str:
        return f"perf events {', '.join(f'power/{event}/' for event in self._events())}"

    def open(self) -> _Events:
        if reason := self.unavailable():
            raise MeterFault(reason)
        return self._open()

    def _open(self) -> _Events:
        try:
            kind = int(number(self._home / "type", self._read))
            return _Events(kind, self._events(), self._cpus(), self)
        except OSError as error:
            raise MeterFault(_refusal(error)) from None

    def _events(self) -> list[str]:
        return [event for event in _WANTED if optional(self._home / "events" / event, self._read)]

    def _cpus(self) -> list[int]:
        """The processors to ask: as `cpumask` says, but on AMD, whose dies mirror their socket, one per package."""
        cpus = _numbers(self._read(self._home / "cpumask"))
        if rapl_kind(self._root, self._read) == "measured":
            return cpus
        first: dict[str, int] = {}
        for cpu in cpus:
            topology = self._root / f"sys/devices/system/cpu/cpu{cpu}/topology/physical_package_id"
            first.setdefault(optional(topology, self._read) or str(cpu), cpu)
        return sorted(first.values())

    def _counter(self, kind: int, event: str, cpu: int) -> tuple[StepCounter, Callable[[], None]]:
        scale = number(self._home / "events" / f"{event}.scale", self._read)
        unit = optional(self._home / "events" / f"{event}.unit", self._read)
        match = re.fullmatch(r"event=(0x[0-9a-f]+|\d+)", self._read(self._home / "events" / event))
        if unit != "Joules" or match is None:
            raise MeterFault(f"perf's {event} is in {unit!r}, not Joules; update the kernel, or use the meter rapl")
        count, close = self._open_event(kind, int(match[1], 0), cpu)
        name = f"perf event {event} of processor {cpu}"
        return StepCounter(name, lambda: count() * scale, self._clock, period_s=self.period_s), close


class _Events:
    """Open events; closing them gives their descriptors back."""

    def __init__(self, kind: int, events: list[str], cpus: list[int], meter: Meter) -> None:
        opened = [meter._counter(kind, event, cpu) for event in events for cpu in cpus]
        self._sum = Total([counter for counter, _ in opened])
        self._closers = [close for _, close in opened]
        self.poll_s = self._sum.poll_s

    def joules(self) -> float:
        try:
            return self._sum.joules()
        except OSError as error:
            raise MeterFault(f"a power event of perf cannot be read ({error.strerror}); measure again") from None

    def close(self) -> None:
        for close in self._closers:
            close()


def _perf_event(kind: int, configuration: int, cpu: int) -> tuple[Event, Callable[[], None]]:
    """Open one event for a whole processor. Errors: OSError."""
    number_ = _NUMBERS.get(platform.machine())
    if number_ is None:
        raise OSError(errno.ENOSYS, f"no perf_event_open is known for {platform.machine()}")
    # struct perf_event_attr, first version (64 bytes): type, size, config, and 48 bytes of which none is used
    attributes = ctypes.create_string_buffer(struct.pack("=IIQ48x", kind, 64, configuration), 64)
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    arguments = (-1, cpu, -1, _CLOSE_ON_EXEC)  # every process, this processor, no group
    file = call(ctypes.c_long(number_), attributes, *(ctypes.c_long(value) for value in arguments))
    if file < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return (lambda: int.from_bytes(os.read(file, 8), "little")), (lambda: os.close(file))


def _numbers(text: str) -> list[int]:
    """`0,18-19` -> [0, 18, 19]."""
    found: list[int] = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def _refusal(error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM):
        return (
            "perf may not count whole processors here; run as root, or type: sudo sysctl kernel.perf_event_paranoid=0"
        )
    return f"perf's power events cannot be opened ({error.strerror or error}); use the meter rapl"
