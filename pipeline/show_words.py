"""One trial in words: parameters, figures with intervals, curve, time, cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.metrics import known, text


def show_lines(found: Mapping[str, Any], name: str, number: int) -> list[str]:
    """A record in words: parameters, figures with intervals, curve, time."""
    head = f"trial {number} of {name}: {found['end']}" + (f", {found['reason']}" if found["reason"] else "")
    lines = [head]
    if found["final_of"] is not None:
        lines.append(f"it is trial {found['final_of']} distilled in full")
    if found["trained_by"] is not None:
        lines.append(f"its training is that of trial {found['trained_by']}")
    if found["inherited_from"] is not None:
        lines.append(f"it began with the weights of trial {found['inherited_from']}'s student")
    if found["resumed_from"] is not None:
        lines.append(f"it goes on with the training of trial {found['resumed_from']}, which was stopped at a rung")
    if found["rung"] is not None:
        lines.append(f"stopped after {found['rung']} epochs: rung_accuracy {found['rung_accuracy']:.4f} (torch model)")
    if found["continued_in"] is not None:
        lines.append(f"trial {found['continued_in']} went on with it, and counts in its place")
    if found["lent_by"] is not None:
        search, _, theirs = found["lent_by"].rpartition("#")
        lines.append(f"its file is that of trial {theirs} of search {search}; only measured and scored here")
    lines += ["", "parameters"]
    lines += [f"  {key} = {value}" for key, value in found["candidate"]["values"].items()]
    scored = found["end"] in ("complete", "duplicate")
    shown = known(found["end"], found["metrics"])
    lines += ["", "figures (validation)" if scored else "figures of the untrained twin"] if shown else []
    for metric, value in shown.items():
        pair = found["intervals"].get(metric)
        span = f"  [{text(metric, pair[0])}, {text(metric, pair[1])}]" if pair else ""
        over = found["violations"].get(metric, 0)
        lines.append(f"  {metric:<30} {text(metric, value)}{span}" + (f"  {over:.0%} over budget" if over > 0 else ""))
    energy = (found["measurement"] or {}).get("energy") or {}
    if energy:
        lines.append(
            f"  energy: {energy.get('kind') or energy.get('unmeasured')}, {energy.get('boundary', '')}".rstrip(", ")
        )
    if scored and found["screened"]:
        pairs = [(name, before) for name, before in found["screened"].items() if before and name in found["metrics"]]
        drift = (f"{name} {found['metrics'][name] / before - 1:+.1%}" for name, before in pairs)
        lines.append(f"  against its untrained twin: {', '.join(drift)}")
    for earlier in found["earlier_timing"]:
        before = text("latency_p50_ms", earlier["metrics"].get("latency_p50_ms"))
        lines.append(f"  timed before on a disturbed machine, until {earlier['until'][:10]}: {before}")
    if found["curve"]:
        lines += ["", "curve (torch model, validation)"]
        lines += [
            f"  epoch {row['epoch']:g}: loss {row['loss']:.4f}, {row['rung_accuracy']:.4f}" for row in found["curve"]
        ]
    if found["seconds"]:
        lines += ["", "seconds: " + ", ".join(f"{phase} {value:.1f}" for phase, value in found["seconds"].items())]
    lines += found["footprint"]["sentences"]
    lines += [f"note: {note}" for note in found["notes"]]
    cut_off = found["end"] == "interrupted"
    following = "the search's own command goes on with it" if cut_off else f"niwaki rerun {name} {number}"
    return [*lines, f"files: {found['folder']}", f"next: {following}"]
