"""What an energy figure is worth, in words. No figure is shown without its kind and its boundary."""

from __future__ import annotations

# The letter beside a figure in a table; the sentence below the table explains it.
MARKS = {
    "measured": "m",
    "measured-vendor-model": "v",
    "modelled-calibrated": "c",
    "modelled-generic": "g",
    "declared": "d",
}
_MEANING = {
    "measured": "read from a sensor or meter while the model ran",
    "measured-vendor-model": "a counter that the chip computes by its maker's own model; no meter was read",
    "modelled-calibrated": "watts metered on a like device, times the time measured here; read it with its band",
    "modelled-generic": "no counter on this machine; right to a factor of 1.5 at best, ranks nothing across precisions",
    "declared": "stated by the user; nothing was measured",
}


def energy_sentence(kind: str | None, boundary: str | None, source: str | None) -> str:
    """What the energy figures are worth, in one sentence; it stands under every table, plot and card."""
    if kind is None:
        return f"Energy: no figure ({source or 'nothing on this target measures it'})."
    facts = ", ".join(part for part in (f"boundary: {boundary}" if boundary else "", source or "") if part)
    meaning = _MEANING.get(kind, "a kind that this version does not know; do not compare it")
    return f"Energy is {kind}{f' ({facts})' if facts else ''}: {meaning}."
