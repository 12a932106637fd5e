"""An external meter at the wall, once a second: a Shelly or Tasmota plug over HTTP, or the log of another program.

It is described by a small YAML file, named in NIWAKI_WALL_METER or in the option `config`; one of

    {style: shelly, url: "http://192.0.2.7/rpc/Switch.GetStatus?id=0"}     # apower
    {style: tasmota, url: "http://192.0.2.7/cm?cmnd=Status%208"}           # StatusSNS.ENERGY.Power
    {style: json, url: "http://192.0.2.7/now", watts: data.active_power}   # any JSON, a dotted path to watts
    {style: csv, path: /var/log/plug.csv, time: seconds, watts: watts}     # appended, with a heading; also a serial log

Plugs count watt-hours too coarsely (Tasmota in steps of 3600 J), so their watts are added up. `lag_s` may be set.
"""

from __future__ import annotations

import csv
import json
import math
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from hardware_targets._counters import Clock, MeterFault, PolledPower

VARIABLE = "NIWAKI_WALL_METER"
_PATHS = {"shelly": "apower", "tasmota": "StatusSNS.ENERGY.Power"}
_MOST_WATTS = 10_000.0
_TIMEOUT_S = 2.0
_SILENCE_S = 10.0


class Meter:
    """Joules at the plug: everything behind it is in them."""

    name = "wall_meter"
    kind = "measured"
    boundary = "wall"
    period_s = 1.0
    window_s = 60.0

    def __init__(
        self,
        config: Path | str | None = None,
        clock: Clock = time.monotonic,
        fetch: Callable[[str], bytes] | None = None,
        background: bool = True,
    ) -> None:
        named = config if config is not None else os.environ.get(VARIABLE)
        self._config = Path(named) if named else None
        self._clock, self._fetch, self._background = clock, fetch or _http, background

    @property
    def lag_s(self) -> float:
        try:
            return float(self._settings().get("lag_s", 1.0))
        except (MeterFault, TypeError, ValueError):
            return 1.0

    def unavailable(self) -> str | None:
        try:
            self.open(background=False).close()
        except MeterFault as fault:
            return str(fault)
        return None

    def source(self) -> str:
        settings = self._settings()
        return f"wall meter ({settings['style']}), {settings.get('url') or settings.get('path')}, once a second"

    def open(self, background: bool | None = None) -> PolledPower | Log:
        settings = self._settings()
        if settings["style"] == "csv":
            path = Path(str(settings.get("path", "")))
            return Log(path, str(settings.get("time", "time")), str(settings.get("watts", "watts")), self._clock)
        return PolledPower(
            "the wall meter",
            partial(self._watts, settings),
            self._clock,
            interval_s=self.period_s,
            most_watts=_MOST_WATTS,
            background=self._background if background is None else background,
        )

    def _settings(self) -> Mapping[str, Any]:
        if self._config is None:
            raise MeterFault(
                f"no wall meter is set up; describe one in a YAML file and name it in {VARIABLE}; see {__file__}"
            )
        remedy = f"see the examples in {Path(__file__).name}"
        try:
            settings = yaml.safe_load(self._config.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as error:
            raise MeterFault(
                f"the wall meter's description {self._config} cannot be read ({error}); {remedy}"
            ) from None
        styles = (*_PATHS, "json", "csv")
        if not isinstance(settings, Mapping) or settings.get("style") not in styles:
            raise MeterFault(f"{self._config} must say `style: ` and one of {', '.join(styles)}; {remedy}")
        for key in {"csv": ("path",), "json": ("url", "watts")}.get(str(settings["style"]), ("url",)):
            if key not in settings:
                raise MeterFault(f"{self._config} has style {settings['style']} but no `{key}:`; {remedy}")
        return settings

    def _watts(self, settings: Mapping[str, Any]) -> float:
        url, path = str(settings["url"]), str(settings.get("watts") or _PATHS[str(settings["style"])])
        try:
            found: Any = json.loads(self._fetch(url))
            for key in path.split("."):
                found = found[int(key)] if isinstance(found, list) else found[key]
            return float(found)
        except (OSError, urllib.error.URLError) as error:
            raise MeterFault(f"the wall meter at {url} does not answer ({error}); check plug and address") from None
        except (ValueError, KeyError, IndexError, TypeError):
            raise MeterFault(f"the wall meter's answer from {url} has no number at {path}; correct `watts:`") from None


class Log:
    """A growing CSV file of (seconds, watts), added up by the file's own times."""

    def __init__(self, path: Path, seconds: str, watts: str, clock: Clock) -> None:
        self._path, self._clock = path, clock
        self._total, self._last, self._rest = 0.0, None, ""  # type: float, tuple[float, float] | None, str
        try:
            with path.open(encoding="utf-8") as file:
                heading = next(csv.reader([file.readline()]), [])
        except OSError as error:
            raise MeterFault(
                f"the wall meter's log {path} cannot be read ({error.strerror}); correct `path:`"
            ) from None
        missing = {seconds, watts} - set(heading)
        if missing:
            raise MeterFault(f"the log {path} has no column {', '.join(sorted(missing))}, only: {', '.join(heading)}")
        self._columns = heading.index(seconds), heading.index(watts)
        self._offset = path.stat().st_size
        self._heard = clock()

    @property
    def poll_s(self) -> float:
        return 60.0

    def joules(self) -> float:
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                new = file.read()
        except OSError as error:
            raise MeterFault(f"the wall meter's log {self._path} cannot be read ({error.strerror})") from None
        self._offset += len(new)
        *lines, self._rest = (self._rest + new.decode("utf-8", errors="replace")).split("\n")
        for line in filter(None, lines):
            self._add(line)
        if self._clock() - self._heard > _SILENCE_S:
            raise MeterFault(
                f"the log {self._path} has not grown for {_SILENCE_S:g} s; look at the program that writes it"
            )
        return self._total

    def close(self) -> None:
        """There is nothing to close."""

    def _add(self, line: str) -> None:
        cells = next(csv.reader([line]))
        try:
            now, watts = (float(cells[column]) for column in self._columns)
        except (ValueError, IndexError):
            raise MeterFault(f"the log {self._path} has a line that is no reading: {line[:60]!r}") from None
        self._heard = self._clock()
        before, self._last = self._last, (now, watts)
        if not (math.isfinite(watts) and 0 <= watts <= _MOST_WATTS):
            raise MeterFault(f"the log {self._path} says {watts:g} W, which no plug carries")
        if before is None:
            return
        if not 0 <= now - before[0] <= _SILENCE_S:
            raise MeterFault(f"the log {self._path} jumps by {now - before[0]:.3g} s; measure again")
        self._total += (now - before[0]) * (before[1] + watts) / 2


def _http(url: str) -> bytes:
    if not url.startswith(("http://", "https://")):
        raise OSError("the address must begin with http://")
    with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:
        content: bytes = answer.read(100_000)
    return content
