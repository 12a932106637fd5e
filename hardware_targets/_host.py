"""Energy of what the searching machine itself computes: its processor time times the watts of a published table."""

from __future__ import annotations

from hardware_targets._conditions import read_conditions
from hardware_targets._measurement import Conditions, Energy
from hardware_targets.meters.modelled_generic import Meter


def host_conditions() -> Conditions:
    """This machine's processor as it is now; no runtime runs on it here."""
    return read_conditions(runtime="none", runtime_version="", threads=0)


def host_energy(cpu_seconds: float, host: Conditions) -> Energy:
    """Energy of so much processor time, over all threads, on `host`; modelled-generic, whatever meter measures models.

    No counter is read over a whole search: others use the machine too, and a counter would be charged with them.
    """
    return Meter().of_cpu_seconds(cpu_seconds, host)
