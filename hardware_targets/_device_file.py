"""Device descriptions as YAML: what was fitted, on which rows, how wrong it was, and where it holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from hardware_targets._energy_model import Curve, DeviceModel, RuntimeModel
from hardware_targets._errors import TargetError, unknown

DEVICES = Path(__file__).parent / "devices"
DIGITS = 5


def device_names() -> list[str]:
    """The descriptions that come with the package."""
    return sorted(path.stem for path in DEVICES.glob("*.yaml"))


def device_path(device: str | Path) -> Path:
    """A name from the package, or a path. Errors: UnknownPart, TargetError."""
    path = Path(device)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise TargetError(f"there is no device description {path}; write one with `calibrate TABLE --out {path}`")
        return path
    if str(device) not in device_names():
        raise unknown("device", str(device), device_names())
    return DEVICES / f"{device}.yaml"


def read_device(path: Path) -> DeviceModel:
    """The description in a file that `write_device` wrote. Errors: TargetError."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        return DeviceModel(
            device=str(data["device"]),
            boundary=str(data["boundary"]),
            latency_statistic=str(data["latency_statistic"]),
            source=str(data["source"]),
            date=str(data["date"]),
            models=tuple(_model(item) for item in data["models"]),
        )
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise TargetError(
            f"{path.name} is no device description ({type(error).__name__}: {error}); write it anew with `calibrate`"
        ) from error


def write_device(model: DeviceModel, path: Path) -> None:
    """The description as YAML, figures to five digits."""
    text = yaml.safe_dump(device_json(model), sort_keys=False, width=118, default_flow_style=None, allow_unicode=True)
    path.write_text(text, encoding="utf-8")


def device_json(model: DeviceModel) -> dict[str, Any]:
    """The description as plain data."""
    head = {name: getattr(model, name) for name in ("device", "boundary", "latency_statistic", "source", "date")}
    return {**head, "models": [_plain(item) for item in model.models]}


def _plain(model: RuntimeModel) -> dict[str, Any]:
    return {
        "runtime": model.runtime,
        "threads": model.threads,
        "source": model.source,
        "rows": model.rows,
        "families": list(model.families),
        "latency_ms": {name: [_short(low), _short(high)] for name, (low, high) in model.latency_ms.items()},
        "curves": [_curve_plain(curve) for curve in model.curves],
    }


def _curve_plain(curve: Curve) -> dict[str, Any]:
    lists = {name: [_short(value) for value in getattr(curve, name)] for name in ("centre", "low", "high")}
    return {
        "terms": list(curve.terms),
        **lists,
        "watts": {name: _short(value) for name, value in curve.watts.items()},
        "exponents": {name: [_short(value) for value in values] for name, values in curve.exponents.items()},
        "band": _short(curve.band),
        "median_error": _short(curve.median_error),
        "covered": None if curve.covered is None else _short(curve.covered),
    }


def _model(data: Mapping[str, Any]) -> RuntimeModel:
    curves = tuple(_curve(item) for item in data["curves"])
    if not any("rate" not in curve.terms for curve in curves):
        raise ValueError("there is no curve without a rate, which models of unknown MACs need")
    return RuntimeModel(
        runtime=str(data["runtime"]),
        threads=None if data["threads"] is None else int(data["threads"]),
        source=str(data["source"]),
        rows=int(data["rows"]),
        families=tuple(str(name) for name in data["families"]),
        latency_ms={str(name): (float(low), float(high)) for name, (low, high) in data["latency_ms"].items()},
        curves=curves,
    )


def _curve(data: Mapping[str, Any]) -> Curve:
    curve = Curve(
        terms=tuple(str(name) for name in data["terms"]),
        centre=_floats(data["centre"]),
        low=_floats(data["low"]),
        high=_floats(data["high"]),
        watts={str(name): float(value) for name, value in data["watts"].items()},
        exponents={str(name): _floats(values) for name, values in data["exponents"].items()},
        band=float(data["band"]),
        median_error=float(data["median_error"]),
        covered=None if data["covered"] is None else float(data["covered"]),
    )
    if not set(curve.terms) <= {"rate", "latency"}:
        raise ValueError(f"terms are {', '.join(curve.terms)}; there are rate and latency")
    if curve.band < 1 or min(curve.watts.values()) <= 0:
        raise ValueError("a band is a factor of 1 or more, and watts are above 0")
    return curve


def _floats(values: list[Any]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
