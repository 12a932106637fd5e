"""Processor time of this process, what a search's own energy is computed from."""

from __future__ import annotations


def cpu_seconds() -> float | None:
    """User and system time over all threads, and of all processes started here that have ended.

    None where the system does not say (Windows has no getrusage).
    """
    try:
        import resource
    except ImportError:
        return None
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(item.ru_utime + item.ru_stime for item in used)
