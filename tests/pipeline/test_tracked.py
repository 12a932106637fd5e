"""The book of what is whole in MLflow: a start trusts it, and loses or doubles nothing where it is wrong or gone."""

from __future__ import annotations

import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import synthetic

from pipeline.progress import Quiet
from pipeline.record import write_record
from pipeline.search import loop
from pipeline.tracked import Book, Tracked
from pipeline.tracking import Tracker

SPACE = {"students": ["convnet", "identity"], "convnet": {"depth": 1}}


def test_lines_come_back_and_the_last_one_counts(tmp_path: Path) -> None:
    book = Book(tmp_path / "tracked.jsonl")
    assert book.read("p") is None
    book.begin("p", {0: Tracked("a", {"end": "complete"})})
    book.add(1, Tracked("b", {"end": "failed"}))
    book.add(0, None)
    book.add(1, Tracked("c", {"end": "complete"}))
    assert book.read("p") == {1: Tracked("c", {"end": "complete"})}
    assert book.read("another store's run") is None


@pytest.mark.parametrize("tail", ['{"trial": 2, "ru', "[]\n", '{"trial": 2}\n'])
def test_a_damaged_book_says_nothing(tmp_path: Path, tail: str) -> None:
    book = Book(tmp_path / "tracked.jsonl")
    book.begin("p", {0: Tracked("a", {})})
    with (tmp_path / "tracked.jsonl").open("a") as file:
        file.write(tail)
    assert book.read("p") is None


class Home:
    """A synthetic search that is begun and gone on with."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "searches" / "synthetic"
        self.book = self.folder / "tracked.jsonl"

    def go(self, trials: int) -> list[str]:
        said: list[str] = []

        class Heard(Quiet):
            def say(self, sentence: str) -> None:
                said.append(sentence)

        settings = synthetic.config(trials, space=SPACE, recipes="none")
        loop.run_search(settings, synthetic.workspace(self.root, settings), Heard(), prepare=synthetic.bench)
        return said

    def runs(self) -> Counter[str]:
        """How often each trial is there, by what its whole and living runs say."""
        ask = (
            "select t.value from tags t join runs r using (run_uuid) where t.key = 'niwaki.trial' "
            "and r.lifecycle_stage = 'active' and r.status != 'RUNNING'"
        )
        with sqlite3.connect(self.root / "mlflow.db") as db:
            return Counter(number for (number,) in db.execute(ask))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store_in) -> Home:
    monkeypatch.setattr(loop, "run_trial", synthetic.record)
    monkeypatch.setattr(loop, "write_front", lambda *_: [])
    store_in(tmp_path / "mlruns")
    made = Home(tmp_path / "mlruns")
    made.go(3)
    return made


def once(trials: int) -> Counter[str]:
    return Counter(map(str, range(trials)))


def test_a_start_with_a_whole_book_reads_no_runs(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tracker, "_read_runs", lambda _: pytest.fail("all runs were read"))
    monkeypatch.setattr(Tracker, "_delete_runs", lambda _, numbers: numbers and pytest.fail(f"looked for {numbers}"))
    assert home.go(4) == []
    assert home.runs() == once(4)


def test_a_run_whose_line_was_lost_is_not_doubled(home: Home) -> None:
    lines = home.book.read_text().splitlines(keepends=True)
    home.book.write_text("".join(lines[:-2]))  # killed between closing the run and noting it
    assert home.go(3) == []
    assert home.runs() == once(3)
    assert home.book.read_text().count("trial") == 3


def test_half_a_run_is_written_anew(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    def kill(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Tracker, "_log_files", kill)
        with pytest.raises(Killed):
            home.go(4)
    assert home.runs() == once(3)
    assert home.go(4) == []
    assert home.runs() == once(4)


@pytest.mark.parametrize("what", ["deleted", "of another store"])
def test_a_lost_book_is_written_anew_from_the_runs(home: Home, what: str) -> None:
    if what == "deleted":
        home.book.unlink()
    else:
        Book(home.book).begin("another parent", {0: Tracked("another run", {"end": "complete"})})
    assert home.go(3) == []
    assert home.runs() == once(3)
    assert len(home.book.read_text().splitlines()) == 4


def test_a_record_that_changed_or_is_gone_takes_its_run_along(home: Home) -> None:
    from pipeline.record import read_records

    records = read_records(home.folder)
    write_record(home.folder, records[2].with_(end="failed", reason="by hand"))
    assert home.go(3) == []
    with sqlite3.connect(home.root / "mlflow.db") as db:
        ask = "select count(*) from tags t join runs r using (run_uuid) where key = 'end' and value = 'failed' "
        assert db.execute(ask + "and lifecycle_stage = 'active'").fetchone() == (1,)
    assert home.runs() == once(3)


def test_a_run_that_a_user_deleted_is_said_once_and_comes_back(home: Home) -> None:
    with sqlite3.connect(home.root / "mlflow.db") as db:
        tagged = "select run_uuid from tags where key = 'on_front' and value = 'true'"
        db.execute(f"update runs set lifecycle_stage = 'deleted' where run_uuid in ({tagged})")
    said = home.go(3)
    assert said and all("MLflow could not be written" in sentence for sentence in said)
    assert home.go(3) == []
    assert home.runs() == once(3)
