"""Energy from measured time where no counter is: watts fitted on a metered device, with a band and a domain.

W[target, runtime, threads, precision] times the latency measured here. W is not quite one number: it moves with the
rate of work, multiply-accumulates per millisecond (the part of the power that switching costs), and with the latency
itself (calls too short to fill the cores). Both exponents are shrunk towards 0, where W is one number per precision.
Where the MACs of a model are not known there is a second curve without them and with a wider band. `_calibration`
fits; this file applies.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hardware_targets._measurement import Energy, Latency

KIND = "modelled-calibrated"
METER = "calibrated"
FLAG = "extrapolated: "  # how the source of a figure begins that the fit does not cover
SPAN = 2.5  # least factor of an extrapolated band: two labs on one chip differ by 1.4 (fp32) to 2.3 (int8) in MLPerf
# this project's schemes, by the names that published tables use
SAME = {"none": "fp32", "static_int8": "int8", "qat_int8": "int8"}
SLACK = 1.02  # a latency that is this far outside the range is still inside: it is known no better


@dataclass(frozen=True)
class Curve:
    """Watts over `terms` (natural logarithms of "rate" in million MACs per ms and of "latency" in ms).

    watts[p] x exp(sum of exponents[p] x (terms - centre)), terms held to `low`..`high`. `band` is the factor within
    which 90 % of the rows of a family that was left out lay, `median_error` their median relative error, `covered`
    the share of rows inside the band that was found without them (None where there were too few families to leave out
    two).
    """

    terms: tuple[str, ...]
    centre: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    watts: Mapping[str, float]
    exponents: Mapping[str, tuple[float, ...]]
    band: float
    median_error: float
    covered: float | None

    def energy_mj(self, precision: str, latency_ms: float, macs_m: float | None) -> float:
        """Millijoules of one inference; watts times milliseconds. KeyError: a precision that was not fitted."""
        held = [
            min(max(term, low), high)
            for term, low, high in zip(terms_of(self.terms, latency_ms, macs_m), self.low, self.high, strict=True)
        ]
        moved = sum(
            slope * (term - centre)
            for slope, term, centre in zip(self.exponents[precision], held, self.centre, strict=True)
        )
        return self.watts[precision] * math.exp(moved) * latency_ms

    def outside(self, latency_ms: float, macs_m: float | None) -> str | None:
        """Which term is outside the rows of the fit, or None."""
        found = terms_of(self.terms, latency_ms, macs_m)
        units = {"rate": "million MACs per ms", "latency": "ms"}
        for name, term, low, high in zip(self.terms, found, self.low, self.high, strict=True):
            if not low - math.log(SLACK) <= term <= high + math.log(SLACK):
                told = f"{math.exp(low):.3g} to {math.exp(high):.3g}"
                return f"{math.exp(term):.3g} {units[name]} is outside {told}"
        return None


def terms_of(names: Sequence[str], latency_ms: float, macs_m: float | None) -> list[float]:
    """The logarithms that a curve is drawn over. ValueError: a rate without MACs."""
    if "rate" in names and macs_m is None:
        raise ValueError("a rate needs the MACs of the model")
    rate = {"rate": math.log(macs_m / latency_ms)} if macs_m is not None else {}
    found = {"latency": math.log(latency_ms), **rate}
    return [found[name] for name in names]


@dataclass(frozen=True)
class RuntimeModel:
    """What was fitted for one runtime and number of threads (None: its source does not state them).

    `curves`: the first whose terms are known is used. `latency_ms`: the range of the rows, by precision.
    """

    runtime: str
    threads: int | None
    source: str
    rows: int
    families: tuple[str, ...]
    latency_ms: Mapping[str, tuple[float, float]]
    curves: tuple[Curve, ...]

    def curve(self, macs_m: float | None) -> Curve:
        return next(curve for curve in self.curves if macs_m is not None or "rate" not in curve.terms)

    def reasons(self, runtime: str, version: str, threads: int) -> list[str]:
        """Why the conditions are not those of the fit; empty where they are."""
        reasons = []
        if not self.is_of(runtime, version):
            reasons.append(f"fitted on {self.runtime}, but the runtime is {runtime} {version}")
        if self.threads is None:
            reasons.append("its source does not state the number of threads")
        elif self.threads != threads:
            reasons.append(f"fitted on {self.threads} thread(s), but there are {threads}")
        return reasons

    def is_of(self, runtime: str, version: str) -> bool:
        """Fitted on this runtime, of this version where it names one."""
        return self.runtime.casefold() in (runtime.casefold(), f"{runtime} {version}".casefold())

    def outside(self, curve: Curve, precisions: Sequence[str], latency_ms: float, macs_m: float | None) -> str | None:
        """Which range of the rows is left, or None."""
        for name in precisions:
            low, high = self.latency_ms[name]
            if not low / SLACK <= latency_ms <= high * SLACK:
                return f"{latency_ms:.3g} ms is outside the {low:.3g} to {high:.3g} ms of its {name} rows"
        return curve.outside(latency_ms, macs_m)


@dataclass(frozen=True)
class DeviceModel:
    """A device description: `latency_statistic` (median or p90) is what the watts are to be multiplied by."""

    device: str
    boundary: str
    latency_statistic: str
    source: str
    date: str
    models: tuple[RuntimeModel, ...]

    def energy(
        self,
        latency: Latency,
        *,
        runtime: str,
        version: str = "",
        threads: int = 1,
        precision: str | None = None,
        macs_m: float | None = None,
        prefer: str | None = None,
    ) -> Energy:
        """The figure with its band; outside the domain its source says `extrapolated` and its band is x/2.5 at least.

        Where nothing was fitted on this runtime, all models count: the mean of the logarithms, in a band that spans
        them. `prefer` names one instead.
        """
        models = self._nearest(prefer or runtime, "" if prefer else version, threads)
        time_ms, reasons = self._time(latency)
        figures: list[tuple[float, float]] = []
        for model in models:
            curve = model.curve(macs_m)
            known, doubt = _precision(precision, curve)
            reasons += model.reasons(runtime, version, threads)
            reasons += [reason for reason in (doubt, model.outside(curve, known, time_ms, macs_m)) if reason]
            figures += [(curve.energy_mj(name, time_ms, macs_m), curve.band) for name in known]
        mj = math.exp(sum(math.log(figure) for figure, _ in figures) / len(figures))
        least = SPAN if reasons else 1.0
        low = min(mj / least, *(figure / band for figure, band in figures))
        high = max(mj * least, *(figure * band for figure, band in figures))
        source = self._told(models, macs_m)
        flagged = f"{FLAG}{'; '.join(dict.fromkeys(reasons))}. {source}" if reasons else source
        return Energy(mj, low, high, KIND, self.boundary, METER, flagged)

    def _nearest(self, runtime: str, version: str, threads: int) -> tuple[RuntimeModel, ...]:
        """The model of this runtime, and of these threads if there is one; all where none is of this runtime."""
        fitting = [model for model in self.models if model.is_of(runtime, version)]
        if not fitting:
            return self.models
        return (min(fitting, key=lambda model: model.threads != threads),)

    def _told(self, models: Sequence[RuntimeModel], macs_m: float | None) -> str:
        if len(models) > 1:
            return f"{self.device}, mean of {len(models)} models; {self.source}, {self.date}"
        model = models[0]
        curve = model.curve(macs_m)
        terms = "MACs and time" if "rate" in curve.terms else "time"
        place = f"{self.source}: {model.source}" if model.source else self.source
        return (
            f"{self.device}, {model.runtime}, watts by {terms} from {model.rows} rows of {', '.join(model.families)}; "
            f"90 % of unseen families within x/{curve.band:.3g}; {place}, {self.date}"
        )

    def _time(self, latency: Latency) -> tuple[float, list[str]]:
        """The statistic that was fitted; a median in the place of a 90th percentile is biased low, and says so."""
        if self.latency_statistic != "p90":
            return latency.median_ms, []
        if latency.p90_ms is not None:
            return latency.p90_ms, []
        return latency.median_ms, ["fitted on 90th percentiles, but only the median is known: biased low"]


def _precision(name: str | None, curve: Curve) -> tuple[list[str], str | None]:
    """The fitted precisions that may be meant: one, or all of them with the reason."""
    fitted = sorted(curve.watts)
    for known in (name, SAME.get(name or "")):
        if known in fitted:
            return [str(known)], None
    told = ", ".join(fitted)
    return fitted, (f"{name} was not fitted ({told} were)" if name else f"the precision is not told, so all of {told}")


def is_extrapolated(energy: Energy) -> bool:
    """A figure outside the domain of its fit: it ranks nothing across precisions."""
    return energy.kind == KIND and energy.source.startswith(FLAG)
