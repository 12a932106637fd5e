"""Fitting watts to a table of metered rows, and finding out how wrong they are for a family that was not in it.

The form was fixed on MLPerf v2.0 and v2.1 (`benchmarks/energy_model.py` tells what was tried): the logarithm of the
watts is an intercept per precision plus slopes over log rate and log latency, ridge on the slopes, Huber's weights
against odd rows (Huber 1964, doi 10.1214/aoms/1177703732). Leave-one-family-out, because candidates of a search are
no neighbours of the rows; the band is the ceil(0.9 (n + 1))-th smallest error, as in split conformal prediction (Vovk
et al., arXiv 0706.3188).
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hardware_targets._energy_model import Curve, DeviceModel, RuntimeModel, terms_of
from hardware_targets._errors import TargetError

SHRINK = 15.0  # in rows x squared logarithm: some 50 rows over a decade keep most of their slope, 10 rows little of it
HUBER = 1.345  # 95 % efficient where the errors are normal
ROUNDS = 20
BY_RATE, BY_TIME = ("rate", "latency"), ("latency",)
LEAST = 10  # rows with a leave-one-out error, below which a 90th percentile is not told


@dataclass(frozen=True)
class Row:
    """One metered model: energy of an inference and its latency; `model` pairs the same network at two precisions."""

    runtime: str
    threads: int | None
    precision: str
    family: str
    latency_ms: float
    energy_mj: float
    macs_m: float | None = None
    model: str | None = None


@dataclass(frozen=True)
class Validation:
    """Leave-one-family-out: log(predicted / true) and whether the nested band held it, NaN / False where untold."""

    errors: np.ndarray
    inside: np.ndarray | None

    @property
    def told(self) -> np.ndarray:
        told: np.ndarray = self.errors[np.isfinite(self.errors)]
        return told

    @property
    def median(self) -> float:
        return float(np.median(np.abs(np.expm1(self.told))))


def fit(rows: Sequence[Row], terms: tuple[str, ...]) -> Curve:
    """The curve through all rows, its band not yet known (1.0)."""
    names = sorted({row.precision for row in rows})
    points = np.array([terms_of(terms, row.latency_ms, row.macs_m) for row in rows])
    centre = points.mean(axis=0)
    own = np.array([[row.precision == name for name in names] for row in rows], dtype=float)
    # common slopes, and what each precision differs from them by; both are shrunk, so few rows of one precision lean
    # on all
    about, apart = points - centre, own - 1 / len(names)
    design = np.hstack([own, about, *(about * apart[:, [index]] for index in range(len(names)))])
    goal = np.log([row.energy_mj / row.latency_ms for row in rows])
    count = len(terms)
    found = _robust(
        design, goal, np.repeat([0.0, SHRINK, SHRINK / len(names)], [len(names), count, count * len(names)])
    )
    slopes = found[len(names) :].reshape(-1, count)
    exponents = {
        name: _plain(slopes[0] + slopes[index + 1] - slopes[1:].mean(axis=0)) for index, name in enumerate(names)
    }
    watts = {name: float(np.exp(found[index])) for index, name in enumerate(names)}
    low, high = points.min(axis=0), points.max(axis=0)
    return Curve(terms, _plain(centre), _plain(low), _plain(high), watts, exponents, 1.0, 0.0, None)


def _robust(design: np.ndarray, goal: np.ndarray, shrink: np.ndarray) -> np.ndarray:
    """Ridge regression, reweighted by Huber's rule."""
    weights = np.ones(len(goal))
    for _ in range(ROUNDS):
        found = np.linalg.solve(design.T @ (design * weights[:, None]) + np.diag(shrink), design.T @ (weights * goal))
        size = np.abs(design @ found - goal)
        scale = 1.4826 * float(np.median(size)) + 1e-9
        weights = np.minimum(1.0, HUBER * scale / np.maximum(size, 1e-12))
    return found


def left_out(rows: Sequence[Row], terms: tuple[str, ...]) -> np.ndarray:
    """log(predicted / true) of every row by a fit without its family; NaN where nothing else has its precision."""
    errors = np.full(len(rows), np.nan)
    for family in {row.family for row in rows}:
        others = [row for row in rows if row.family != family]
        if not others:
            continue
        curve = fit(others, terms)
        for index, row in enumerate(rows):
            if row.family == family and row.precision in curve.watts:
                predicted = curve.energy_mj(row.precision, row.latency_ms, row.macs_m)
                errors[index] = math.log(predicted / row.energy_mj)
    return errors


def band_of(errors: np.ndarray) -> float | None:
    """The factor that 90 % of the errors stay within; None below ten of them."""
    sizes = np.sort(np.abs(errors[np.isfinite(errors)]))
    if len(sizes) < LEAST:
        return None
    rank = min(len(sizes), math.ceil(0.9 * (len(sizes) + 1)))
    return math.exp(float(sizes[rank - 1]))


def validate(rows: Sequence[Row], terms: tuple[str, ...]) -> Validation:
    """Errors of unseen families, and whether a band found on the other families alone (nested) holds them."""
    errors = left_out(rows, terms)
    inside = np.zeros(len(rows), dtype=bool)
    for family in {row.family for row in rows}:
        others = [row for row in rows if row.family != family]
        band = band_of(left_out(others, terms)) if len({row.family for row in others}) > 1 else None
        if band is None:
            return Validation(errors, None)
        own = np.array([row.family == family for row in rows])
        inside |= own & (np.abs(errors) <= math.log(band))
    return Validation(errors, inside)


def order_right(rows: Sequence[Row], errors: np.ndarray) -> tuple[int, int]:
    """(pairs in the right order, pairs): the same `model` at two precisions, ranked by the left-out predictions."""
    pairs = right = 0
    for index, row in enumerate(rows):
        for later in range(index + 1, len(rows)):
            other = rows[later]
            if row.model is None or row.model != other.model or row.precision == other.precision:
                continue
            if not np.isfinite(errors[[index, later]]).all():
                continue
            true = math.log(row.energy_mj / other.energy_mj)
            pairs += 1
            right += (true > 0) == (true + errors[index] - errors[later] > 0)
    return right, pairs


def calibrate(
    rows: Sequence[Row],
    *,
    device: str,
    boundary: str,
    source: str,
    date: str | None = None,
    latency_statistic: str = "median",
    sources: dict[str, str] | None = None,
) -> DeviceModel:
    """One model per runtime and number of threads. `sources`: by runtime, where they differ. Errors: TargetError."""
    if not boundary.strip():
        raise TargetError("it is not told where the meter sat; give --boundary, e.g. wall, module, package")
    groups: dict[tuple[str, int | None], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.runtime, row.threads), []).append(row)
    if not groups:
        raise TargetError("the table has no rows; give metered rows of at least two families")
    when = date or datetime.date.today().isoformat()
    models = tuple(_model(group, (sources or {}).get(group[0].runtime, "")) for group in groups.values())
    return DeviceModel(device, boundary, latency_statistic, source, when, models)


def _model(rows: Sequence[Row], source: str) -> RuntimeModel:
    place = f"{rows[0].runtime}, threads {rows[0].threads or 'not stated'}"
    families = sorted({row.family for row in rows})
    if len(families) < 2:
        raise TargetError(
            f"{place}: all rows are of family {families[0]!r}, so nothing tells how wrong a fit is for another; "
            "add rows of a second family"
        )
    by_time = _curve(rows, BY_TIME, place)
    curves = (by_time,) if any(row.macs_m is None for row in rows) else (_curve(rows, BY_RATE, place), by_time)
    ranges = {}
    for name in sorted({row.precision for row in rows}):
        times = [row.latency_ms for row in rows if row.precision == name]
        ranges[name] = (min(times), max(times))
    return RuntimeModel(rows[0].runtime, rows[0].threads, source, len(rows), tuple(families), ranges, curves)


def _curve(rows: Sequence[Row], terms: tuple[str, ...], place: str) -> Curve:
    found = validate(rows, terms)
    for name in sorted({row.precision for row in rows}):
        if not any(np.isfinite(found.errors[index]) for index, row in enumerate(rows) if row.precision == name):
            raise TargetError(
                f"{place}: all {name} rows are of one family; add {name} rows of another, or leave them out"
            )
    band = band_of(found.errors)
    if band is None:
        raise TargetError(f"{place}: {len(found.told)} rows are too few for a 90 % band; it takes {LEAST}")
    covered = None if found.inside is None else float(found.inside[np.isfinite(found.errors)].mean())
    return replace(fit(rows, terms), band=band, median_error=found.median, covered=covered)


def _plain(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
