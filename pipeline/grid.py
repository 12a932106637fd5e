"""Grams of CO2 equivalent per kilowatt-hour of a country's grid, from the table beside this file or from the user."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml


@dataclass(frozen=True)
class Grid:
    """One factor; `basis` is lifecycle or direct, and two bases are never put into one figure."""

    country: str
    year: int
    g_per_kwh: float
    basis: str
    attribution: str


def known(country: str, year: int) -> Grid:
    """The table's factor. Errors: ValueError, a sentence, where it has none for this country and year."""
    table = _table()
    row = table["rows"].get(country)
    own = "or give `grid_g_per_kwh`, `basis` and `source` of your own"
    if row is None:
        raise ValueError(
            f"no grid factor for country {country!r}; name it by its three letters of ISO 3166-1 as in DEU, IND or "
            f"USA, {own}"
        )
    if row["year"] != year:
        raise ValueError(
            f"the grid factor of {country} is of {row['year']}, not of {year}; type `year: {row['year']}`, {own}"
        )
    return Grid(country, year, float(row["g_per_kwh"]), table["basis"], table["attribution"])


@cache
def _table() -> dict[str, Any]:
    text = files("pipeline").joinpath("grid_factors.yaml").read_text(encoding="utf-8")
    return dict(yaml.safe_load(text))
