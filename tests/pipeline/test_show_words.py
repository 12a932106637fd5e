"""One trial in words, where it did not take the straight way."""

from __future__ import annotations

from typing import Any

from records_helper import make_record

from pipeline.show_words import show_lines


def lines(**changes: Any) -> list[str]:
    record = make_record(3, 0.9, 5.0).with_(**changes)
    return show_lines({**record.to_json(), "footprint": {"sentences": []}, "folder": "there"}, "digits", 3)


def test_a_stopped_student_shows_no_quality_but_that_of_its_rung() -> None:
    row = {"epoch": 1, "loss": 0.5, "rung_accuracy": 0.75}
    told = lines(end="stopped", reason="others were better", rung=1, rung_accuracy=0.75, continued_in=9, curve=(row,))
    assert told[0] == "trial 3 of digits: stopped, others were better"
    assert "stopped after 1 epochs: rung_accuracy 0.7500 (torch model)" in told
    assert "trial 9 went on with it, and counts in its place" in told
    assert "figures of the untrained twin" in told and not any(line.startswith("  accuracy") for line in told)


def test_one_that_went_on_says_with_what() -> None:
    assert "it goes on with the training of trial 1, which was stopped at a rung" in lines(resumed_from=1)


def test_one_that_was_cut_off_is_no_trial_to_run_again() -> None:
    told = lines(end="interrupted", reason="the process died", seconds={})
    assert told[-1] == "next: the search's own command goes on with it"
    assert not any(line.startswith("seconds") for line in told)
    assert lines()[-1] == "next: niwaki rerun digits 3"


def test_the_shipped_file_is_set_against_its_untrained_twin() -> None:
    told = lines(screened={"latency_p50_ms": 4.0, "size_mb": 1.0, "cpu_ms": 1.0})
    assert "  against its untrained twin: latency_p50_ms +25.0%, size_mb +0.0%" in told
    assert not any("untrained twin" in line for line in lines())
