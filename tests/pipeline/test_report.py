from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from records_helper import TEACHER, make_record, make_report, make_search
from rich.console import Console

from pipeline.energy_words import MARKS, energy_sentence
from pipeline.findings import best_int8
from pipeline.front_words import footer
from pipeline.report import (
    columns,
    footnotes,
    headline,
    lines,
    table,
    to_csv,
    to_json,
    write_csv,
    write_json_report,
    write_png,
    write_report,
)
from pipeline.report_page import page, parallel, scatter, write_page
from pipeline.report_plot import _name, picture, staircase
from pipeline.report_trials import trials_table
from search_spaces.candidate import Candidate

SEALED = {
    "created": "2026-11-24T08:00:00+00:00",
    "rows": 360,
    "teacher": {"accuracy": 339 / 360, "macro_f1": 0.94},
    "trials": {"2": {"accuracy": 324 / 360, "macro_f1": 0.89}},
}


def _small(**changes):  # type: ignore[no-untyped-def]
    records = [
        make_record(1, 0.80, 1.0, energy=4.5, scheme="static_int8", size=0.25),
        make_record(2, 0.90, 5.0, energy=22.5, student="transformer"),
        make_record(3, 0.85, 9.0),
        make_record(4, end="refused", accuracy=0.1, latency=30.0, reason="over budget"),
        make_record(5, end="failed", accuracy=None, latency=None, reason="the loss is not a number"),
    ]
    return make_report(records, **{"indistinguishable": {1: (2,), 2: (1,)}, **changes})


@pytest.mark.parametrize("kind", MARKS)
def test_energy_sentence_names_kind_boundary_and_source(kind: str) -> None:
    said = energy_sentence(kind, "package+dram", "powercap")
    assert said.startswith(f"Energy is {kind} (boundary: package+dram, powercap): ") and said.endswith(".")


def test_energy_sentence_says_what_a_model_cannot_and_what_is_not_there() -> None:
    assert "ranks nothing across precisions" in energy_sentence("modelled-generic", "package", "a table")
    assert energy_sentence(None, None, "no counter in this virtual machine") == (
        "Energy: no figure (no counter in this virtual machine)."
    )
    assert "do not compare" in energy_sentence("guessed", None, None)


def test_table_has_the_teacher_first_then_the_front_by_latency() -> None:
    found = dict(columns(_small()))
    assert found["trial"] == ["teacher", "1", "2"]
    assert found["scheme"] == ["none", "static_int8", "none"]
    assert found["accuracy"] == ["0.9500 [0.941, 0.957]", "0.8000 [0.790, 0.810]", "0.9000 [0.890, 0.910]"]
    assert found["of teacher"] == ["100.0 %", "84.2 %", "94.7 %"]
    assert found["p50"] == ["20 ms", "1 ms", "5 ms"]
    assert found["speedup"] == ["1x", "20x [19.6, 20.4]", "4x [3.92, 4.08]"]
    assert found["energy"] == ["90 mJ (g)", "4.5 mJ (g)", "22.5 mJ (g)"]
    assert found["size"] == ["40 MB", "0.25 MB", "1 MB"]
    assert found["≈"] == ["", "2", "1"]
    assert "test" not in found


def test_finals_stand_beside_the_trial_and_beside_each_other() -> None:
    finals = [make_record(6, 0.91, 4.9), make_record(7, 0.89, 4.9)]
    taught = finals[0].candidate.values
    finals = [one.with_(final_of=2, candidate=Candidate(taught, 1000 + one.number)) for one in finals]
    report = _small()
    whole = make_report([*report.records, *finals])
    found = dict(columns(whole))
    by_trial = dict(zip(found["trial"], found["in full"], strict=True))
    assert by_trial["1"] == "" and by_trial["6"] == "0.9000 ±0.0141 (2)"  # 6 is on the front by luck; its row says so
    assert "in full" not in dict(columns(report))
    assert any(note.startswith("in full: mean") for note in footnotes(whole))
    row = next(row for row in to_json(whole)["front"] if row["number"] == 6)
    assert row["final_of"] == 2 and row["in_full"] == {
        "trials": [6, 7], "mean": pytest.approx(0.9), "sd": pytest.approx(0.02 / 2**0.5)
    }  # fmt: skip
    assert next(csv.DictReader(io.StringIO(to_csv(whole))))["in_full_mean"] == ""


def test_columns_without_a_figure_are_left_out_and_the_sentence_says_why() -> None:
    report = make_report(
        [make_record(1, kind=None)],
        objectives=("accuracy", "latency_p50_ms"),
        teacher={name: value for name, value in TEACHER.items() if name != "energy_mj"},
        front_numbers=(1,),
        energy_kind=None,
        energy_boundary=None,
        energy_source="no counter here",
        indistinguishable={},
    )
    assert {"energy", "≈"}.isdisjoint(dict(columns(report)))
    assert footnotes(report)[0] == "Energy: no figure (no counter here)."


def test_sealed_test_figures_stand_in_their_own_column() -> None:
    report = _small(test=SEALED)
    assert dict(columns(report))["test"] == ["0.9417 [0.912, 0.962]", "-", "0.9000 [0.865, 0.927]"]
    by_f1 = _small(test=SEALED, quality="macro_f1", objectives=("macro_f1", "latency_p50_ms"))
    assert dict(columns(by_f1))["test"] == ["0.9400", "-", "0.8900"]
    assert "test: 360 rows, scored once, 2026-11-24; it chose nothing." in footnotes(report)


def test_lines_and_table_say_the_same() -> None:
    report = _small(test=SEALED)
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(table(report))
    shown = console.export_text()
    assert (
        headline(report) == "digits on local_cpu, 2026-11-23: 2 of 3 complete trials on the front (1 refused, 1 failed)"
    )
    for cell in (cell for _, cells in columns(report) for cell in cells):
        assert cell.replace(", ", ",") in shown
        assert cell in "\n".join(lines(report))
    for note in footnotes(report):
        assert note in lines(report)
        assert note.split(":")[0] in shown


def test_the_teachers_own_best_int8_is_no_file_that_broke() -> None:
    own = [("static_int8", 0.10, 1.0), ("dynamic_int8", 0.90, 3.0), ("static_int8", 0.88, 2.0), ("none", 0.95, 0.5)]
    records = [
        make_record(number, accuracy, latency, student="identity", scheme=scheme)
        for number, (scheme, accuracy, latency) in enumerate(own)
    ]
    assert best_int8([*records, make_record(9, 0.99, 0.1)], "accuracy") == [2, 1]
    assert best_int8(records[3:], "accuracy") == []


def test_figures_whose_seal_is_broken_are_not_shown_and_that_is_said() -> None:
    report = _small(test=None, test_void="test.json was changed after it was sealed")
    assert "test" not in dict(columns(report))
    assert "test: test.json was changed after it was sealed." in footnotes(report)


def test_json_and_csv_hold_the_front_and_the_teacher(tmp_path: Path) -> None:
    report = _small(test=SEALED, budget={"latency_p50_ms": 6.0})
    write_json_report(report, tmp_path / "front.json")
    data = json.loads((tmp_path / "front.json").read_text())
    assert data == json.loads(json.dumps(to_json(report), allow_nan=False))
    assert [point["number"] for point in data["front"]] == [1, 2]
    assert data["teacher"]["metrics"]["latency_p50_ms"] == 20.0
    assert data["energy"]["kind"] == "modelled-generic" and "ranks nothing" in data["energy"]["says"]
    assert data["trials"] == {"complete": 3, "refused": 1, "failed": 1}
    write_csv(report, tmp_path / "front.csv")
    rows = list(csv.DictReader((tmp_path / "front.csv").read_text().splitlines()))
    assert [row["trial"] for row in rows] == ["teacher", "1", "2"]
    assert {(row["energy_kind"], row["energy_boundary"]) for row in rows} == {("modelled-generic", "package")}
    assert rows[1]["quantize.scheme"] == "static_int8" and rows[1]["energy_kind"] == "modelled-generic"
    assert float(rows[2]["accuracy"]) == 0.9 and float(rows[2]["accuracy_low"]) == pytest.approx(0.89)
    assert to_csv(report) == (tmp_path / "front.csv").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["front.csv", "front.json"]


def test_all_four_files_are_written_and_named(tmp_path: Path) -> None:
    found = write_report(_small(), tmp_path)
    assert [path.name for path in found] == ["front.json", "front.csv", "front.png", "front.html"]
    assert sorted(found) == sorted(tmp_path.iterdir())


@pytest.mark.parametrize(("test", "width"), [(None, 112), (SEALED, 126)])
def test_a_narrow_terminal_keeps_intervals_and_names_whole(test: dict[str, object] | None, width: int) -> None:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(table(_small(test=test)))
    shown = console.export_text()
    assert "…" not in shown
    for part in ("[0.890,0.910]", "[3.92,4.08]", "transformer", "static_int8", "22.5 mJ (g)"):
        assert part in shown


def test_png_is_1000_by_650_and_shows_points_where_there_are_some(tmp_path: Path) -> None:
    write_png(make_report(budget={"latency_p50_ms": 5.0, "accuracy": 0.9}), tmp_path / "front.png")
    with Image.open(tmp_path / "front.png") as opened:
        image = opened.convert("RGB")
    assert image.size == (1000, 650)
    colours = {colour for count, colour in image.getcolors(maxcolors=1 << 20) if count > 20}
    assert {(0xE6, 0x9F, 0x00), (0xF0, 0xC0, 0x00)} <= colours  # a static_int8 marker, the teacher's star


@pytest.mark.parametrize(
    "changes",
    [
        {"front_numbers": (), "records": (), "indistinguishable": {}},
        {"teacher": {}},
        {"objectives": ("accuracy", "size_mb")},
        {"objectives": ("accuracy", "speedup")},
    ],
)
def test_reports_of_odd_searches_can_be_drawn(changes, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    report = make_report(**changes)
    write_png(report, tmp_path / "front.png")
    with Image.open(tmp_path / "front.png") as image:
        assert image.size == (1000, 650)
    assert report.name in page(report)
    assert lines(report)


def test_pictures_need_no_pyplot() -> None:
    code = "import sys, pipeline.report_plot, pipeline.report_page; print('matplotlib.pyplot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_staircase_keeps_the_corners() -> None:
    points = [(1, 0.5), (2, 0.4), (3, 0.9), (1, 0.3), (3, 0.8)]
    assert staircase(points) == [(1, 0.5), (3, 0.9)]
    assert staircase(points, maximize_cost=True) == [(3, 0.9)]
    assert staircase([]) == []


class _Tags(HTMLParser):
    """Collects what a browser would fetch, and the rows of the table."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.rows = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.rows += tag == "tr"
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action")]


def test_page_is_one_file_without_network(tmp_path: Path) -> None:
    report = make_report(make_search(30))
    write_page(report, tmp_path / "front.html")
    text = (tmp_path / "front.html").read_text(encoding="utf-8")
    tags = _Tags()
    tags.feed(text)
    assert tags.fetched == []
    assert tags.rows == 1 + 1 + 30  # headings, teacher, every trial
    assert not re.search(r"url\(\s*['\"]?http|@import", text.split("<script>")[0])
    assert '"showSendToCloud": false' in text or '"showSendToCloud":false' in text
    assert "ranks nothing across precisions" in text and "Teacher: accuracy 0.9500" in text


def test_page_escapes_what_trials_say() -> None:
    evil = "<img src=x onerror=alert(1)></script>"
    record = make_record(1, parameters={"distill.augment": evil})
    refused = make_record(2, end="refused", reason=evil)
    text = page(make_report([record, make_record(3, 0.95), refused], name="a<b"))
    assert evil not in text and "onerror=alert(1)></script>" not in text
    assert "<h1>a&lt;b</h1>" in text


def test_hover_holds_every_parameter_and_figure() -> None:
    report = _small()
    traces = {trace.name: trace for trace in scatter(report).data if trace.name}
    assert set(traces) == {"off the front", "front, float32", "front, static_int8", "teacher"}
    (hover,) = traces["front, static_int8"].text
    for part in (
        "trial 1",
        "quantize.scheme: static_int8",
        "accuracy: 0.8000 [0.790, 0.810]",
        "energy_mj: 4.5 mJ",
        "size_mb",
    ):
        assert part in hover
    assert "(modelled-generic)" in hover
    assert list(traces["front, static_int8"].x) == [1.0] and list(traces["teacher"].y) == [0.95]


def test_the_menu_moves_every_trace_to_the_chosen_cost() -> None:
    figure = scatter(_small())
    buttons = {button.label: button.args for button in figure.layout.updatemenus[0].buttons}
    assert list(buttons) == ["latency_p50_ms", "energy_mj", "size_mb"]
    xs = buttons["size_mb"][0]["x"]
    assert len(xs) == len(figure.data)
    assert xs[-1] == (40.0,) or list(xs[-1]) == [40.0]


def test_parallel_coordinates_give_a_missing_parameter_a_place_of_its_own() -> None:
    records = [
        make_record(1, parameters={"distill.learning_rate": 0.001, "prune.ratio": 0.5}),
        make_record(2, parameters={"distill.learning_rate": 0.1, "prune.ratio": 0.0}),
        make_record(3, student="identity", scheme="fp16"),
    ]
    axes = {axis.label: axis for axis in parallel(make_report(records)).data[0].dimensions}
    rate = axes["distill.learning_rate"]
    assert rate.values[0] == -3 and rate.values[1] == -1 and rate.values[2] < -3  # by logarithm
    assert rate.ticktext[0] == "-" and rate.ticktext[-1] == "0.1"
    assert list(axes["prune.ratio"].values[:2]) == [0.5, 0.0]
    assert list(axes["student"].ticktext) == ["convnet", "identity"]
    assert {"accuracy", "latency_p50_ms", "energy_mj"} <= set(axes)


def test_stopped_trials_are_counted_in_the_headline_and_told_below() -> None:
    records = [make_record(1), make_record(2, end="stopped"), make_record(3, end="stopped").with_(continued_in=9)]
    report = make_report(records)
    assert "(2 stopped)" in headline(report)
    told = "\n".join(footer(report, Path("mlruns")))
    assert "1 student was stopped at a rung (trial 2)" in told


def test_a_refused_trial_shows_no_quality_that_was_never_measured() -> None:
    shown = trials_table(_small())
    row = next(part for part in shown.split("<tr") if "over budget" in part)
    assert "0.1000" not in row and "30 ms" in row


def test_what_cannot_be_told_apart_stands_in_page_and_csv() -> None:
    report = _small()
    (hover,) = next(trace.text for trace in scatter(report).data if trace.name == "front, static_int8")
    assert "≈ 2: a paired test cannot tell their accuracy from this one's" in hover
    shown = trials_table(report)
    place = re.findall(r"<button>(.*?)</button>", shown).index("≈")
    rows = {row.split("<td")[1].partition(">")[2][:1]: row.split("<td") for row in shown.split("<tr")[3:]}
    assert [rows[number][place + 1] for number in "123"] == [">2</td>", ">1</td>", "></td>"]
    told = list(csv.DictReader(io.StringIO(to_csv(report))))
    assert [row["indistinguishable"] for row in told] == ["", "2", "1"]
    assert "≈" not in "".join(str(trace.text) for trace in scatter(_small(indistinguishable={})).data)


def test_what_cannot_be_told_apart_stands_in_the_picture() -> None:
    report = make_report()
    numbers = report.front_numbers
    drawn = {number: tuple(other for other in numbers if other != number) for number in numbers}
    assert _name(make_report(indistinguishable=drawn), numbers[0]) == f"{numbers[0]}≈"
    assert _name(make_report(indistinguishable={}), numbers[0]) == str(numbers[0])
    pictures = [picture(make_report(indistinguishable=ties)) for ties in (drawn, {})]
    some, none = (Image.open(io.BytesIO(data)).convert("L").crop((810, 340, 1000, 540)) for data in pictures)
    assert none.getextrema() == (255, 255) and some.getextrema()[0] < 100, "a list at the lower right"


def test_unreliable_trials_are_told() -> None:
    good, bad = make_record(1, 0.8, 5.0), make_record(2, 0.9, 4.0)
    bad = bad.with_(measurement={**(bad.measurement or {}), "latency": {"unreliable": True}})
    busy = (
        "1 of 2 complete trials (2) were timed while the machine was busy; they are unreliable, and kept off the front."
    )
    assert busy in footnotes(make_report([good, bad]))
    assert any(
        note.startswith("No trial on the front was timed on a quiet machine") for note in footnotes(make_report([bad]))
    )
    assert not any("unreliable" in note for note in footnotes(make_report([good])))
