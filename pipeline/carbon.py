"""CO2 equivalent of 1,000 inferences and of the search, location-based. Never without a country and a year.

Software Carbon Intensity, ISO/IEC 21031:2024: (E x I + M) per R, with R = 1,000 inferences, no offsets. Without an
embodied part M the figure is operational only, and is not called SCI.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pipeline.config import CarbonConfig
from pipeline.own_energy import MJ_PER_KWH, OwnEnergy

R = 1000  # inferences
UNASKED = (
    "CO2e: no figure without a country and a year; name them in the search's file, e.g. `carbon: {country: DEU, "
    "year: 2024}`, and type niwaki search again"
)
_SECONDS_PER_YEAR = 365.25 * 86400


def assumptions(carbon: CarbonConfig) -> dict[str, Any]:
    """What every figure stands on: the grid's factor with its attribution, and the data centre's overhead."""
    return {**asdict(carbon.grid), "pue": carbon.pue}


def of_inferences(energy: Mapping[str, Any], latency_ms: float, carbon: CarbonConfig) -> dict[str, Any]:
    """Grams per 1,000 inferences with their band. `energy` is an Energy as JSON; it lends its kind and boundary."""
    factor = R / MJ_PER_KWH * carbon.pue * carbon.grid.g_per_kwh
    embodied = embodied_g(latency_ms, carbon)
    g, low, high = (energy[name] * factor + (embodied or 0.0) for name in ("mj", "mj_low", "mj_high"))
    return {
        "what": "operational only" if embodied is None else "SCI",
        "per_inferences": R,
        "g": g,
        "g_low": low,
        "g_high": high,
        "embodied_g": embodied,
        "kind": energy["kind"],
        "boundary": energy["boundary"],
    }


def of_search(own: OwnEnergy, carbon: CarbonConfig) -> dict[str, Any]:
    """Grams of the search itself, on the same grid."""
    factor = carbon.pue * carbon.grid.g_per_kwh
    g, low, high = (kwh * factor for kwh in (own.kwh, own.kwh_low, own.kwh_high))
    band = {"g": g, "g_low": low, "g_high": high}
    return {"what": "operational only", **band, "kind": own.kind, "boundary": own.boundary}


def embodied_g(latency_ms: float, carbon: CarbonConfig) -> float | None:
    """Embodied grams of 1,000 inferences by the share of the device's life that they take; None where not given."""
    if carbon.embodied_kg is None or carbon.lifetime_years is None:
        return None
    share = R * latency_ms / 1000 / (carbon.lifetime_years * _SECONDS_PER_YEAR)
    return carbon.embodied_kg * 1000 * share * carbon.device_share


def grid_sentence(said: Mapping[str, Any]) -> str:
    """Where the grams come from, with the attribution that the licence asks for."""
    return (
        f"CO2e on the grid of {said['country']}, {said['year']}: {said['g_per_kwh']:g} g/kWh, {said['basis']}, "
        f"location-based; PUE {said['pue']:g}; {said['attribution']}"
    )


def sentence(found: Mapping[str, Any]) -> str:
    """One figure in words, with its band, kind and boundary."""
    per = " per 1,000 inferences" if "per_inferences" in found else ""
    name = "SCI" if found["what"] == "SCI" else "operational only, not SCI"
    return (
        f"{found['g']:.3g} g CO2e{per} [{found['g_low']:.3g}, {found['g_high']:.3g}] ({name}); "
        f"energy {found['kind']}, boundary: {found['boundary']}"
    )
