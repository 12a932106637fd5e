"""Raspberry Pi 5: the converters of its power chip, by `vcgencmd pmic_read_adc`.

The chip tells volts and amperes of the rails that it makes, not the current at the board's input: what USB devices, the
network chip's own supply and the converters' losses take is not in the sum. Pi 4 and older have no such sensor.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Callable
from functools import partial

from hardware_targets._counters import Clock, MeterFault, PolledPower

_LINE = re.compile(r"(\w+)_([AV])\s+(?:current|volt(?:age)?)\(\d+\)=(-?[\d.]+)[AV]")
_MOST_WATTS = 60.0
_POLL_S = 0.1


class Meter:
    """Watts of all rails that have both volts and amperes, ten times a second, added up."""

    name = "pi5_pmic"
    kind = "measured"
    boundary = "sum of the power chip's rails (not the board's input)"
    period_s = _POLL_S
    lag_s = 0.1
    window_s = 20.0

    def __init__(
        self, ask: Callable[[], str] | None = None, clock: Clock = time.monotonic, background: bool = True
    ) -> None:
        self._ask, self._clock, self._background = ask, clock, background

    def unavailable(self) -> str | None:
        if self._ask is None and shutil.which("vcgencmd") is None:
            return "vcgencmd is not here: only a Raspberry Pi 5 has this meter; elsewhere use wall_meter"
        try:
            watts(self._text())
        except MeterFault as fault:
            return str(fault)
        return None

    def source(self) -> str:
        return "vcgencmd pmic_read_adc, volts times amperes of each rail, polled ten times a second"

    def open(self) -> PolledPower:
        return PolledPower(
            "the Pi's power chip",
            lambda: watts(self._text()),
            self._clock,
            interval_s=_POLL_S,
            most_watts=_MOST_WATTS,
            background=self._background,
        )

    def _text(self) -> str:
        return (self._ask or partial(_vcgencmd, "pmic_read_adc"))()


def watts(printed: str) -> float:
    """The sum over rails of volts times amperes. Errors: MeterFault where none has both."""
    found: dict[str, dict[str, float]] = {}
    for rail, unit, value in _LINE.findall(printed):
        found.setdefault(rail, {})[unit] = float(value)
    products = [rail["A"] * rail["V"] for rail in found.values() if rail.keys() == {"A", "V"}]
    if not products:
        said = " ".join(printed.split())[:80] or "nothing"
        raise MeterFault(
            f"vcgencmd pmic_read_adc tells no rail's volts and amperes ({said}): a Raspberry Pi 5 does, a Pi 4 or "
            "older needs an external meter (wall_meter)"
        )
    return sum(products)


def _vcgencmd(verb: str) -> str:
    try:
        done = subprocess.run(["vcgencmd", verb], capture_output=True, text=True, timeout=2, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MeterFault(f"vcgencmd {verb} did not answer ({error}); try it by hand") from None
    return done.stdout or done.stderr
