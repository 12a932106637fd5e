"""The statement of a picked folder: kind and boundary always, a letter only where it is earned, and no big words."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from records_helper import make_record
from test_package import _parts, unreliable

from hardware_targets import Unmeasured
from pipeline.energy_ratio import EnergyRatio
from pipeline.label import label
from pipeline.package import Package, write_package
from pipeline.statement import LETTERS, band, bands, letter, statement

SVG = "{http://www.w3.org/2000/svg}"


def metered(span: tuple[float, float, float], **changes: Any) -> dict[str, Any]:
    spans: dict[str, Any] = dict(zip(("ratio", "ratio_low", "ratio_high"), span, strict=True))
    energy = {"mj": 22.0, "mj_low": 21.5, "mj_high": 22.5, "kind": "measured", "boundary": "package", "meter": "rapl"}
    return {"energy": {**energy, "source": "a counter", **spans, **changes}, "conditions": {"cpu_model": "CPU <1>"}}


def package(tmp_path: Path, measurement: dict[str, Any], **changes: Any) -> Package:
    parts = _parts(tmp_path)
    reference = {"sha256": "ab" * 32, "measurement": metered((1.0, 0.99, 1.01), kind=measurement["energy"].get("kind"))}
    parts["record"] = parts["record"].with_(measurement=measurement)
    return Package(**{**parts, "reference": reference, **changes})


def shown(svg: str) -> str:
    """The text that a reader of the picture sees."""
    found = ElementTree.fromstring(svg).iter(f"{SVG}text")
    return " ".join(" ".join((item.text or "").split()) for item in found)


@given(st.floats(2**-12, 2**6))
def test_a_letter_is_a_halving(ratio: float) -> None:
    place = LETTERS.index(band(ratio))
    upper = 2.0 ** (place - 5) if place < 6 else float("inf")
    lower = 2.0 ** (place - 6) if place > 0 else 0.0
    assert lower < ratio <= upper


def test_bands_are_those_that_are_documented() -> None:
    assert [band(ratio) for ratio in (1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0, 1.01)] == list("AABCDEFG")
    assert list(bands()) == list(LETTERS)
    assert bands()["E"] == "over 1/4 and at most 1/2" and bands()["F"] == "over 1/2 and at most 1"


def test_a_measured_ratio_within_one_band_earns_its_letter() -> None:
    assert letter(EnergyRatio(0.30, 0.29, 0.31), "measured")[0] == "E"


def test_an_interval_across_two_bands_earns_none() -> None:
    mark, why = letter(EnergyRatio(0.26, 0.24, 0.28), "measured")
    assert mark is None and "crosses" in why and "D to E" in why


@pytest.mark.parametrize("kind", ["modelled-generic", "declared"])
def test_what_nobody_metered_earns_none_however_sure_it_seems(kind: str) -> None:
    mark, why = letter(EnergyRatio(0.3, 0.3, 0.3), kind)
    assert mark is None and kind in why


def test_what_cannot_be_compared_earns_none_and_says_why() -> None:
    assert letter(Unmeasured("no meter here"), "measured") == (None, "no meter here")


def test_the_folder_has_both_and_they_name_everything(tmp_path: Path) -> None:
    parts = vars(package(tmp_path, metered((0.30, 0.29, 0.31))))
    out = write_package(tmp_path / "picked", **parts)
    said = json.loads((out / "statement.json").read_text())
    assert said["letter"] == "E" and said["relative_to_reference"] == {"value": 0.30, "low": 0.29, "high": 0.31}
    assert (said["energy"]["kind"], said["energy"]["boundary"]) == ("measured", "package")
    assert said["model"]["sha256"] == parts["record"].artifact["sha256"] and said["reference"]["sha256"] == "ab" * 32
    assert said["date"] and said["device"] == {"target": "local_cpu", "cpu_model": "CPU <1>"}
    assert said["interval"] == "95 % interval"
    text = shown((out / "label.svg").read_text())
    for words in ("22 mJ", "[21.5, 22.5], 95 %", "kind: measured", "boundary: package", "CPU <1>", "sha256", " E "):
        assert words in text, words
    assert "![Energy statement](label.svg)" in (out / "README.md").read_text()


def test_a_modelled_figure_says_so_and_has_no_letter(tmp_path: Path) -> None:
    generic = metered((0.3, 0.3, 0.3), kind="modelled-generic", ratio=None, boundary="server share")
    said = statement(package(tmp_path, generic))
    assert said["letter"] is None and said["interval"] == "band of the model"
    text = shown(label(said))
    assert "kind: modelled-generic" in text and "boundary: server share" in text and "no letter" in text
    marks = [
        item.text for item in ElementTree.fromstring(label(said)).iter(f"{SVG}text") if item.get("class") == "mark"
    ]
    assert marks == ["-"]


def test_no_figure_is_said_and_is_not_zero(tmp_path: Path) -> None:
    said = statement(package(tmp_path, {"energy": {"unmeasured": "no meter on this machine"}}))
    text = shown(label(said))
    assert said["energy"] == {"unmeasured": "no meter on this machine"} and said["interval"] is None
    assert "no energy figure" in text and text.count("no meter on this machine") == 1 and "mJ" not in text


@pytest.mark.parametrize("mark", [None, *LETTERS])
def test_every_letter_can_be_read_on_its_colour(tmp_path: Path, mark: str | None) -> None:
    """3 : 1 at least, as large text must have (WCAG 2.2, 1.4.3)."""
    said = {**statement(package(tmp_path, metered((0.30, 0.29, 0.31)))), "letter": mark}
    root = ElementTree.fromstring(label(said))
    ground = next(item.get("fill", "") for item in root.iter(f"{SVG}rect") if item.get("width") == "76")
    ink = re.search(r"\.mark {[^}]*fill: (#\w+)", "".join(root.itertext()))
    assert ink is not None
    light, dark = sorted((luminance(ground), luminance(ink[1])), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 3


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_nothing_claims_what_nobody_gave(tmp_path: Path) -> None:
    out = write_package(tmp_path / "picked", **vars(package(tmp_path, metered((0.30, 0.29, 0.31)))))
    for path in out.iterdir():
        text = path.read_bytes().lower()
        assert b"certif" not in text, path.name
        assert b"energy star" not in text and "★".encode() not in text, path.name
    assert "nobody else has checked it" in shown((out / "label.svg").read_text())


def test_the_word_is_nowhere_in_what_is_printed() -> None:
    import pipeline

    room = Path(pipeline.__file__).parent
    for path in [*room.rglob("*.py"), *(room / "templates").iterdir()]:
        assert "certified" not in path.read_text(encoding="utf-8").lower(), path.name


def test_long_reasons_are_wrapped_and_the_picture_is_small(tmp_path: Path) -> None:
    svg = label(statement(package(tmp_path, {"energy": {"unmeasured": "a long reason with many words " * 12}})))
    root = ElementTree.fromstring(svg)
    assert max(len(item.text or "") for item in root.iter(f"{SVG}text")) <= 66
    lowest = max(float(item.get("y", 0)) for item in root.iter(f"{SVG}text"))
    assert lowest < float(str(root.get("height"))) and len(svg) < 8000


def test_an_old_record_without_a_measurement_still_gets_its_statement(tmp_path: Path) -> None:
    parts = _parts(tmp_path)
    parts["record"] = make_record(12).with_(measurement=None)
    said = statement(Package(**parts))
    assert "no measurement" in said["energy"]["unmeasured"] and said["letter"] is None and label(said)


def test_unreliable_times_earn_no_letter(tmp_path: Path) -> None:
    quiet = package(tmp_path, metered((0.30, 0.29, 0.31)))
    busy = replace(quiet, record=unreliable(quiet.record))
    assert statement(quiet)["letter"] == "E" and not statement(quiet)["unreliable"]
    said = statement(busy)
    assert said["letter"] is None and "disturbed machine" in said["letter_why"] and said["unreliable"] and label(said)
