"""The statement as a small picture, `label.svg`: the figure, its kind and boundary, the letter or why there is none."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from pipeline.metrics import text
from pipeline.report import interval_text
from pipeline.statement import LETTERS

# Blue to orange: told apart by the colour-blind, and nobody's scheme of red and green.
COLOURS = dict(zip(LETTERS, ("#08519c", "#2171b5", "#4292c6", "#6baed6", "#fdae6b", "#e6550d", "#a63603"), strict=True))
NONE = "#6b757e"
_PALE = "DE"  # bands on which white could not be read
_WIDTH = 66  # characters of a line
_LINE = 15  # pixels
_TOP = 118  # where the small print begins


def label(said: Mapping[str, Any]) -> str:
    """The picture of a statement, as SVG text of about 4 kB; its height follows the lines that it needs."""
    template = Template(files("pipeline").joinpath("templates/label.svg.txt").read_text(encoding="utf-8"))
    lines = [part for line in _lines(said) for part in textwrap.wrap(line, _WIDTH, subsequent_indent="  ")]
    mark = said["letter"]
    height = _TOP + _LINE * len(lines) + 8
    return template.substitute(
        height=height,
        inside=height - 1,
        title=escape(f"Energy of {said['model']['name']}"),
        description=escape("; ".join(_lines(said))),
        name=escape(textwrap.shorten(said["model"]["name"], 40, placeholder="...")),
        figure=escape(_figure(said["energy"])),
        interval=escape(_interval(said)),
        colour=COLOURS.get(mark, NONE),
        ink="#1c2733" if mark and mark in _PALE else "#fff",
        mark=escape(mark or "-"),
        under=escape("of teacher" if mark else "no letter"),
        lines="\n".join(
            f'  <text x="16" y="{_TOP + _LINE * place}" class="small" xml:space="preserve">{escape(line)}</text>'
            for place, line in enumerate(lines)
        ),
    )


def _figure(energy: Mapping[str, Any]) -> str:
    return text("energy_mj", energy["mj"]) if "mj" in energy else "no energy figure"


def _interval(said: Mapping[str, Any]) -> str:
    energy = said["energy"]
    if "mj" not in energy:
        return ""
    return f"per inference{interval_text('energy_mj', (energy['mj_low'], energy['mj_high']))}, {said['interval']}"


def _lines(said: Mapping[str, Any]) -> list[str]:
    energy, device, ratio = said["energy"], said["device"], said["relative_to_reference"]
    if "mj" in energy:
        lines = [f"kind: {energy['kind']}", f"boundary: {energy['boundary']}"]
    else:
        lines = [f"energy: {energy['unmeasured']}"]
    if "value" in ratio:
        lines.append(f"{ratio['value']:.2g} [{ratio['low']:.2g}, {ratio['high']:.2g}] of the teacher's energy")
    why = said["letter_why"] if "mj" in energy else "there is no energy figure"
    lines.append(f"letter: {said['letter'] or 'none'}: {why}")
    where = [device["target"], device.get("cpu_model"), device.get("runtime")]
    lines.append(f"device: {', '.join(str(part) for part in where if part)}")
    lines.append(f"{said['date'][:10]}; model sha256 {said['model']['sha256'][:16]}")
    lines.append(f"reference: {said['reference']['what']}, sha256 {str(said['reference']['sha256'])[:16]}")
    return [*lines, said["basis"]]
