"""One trial in words: parameters, figures with intervals, curve, time, cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.metrics import text


def show_lines(found: Mapping[str, Any], name: str, number: int) -> list[str]:
    """A record in words: parameters, figures with intervals, curve, time."""
    head = f"trial {number} of {name}: {found['end']}" + (f", {found['reason']}" if found["reason"] else "")
    lines = [head]
    if found["final_of"] is not None:
        lines.append(f"it is trial {found['final_of']} distilled in full")
    if found["trained_by"] is not None:
        lines.append(f"its training is that of trial {found['trained_by']}")
    if found["lent_by"] is not None:
        search, _, theirs = found["lent_by"].rpartition("#")
        lines.append(f"its file is that of trial {theirs} of search {search}; only measured and scored here")
    lines += ["", "parameters"]
    lines += [f"  {key} = {value}" for key, value in found["candidate"]["values"].items()]
    lines += ["", "figures (validation)"] if found["metrics"] else []
    for metric, value in found["metrics"].items():
        pair = found["intervals"].get(metric)
        span = f"  [{text(metric, pair[0])}, {text(metric, pair[1])}]" if pair else ""
        over = found["violations"].get(metric, 0)
        lines.append(f"  {metric:<30} {text(metric, value)}{span}" + (f"  {over:.0%} over budget" if over > 0 else ""))
    energy = (found["measurement"] or {}).get("energy") or {}
    if energy:
        lines.append(
            f"  energy: {energy.get('kind') or energy.get('unmeasured')}, {energy.get('boundary', '')}".rstrip(", ")
        )
    if found["curve"]:
        lines += ["", "curve (torch model, validation)"]
        lines += [
            f"  epoch {row['epoch']:g}: loss {row['loss']:.4f}, {row['rung_accuracy']:.4f}" for row in found["curve"]
        ]
    lines += ["", "seconds: " + ", ".join(f"{phase} {value:.1f}" for phase, value in found["seconds"].items())]
    lines += found["footprint"]["sentences"]
    lines += [f"note: {note}" for note in found["notes"]]
    return [*lines, f"files: {found['folder']}", f"next: niwaki rerun {name} {number}"]
