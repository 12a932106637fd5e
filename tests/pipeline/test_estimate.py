"""What a search will take, from its first trained trials: the range, the question, and the answer no."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import synthetic
from records_helper import make_record

from hardware_targets import Unmeasured
from pipeline import cli
from pipeline.config import LimitsConfig
from pipeline.errors import ConfigError
from pipeline.estimate import PROBES, Estimate, estimate
from pipeline.own_energy import OwnEnergy
from pipeline.progress import Quiet
from pipeline.record import read_records
from pipeline.search import loop


def trained(number: int, seconds: float) -> Any:
    return make_record(number).with_(seconds={"distill": seconds}, cpu_seconds={"distill": seconds})


def own(*trials: float, rest: float = 0.0) -> OwnEnergy:
    kwh = sum(trials) + rest
    by_number = dict(enumerate(trials))
    return OwnEnergy(
        kwh, kwh / 1.5, kwh * 1.5, "modelled-generic", "a share", "t", 1.0, 0, 0, sum(trials), rest, by_number
    )


RECORDS = [trained(0, 60.0), trained(1, 180.0)]


def test_the_range_is_that_of_the_probes() -> None:
    found = estimate(RECORDS, LimitsConfig(trials=12), own(0.1, 0.3, rest=0.2))
    assert (found.done, found.left, found.low_s, found.high_s) == (2, 10, 600.0, 1800.0)
    assert found.low_kwh == pytest.approx(10 * (0.1 + 0.1) / 1.5) and found.high_kwh == pytest.approx(10 * 0.4 * 1.5)


def test_limits_cut_it_off() -> None:
    found = estimate(RECORDS, LimitsConfig(trials=12, hours=0.1, max_kwh=0.5), own(0.1, 0.3))
    assert (found.low_s, found.high_s) == (pytest.approx(120.0), pytest.approx(120.0))
    assert found.high_kwh == pytest.approx(0.1)
    hours = estimate(RECORDS, LimitsConfig(trials=12, hours=0.1), own(0.1, 0.3))
    assert hours.low_kwh == pytest.approx(120 / 180 * 0.1 / 1.5) and hours.high_kwh == pytest.approx(2 * 0.3 * 1.5)


def test_what_is_already_done_is_not_estimated() -> None:
    assert estimate(RECORDS, LimitsConfig(trials=2), own(0.1, 0.3)).high_s == 0


def test_energy_has_its_kind_or_a_reason() -> None:
    said = "\n".join(estimate(RECORDS, LimitsConfig(), own(0.1, 0.3)).sentences())
    assert "modelled-generic" in said and "boundary: a share" in said and "can miss" in said
    found = estimate(RECORDS, LimitsConfig(), Unmeasured("no clock"))
    assert found.low_kwh is None and "no figure (no clock)" in "\n".join(found.sentences())


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store_in: Any) -> Any:
    monkeypatch.setattr(loop, "run_trial", synthetic.record)
    monkeypatch.setattr(loop, "write_front", lambda *_: [])
    store_in(tmp_path / "mlruns")
    settings = synthetic.config(4, recipes="none", space={"students": ["convnet"], "convnet": {"depth": 1}})
    place = synthetic.workspace(tmp_path / "mlruns", settings)

    def search(ask: Any) -> tuple[Any, int]:
        result = loop.run_search(settings, place, Quiet(), prepare=synthetic.bench, ask=ask)
        return result, len(read_records(place.folder))

    return search


def test_no_keeps_the_trials_and_yes_goes_on_from_them(go: Any) -> None:
    asked: list[Estimate] = []

    def no(found: Estimate) -> bool:
        asked.append(found)
        return False

    result, count = go(no)
    assert count == PROBES and "stopped after the estimate" in result.reason and asked[0].left == 4 - PROBES
    result, count = go(lambda _: True)
    assert count >= 4 and "limits.trials" in result.reason


def test_without_a_terminal_it_stops_with_a_sentence(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    found = estimate(RECORDS, LimitsConfig(trials=12), own(0.1, 0.3))
    monkeypatch.setattr(cli.sys.stdin, "isatty", lambda: False, raising=False)
    with pytest.raises(ConfigError, match=r"estimate: 10 min.* --yes"):
        cli._asker(False, False)(found)
    assert cli._asker(True, False)(found) and "estimate:" in capsys.readouterr().out
    assert cli._asker(True, True)(found) and capsys.readouterr().out == ""


def test_at_a_terminal_it_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    found = estimate(RECORDS, LimitsConfig(trials=12), own(0.1, 0.3))
    monkeypatch.setattr(cli.sys.stdin, "isatty", lambda: True, raising=False)
    for answer in (True, False):
        monkeypatch.setattr(cli.typer, "confirm", lambda _, answer=answer: answer)
        assert cli._asker(False, False)(found) is answer


def test_the_sentence_reaches_the_user_with_exit_2(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    from pipeline import api

    found = estimate(RECORDS, LimitsConfig(trials=12), own(0.1, 0.3))
    monkeypatch.setattr(api, "search", lambda *_, ask, **__: ask(found))
    assert cli.run(["search", "x.yaml", "--estimate", "--json"]) == 2
    assert "--yes" in json.loads(capsys.readouterr().out)["error"]
