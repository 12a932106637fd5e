"""The system call behind perf's events, tried with an event that every kernel has."""

from __future__ import annotations

import time

import pytest

from hardware_targets.meters.perf_power import _numbers, _perf_event, _refusal

SOFTWARE, CPU_CLOCK = 1, 0  # perf_event_open(2)


def test_the_kernel_takes_the_call_and_counts() -> None:
    try:
        count, close = _perf_event(SOFTWARE, CPU_CLOCK, 0)
    except OSError as error:
        pytest.skip(f"this machine does not allow perf events of whole processors: {error}")
    first = count()
    time.sleep(0.05)
    assert count() > first  # nanoseconds of processor 0
    close()
    with pytest.raises(OSError):
        count()


def test_a_refusal_says_what_to_type() -> None:
    assert "kernel.perf_event_paranoid=0" in _refusal(PermissionError(13, "Permission denied"))
    assert "use the meter rapl" in _refusal(OSError(2, "No such file or directory"))


def test_lists_of_processors() -> None:
    assert _numbers("0,18-20") == [0, 18, 19, 20] and _numbers("") == []
