"""After how many inferences a search is paid back, with an interval that may have no end. Pure.

E. C. Fieller, "Some problems in interval estimation", Journal of the Royal Statistical Society B 16 (1954): the
interval of a ratio of two normal estimates is all ratios that a test would not reject. Where the saving cannot be told
from nothing it has no upper end, and that is the answer: perhaps never.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from pipeline.statistics import ALPHA

Z = NormalDist().inv_cdf(1 - ALPHA / 2)


@dataclass(frozen=True)
class BreakEven:
    """Inferences until the saving equals the cost, with its 95 % interval.

    `inferences` None: never, nothing is saved. `high` None: perhaps never. `low` None: never, at 95 %.
    """

    inferences: float | None
    low: float | None
    high: float | None

    def to_json(self) -> dict[str, Any]:
        """Plain data; `never` is `no`, `perhaps` or `yes`, as far as the interval tells."""
        certainty = "yes" if self.low is None else "perhaps" if self.high is None else "no"
        return {"inferences": self.inferences, "low": self.low, "high": self.high, "never": certainty}


def break_even(cost: float, cost_sd: float, saving: float, saving_sd: float) -> BreakEven:
    """`cost` over `saving` per inference, two independent estimates in one unit, each with its standard deviation.

    Errors: ValueError for a cost that is not above 0, or a deviation below 0.
    """
    if not (math.isfinite(cost) and cost > 0 and math.isfinite(saving)):
        raise ValueError(f"cost {cost} and saving {saving} have no break-even; give finite figures and a cost above 0")
    if not (0 <= cost_sd < math.inf and 0 <= saving_sd < math.inf):
        raise ValueError(f"standard deviations are {cost_sd} and {saving_sd}; give numbers from 0 up")
    low, high = _fieller(cost, Z * cost_sd, saving, Z * saving_sd)
    return BreakEven(cost / saving if saving > 0 else None, low, high)


def _fieller(a: float, da: float, b: float, db: float) -> tuple[float | None, float | None]:
    """Ends of the ratios r > 0 with (a - r b)^2 <= da^2 + r^2 db^2; (None, None) where there is no such r."""
    told_apart = abs(b) > db  # the saving from nothing
    if told_apart and b < 0:
        return None, None
    square, constant = b * b - db * db, a * a - da * da
    root = math.sqrt(max(0.0, a * a * b * b - square * constant))
    below = a * b + root  # the roots are constant / below and below / square: exact where `square` goes to 0
    if told_apart:
        return max(0.0, constant / below), below / square
    if constant <= 0:
        return 0.0, None  # neither is known from nothing
    return (constant / below, None) if below > 0 else (None, None)


def spread(low: float, high: float) -> float:
    """Relative standard deviation of a positive figure whose 95 % interval is `low` to `high`, by its logarithm."""
    return math.log(high / low) / (2 * Z)


def sentence(found: Mapping[str, Any]) -> str:
    """A `BreakEven` as JSON, in words: `after 3.1 million inferences [2 million, 4.9 million]`."""
    if found["never"] == "yes":
        return "never: it saves no energy"
    if found["inferences"] is None:
        return f"never by its figure, and at 95 % not before {count(found['low'])} inferences"
    if found["never"] == "perhaps":
        after = f"after {count(found['inferences'])} inferences"
        return f"{after}, at 95 % not before {count(found['low'])} and perhaps never"
    return f"after {count(found['inferences'])} inferences [{count(found['low'])}, {count(found['high'])}]"


def count(value: float) -> str:
    """A number of inferences to two digits: `850`, `1.2 million`."""
    rounded = float(f"{value:.2g}")
    for size, word in ((1e12, " trillion"), (1e9, " billion"), (1e6, " million")):
        if rounded >= size:
            return f"{rounded / size:.3g}{word}"
    return f"{rounded:,.0f}"
