"""The table over other tools' points, on doubles: neither Olive, NNCF nor a device is needed."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet as parquet
import pytest
from tokenizers import Tokenizer, models

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import peers
import peers_score
import peers_table
from peers_table import Point

import hardware_targets

LABELS = np.array([0, 1] * 50)


def point(name: str, wrong: int, ratio: float | None, half: float = 0.01) -> Point:
    """A point that errs in its first `wrong` rows."""
    answers = np.where(np.arange(len(LABELS)) < wrong, 1 - LABELS, LABELS)
    ends = None if ratio is None else (ratio, ratio * math.exp(-half), ratio * math.exp(half))
    return Point(name, answers, 20.0, ends)


def verdict(their: Point, *ours: Point) -> dict[str, Any]:
    (row,) = peers_table.rows([their], ours, LABELS)
    return row


def test_faster_and_as_accurate_is_dominated_by_how_much() -> None:
    row = verdict(point("int8", 10, 0.4), point("trial 3", 9, 0.1), point("trial 4", 40, 0.05))
    assert (row["verdict"], row["by"]) == ("dominated", "trial 3")
    assert row["accuracy"][0] == 0.9 and row["lead"][0] == pytest.approx(0.01)
    assert row["speedup"] == pytest.approx([2.5, 2.5 * math.exp(-0.01), 2.5 * math.exp(0.01)], rel=1e-4)
    assert row["faster"] == pytest.approx([4, 4 * math.exp(-0.01 * 2**0.5), 4 * math.exp(0.01 * 2**0.5)], rel=1e-4)


def test_the_fastest_of_those_that_dominate_speaks() -> None:
    assert verdict(point("int8", 10, 0.4), point("a", 2, 0.3), point("b", 10, 0.2), point("c", 5, 0.25))["by"] == "b"


def test_a_difference_within_the_interval_ties() -> None:
    behind = verdict(point("int8", 10, 0.4), point("trial 3", 11, 0.1))
    assert behind["verdict"] == "tied" and behind["lead"][1] <= 0 <= behind["lead"][2]
    assert verdict(point("int8", 10, 0.4), point("trial 3", 10, 0.402))["verdict"] == "tied"


def test_a_tie_is_what_a_paired_test_cannot_tell_however_noisy_ours_is() -> None:
    """Six rows that only one gets right are told apart (p = 0.03), five are not (0.06)."""
    assert verdict(point("int8", 0, 0.4), point("trial 3", 5, 0.1))["verdict"] == "tied"
    assert verdict(point("int8", 0, 0.4), point("trial 3", 6, 0.1))["verdict"] == "stands"


def test_verdicts_are_counted_by_name() -> None:
    found = peers_table.rows([point("a", 10, 0.4), point("same as a", 10, 0.4), point("b", 0, None)],
                             [point("trial 3", 9, 0.1)], LABELS)  # fmt: skip
    assert peers_table.counted(found, ["a", "same as a", "b"]) == {"dominated": 2, "tied": 0, "stands": 0}
    assert peers_table.counted(found, ["a", "b"]) == {"dominated": 1, "tied": 0, "stands": 0}


def test_the_verdicts_of_each_of_ours_alone_are_counted() -> None:
    theirs = [point("a", 10, 0.4), point("b", 0, 0.3), point("untimed", 0, None)]
    found = peers_table.against_each(theirs, [point("trial 3", 9, 0.1), point("trial 4", 30, 0.05)], LABELS)
    assert found["trial 3"] == {"dominated": 1, "tied": 0, "stands": 1}
    assert found["trial 4"] == {"dominated": 0, "tied": 0, "stands": 2}


def test_what_nobody_of_ours_reaches_stands() -> None:
    assert verdict(point("int8", 0, 0.4), point("fast", 30, 0.1), point("slow", 0, 0.6))["verdict"] == "stands"


def test_what_was_not_timed_has_no_verdict_and_comes_last() -> None:
    found = peers_table.rows([point("new", 3, None), point("old", 3, 0.5)], [point("trial 1", 3, 0.2)], LABELS)
    assert [(row["name"], row["verdict"]) for row in found] == [("old", "dominated"), ("new", None)]
    assert "not timed" in peers_table.lines(found)[-1]


@pytest.fixture
def laid_out(tmp_path: Path) -> dict[str, Path]:
    """A search with a front of one, and a shelf with two files of one tool and a failure of another."""
    search, work, data = tmp_path / "mlruns" / "searches" / "s", tmp_path / "work", tmp_path / "data"
    view = {"view": {"max_length": 16, "vocabulary": "full"}}
    write(search / "teacher" / "figures.json", {"artifact": view})
    (search / "teacher" / "model.onnx").write_bytes(b"teacher")
    write(search / "front.json", {"front": [{"number": 4}]})
    for number, student in ((3, "bert"), (4, "bert"), (5, "identity")):
        told = {"number": number, "candidate": {"values": {"student": student}}, "artifact": view}
        write(search / "trials" / f"{number:05}" / "record.json", told)
        (search / "trials" / f"{number:05}" / "model.onnx").write_bytes(b"%d" % number)
    for name, content in (("a/out", b"one"), ("b/00", b"two")):
        (work / "points" / name).mkdir(parents=True)
        (work / "points" / name / "model.onnx").write_bytes(content)
    how = {"how": "typed", "seconds": 1.0}
    made = {"a": how | {"files": ["out/model.onnx"]}, "b": how | {"files": ["00/model.onnx"], "note": "1 of 2"}}
    write(work / "made.json", made | {"c": how | {"files": [], "failed": "NoRowsError: none"}})
    (tmp_path / "teacher").mkdir()
    words = {"[UNK]": 0, "a": 1, "fine": 2, "film": 3}
    Tokenizer(models.WordLevel(words, unk_token="[UNK]")).save(str(tmp_path / "teacher" / "tokenizer.json"))
    data.mkdir()
    rows = {"text": ["a fine film"] * len(LABELS), "label": LABELS}
    parquet.write_table(pyarrow.table(rows), data / "validation.parquet")
    return {"work": work, "search": search, "teacher": tmp_path / "teacher", "data": data}


def write(path: Path, told: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(told))


def test_from_files_to_the_table(
    laid_out: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def session(path: Path) -> tuple[list[str], peers_score.Run]:
        asked.append(path.parent.name)
        if path.read_bytes() == b"two":
            raise RuntimeError("an operator is not known")
        return ["input_ids"], lambda feed: np.array([[0.0, feed["input_ids"].sum() - 6.0 + len(feed)]])

    monkeypatch.setattr(peers_score, "session", session)
    flags = [item for key, path in laid_out.items() for item in (f"--{key}", str(path))]
    out = laid_out["work"] / "out.json"
    peers.main(["score", *flags, "--accuracy", "--only", "b"])
    assert asked == ["teacher", "00004", "00005", "00"]
    asked.clear()
    for kept in [*(laid_out["work"] / "answers").iterdir(), *(laid_out["work"] / "refused").iterdir()]:
        kept.unlink()
    peers.main(["score", *flags, "--accuracy", "--out", str(out)])
    assert asked == ["teacher", "00004", "00005", "out", "00"]  # the front and the untrained, not every trial
    peers.main(["score", *flags, "--accuracy"])
    assert len(asked) == 5  # neither an answer nor a refusal is asked for again
    found = json.loads(out.read_text())
    assert [row["name"] for row in found["ours"]] == ["trial 4", "trial 5"]
    assert [(row["name"], row["accuracy"][0], row["verdict"]) for row in found["theirs"]] == [("a", 0.5, None)]
    assert found["failed"] == {"c": "NoRowsError: none"}
    assert found["refused"] == {"b 00": "RuntimeError: an operator is not known"}
    assert "- c: NoRowsError: none" in capsys.readouterr().out


def test_timed_figures_enter_the_table(laid_out: dict[str, Path]) -> None:
    scores = peers_score.Scores(*(laid_out[key] for key in ("work", "teacher", "search", "data")))
    for file, wrong, ratio in zip(scores.files, (0, 2, 2, 4, 4), (1, 0.1, 0.4, 0.4, 0.05), strict=True):
        np.save(scores.work / "answers" / f"{file.key}.npy", point("", wrong, None).answers)
        latency = {
            "ratio": ratio,
            "ratio_low": ratio * 0.99,
            "ratio_high": ratio * 1.01,
            "unreliable": file.name == "a",
        }
        told = {"latency": latency, "warnings": [], "conditions": {"threads": 1}}
        write(scores.work / "latency" / f"{file.key}.json", told)
    found = scores.report()
    assert {row["name"]: row["verdict"] for row in found["theirs"]} == {"a": "dominated", "b 00": "stands"}
    assert {"- points: 1 dominated, 0 tied, 1 stands", "Unreliable, to be timed again: a"} <= set(scores.lines(found))


class Device:
    """Measures what it is asked to, but for one file; notes what it was asked."""

    def __init__(self, away: Path | None = None) -> None:
        self.away, self.asked, self.against = away, list[Path](), set[Path]()

    def inputs(self, _model: Path) -> tuple[hardware_targets.Input, ...]:
        return (hardware_targets.Input("input_ids", "int64", (1, None)),)

    def measure(self, model: Path, feeds: Path, reference: Path, *_: Any, tier: str, **__: Any) -> Any:
        assert tier == "final" and len(hardware_targets.load_feeds(feeds)) == 3
        self.asked.append(model)
        self.against.add(reference)
        if model == self.away:
            raise hardware_targets.DeviceFailure("the device went away")
        told = {"ratio": 0.5, "ratio_low": 0.4, "ratio_high": 0.6, "unreliable": model.parent.name == "00005"}
        plain = {"latency": told, "warnings": [], "conditions": {}}
        return SimpleNamespace(latency=SimpleNamespace(ratio=0.5), warnings=(), to_json=lambda: plain)


def test_timing_goes_on_where_it_was_stopped(laid_out: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    scores = peers_score.Scores(*(laid_out[key] for key in ("work", "teacher", "search", "data")))
    cache = laid_out["search"].parent.parent / "cache" / "feeds"
    ids = scores.rows[0][0]["input_ids"]
    hardware_targets.save_feeds(cache / "validation-16-3-another", [{"input_ids": ids + 1}] * 3)
    hardware_targets.save_feeds(cache / "validation-16-3-this", [{"input_ids": ids}] * 3)
    for file in scores.files[:-1]:  # the last one was refused
        np.save(scores.work / "answers" / f"{file.key}.npy", LABELS)
    device = Device(away=scores.files[0].path)
    monkeypatch.setattr(hardware_targets, "load", lambda *_, **__: device)
    scores.time(1.0)
    assert sorted(device.asked) == sorted(file.path for file in scores.files[:-1])
    device.away, device.asked = None, []
    scores.time(1.0)
    assert sorted(path.parent.name for path in device.asked) == ["00005", "teacher"]  # unreliable, and not timed
    assert device.against == {scores.files[0].path}


def test_each_file_is_timed_in_turn_with_the_one_that_is_named(
    laid_out: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [laid_out[key] for key in ("work", "teacher", "search", "data")]
    cache = laid_out["search"].parent.parent / "cache" / "feeds"
    scores = {name: peers_score.Scores(*folders, against=name) for name in ("teacher", "trial 4")}
    ids = scores["teacher"].rows[0][0]["input_ids"]
    hardware_targets.save_feeds(cache / "validation-16-3", [{"input_ids": ids}] * 3)
    for file in scores["teacher"].files:
        np.save(folders[0] / "answers" / f"{file.key}.npy", LABELS)
    for name, own in scores.items():
        device = Device()
        monkeypatch.setattr(hardware_targets, "load", lambda *_, device=device, **__: device)
        own.time(1.0)  # what was timed against another file says nothing here
        assert len(device.asked) == 5
        assert [path.parent.name for path in device.against] == [{"teacher": "teacher", "trial 4": "00004"}[name]]
        assert own.report()["against"] == name
        assert f"Speed-ups are over: {name}" in own.lines(own.report())
    with pytest.raises(SystemExit, match="--against takes one of teacher, trial 4, trial 5; trial 7 is not"):
        peers_score.Scores(*folders, against="trial 7")


def test_a_search_that_is_not_there_is_a_sentence(laid_out: dict[str, Path]) -> None:
    (laid_out["search"] / "front.json").unlink()
    with pytest.raises(SystemExit, match=r"front\.json"):
        peers_score.Scores(*(laid_out[key] for key in ("work", "teacher", "search", "data")))


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ([], "benchmarks/peers.py make  --teacher"),
        (["make"], "--samples"),
        (["score"], "--accuracy"),
        (["score"], "--latency"),
    ],
)
def test_help_says_what_to_type(step: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        peers.main([*step, "--help"])
    assert ended.value.code == 0 and told in capsys.readouterr().out
