"""CO2e: nothing without a country and a year, the table with its source, and SCI by hand."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml
from records_helper import make_record

from pipeline import carbon
from pipeline.carbon import UNASKED, embodied_g, of_inferences, of_search
from pipeline.config import CarbonConfig
from pipeline.config_file import differences, load_config, parse_config
from pipeline.errors import ConfigError
from pipeline.footprint import footprint, trial_sentences
from pipeline.own_energy import OwnEnergy
from pipeline.record import write_json
from pipeline.workspace import Workspace

GOOD: dict[str, Any] = {
    "name": "x",
    "task": {"data": {"source": "sklearn", "name": "digits"}},
    "teacher": {"path": "somewhere"},
}
OWN = {"country": "DEU", "year": 2025, "grid_g_per_kwh": 300, "basis": "direct", "source": "my utility's statement"}
ENERGY = {"mj": 36.0, "mj_low": 24.0, "mj_high": 54.0, "kind": "modelled-generic", "boundary": "wall"}


def asked(**changes: Any) -> CarbonConfig:
    found = parse_config({**GOOD, "carbon": {"country": "DEU", "year": 2024, **changes}}, "x").carbon
    assert found is not None
    return found


def test_the_table_names_its_source_licence_and_basis_and_holds_plausible_figures() -> None:
    table = yaml.safe_load(files("pipeline").joinpath("grid_factors.yaml").read_text(encoding="utf-8"))
    assert (table["licence"], table["basis"]) == ("CC BY 4.0", "lifecycle") and "Ember" in table["attribution"]
    assert len(table["rows"]) > 200
    for country, row in table["rows"].items():
        assert re.fullmatch("[A-Z]{3}", country) and set(row) == {"year", "g_per_kwh"}
        assert 2020 <= row["year"] <= 2026 and 10 < row["g_per_kwh"] < 1500, country


def test_there_is_no_default_country_and_no_default_year(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump(GOOD))
    assert load_config(path).carbon is None
    for part in ({"country": "DEU"}, {"year": 2024}):
        with pytest.raises(ConfigError, match="is missing"):
            parse_config({**GOOD, "carbon": part}, "x")


@pytest.mark.parametrize(
    ("carbon", "words"),
    [
        ({"country": "GER", "year": 2024}, ["'GER'", "ISO 3166-1", "grid_g_per_kwh"]),
        ({"country": "DEU", "year": 2031}, ["2024", "not of 2031", "type `year: 2024`"]),
        ({"country": "Germany", "year": 2024}, ["carbon.country", "Germany"]),
        ({**OWN, "source": None}, ["`grid_g_per_kwh`, `basis` and `source` together"]),
        ({**OWN, "basis": "marginal"}, ["carbon.basis"]),
        ({"country": "DEU", "year": 2024, "embodied_kg": 200}, ["`lifetime_years` together"]),
        ({"country": "DEU", "year": 2024, "pue": 0.9}, ["carbon.pue"]),
    ],
)
def test_what_is_wrong_is_said_before_the_first_epoch(carbon: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        parse_config({**GOOD, "carbon": carbon}, "x.yaml")
    assert all(word in str(error.value) for word in words)


def test_it_may_change_between_two_runs_of_a_search() -> None:
    old = parse_config(GOOD, "x").resolved()
    assert list(differences(old, parse_config({**GOOD, "carbon": OWN}, "x").resolved())) == []


def test_operational_by_hand() -> None:
    """36 mJ x 1,000 are 1e-5 kWh; at 344.14 g/kWh and a PUE of 1.5 that is 0.0051621 g."""
    found = of_inferences(ENERGY, 5.0, asked(pue=1.5))
    assert found["g"] == pytest.approx(1e-5 * 344.14 * 1.5)
    assert (found["g_low"], found["g_high"]) == (pytest.approx(found["g"] / 1.5), pytest.approx(found["g"] * 1.5))
    assert (found["what"], found["embodied_g"], found["kind"]) == ("operational only", None, "modelled-generic")
    said = carbon.sentence(found)
    assert "not SCI" in said and "modelled-generic" in said and "boundary: wall" in said and "per 1,000" in said


def test_it_is_sci_only_with_the_embodied_part() -> None:
    """200 kg over 4 years, half the device for 5 s: 200,000 x 5 / (4 x 31,557,600) / 2 g."""
    given = asked(embodied_kg=200, lifetime_years=4, device_share=0.5)
    embodied = 200_000 * 5 / (4 * 31_557_600) / 2
    assert embodied_g(5.0, given) == pytest.approx(embodied)
    found = of_inferences(ENERGY, 5.0, given)
    assert found["what"] == "SCI" and found["g"] == pytest.approx(1e-5 * 344.14 + embodied)
    assert "(SCI)" in carbon.sentence(found) and "not SCI" not in carbon.sentence(found)


def test_of_the_search() -> None:
    own = OwnEnergy(2.0, 1.5, 3.0, "modelled-generic", "wall", "t", 1.0, 0, 0, 2.0, 0)
    assert of_search(own, asked())["g"] == pytest.approx(688.28)


def test_a_factor_of_the_users_own_is_attributed_to_its_source() -> None:
    own = parse_config({**GOOD, "carbon": OWN}, "x").carbon
    assert own is not None
    said = carbon.grid_sentence(carbon.assumptions(own))
    assert "300 g/kWh, direct" in said and "my utility's statement" in said and "Ember" not in said
    assert "Ember" in carbon.grid_sentence(carbon.assumptions(asked()))


def printed(tmp_path: Path, **changes: Any) -> tuple[dict[str, Any], str]:
    workspace, record = Workspace(tmp_path, "x"), make_record(4, energy=36.0).with_(cpu_seconds={"distill": 9.0})
    config = parse_config({**GOOD, **changes}, "x")
    found = footprint(workspace, config, [record], [4], {"energy": ENERGY})
    mine = trial_sentences(found["trials"]["4"], found["search"], found["carbon"])
    return found, "\n".join([*found["sentences"], *mine])


def test_without_a_country_nothing_is_printed_but_what_to_type(tmp_path: Path) -> None:
    found, said = printed(tmp_path)
    assert found["carbon"] == {"unmeasured": UNASKED} and "co2e" not in found["trials"]["4"]
    assert UNASKED in said and "g CO2e" not in said and "carbon: {country: DEU, year: 2024}" in UNASKED


def test_with_one_every_figure_has_kind_boundary_and_attribution(tmp_path: Path) -> None:
    from hardware_targets import host_conditions

    row = {"verb": "search", "process": 1, "started": "", "ended": "x", "host": host_conditions().to_json()}
    write_json(tmp_path / "searches" / "x" / "spent.json", {"runs": [{**row, "cpu_seconds": 3600.0}]})
    found, said = printed(tmp_path, carbon={"country": "DEU", "year": 2024})
    assert found["carbon"]["search"]["g"] > 0 and found["trials"]["4"]["co2e"]["g"] > 0
    for line in said.splitlines():
        if "g CO2e" in line or "kWh [" in line:
            assert "modelled-generic" in line and "boundary" in line, line
    assert "CC BY 4.0" in said and "PUE 1" in said


def test_a_search_without_an_account_says_so_and_not_zero(tmp_path: Path) -> None:
    found, said = printed(tmp_path, carbon={"country": "DEU", "year": 2024})
    assert "unmeasured" in found["search"] and "search" not in found["carbon"]
    assert "the search's own energy: no figure" in said and "kwh" not in found["trials"]["4"]


def test_a_trial_that_serves_nobody_is_not_asked_what_it_pays_back(tmp_path: Path) -> None:
    record = make_record(4, end="refused")
    found = footprint(Workspace(tmp_path, "x"), parse_config(GOOD, "x"), [record], [4], {"energy": ENERGY})
    assert not any("paid back" in line for line in found["sentences"])


def test_trials_that_share_an_answer_share_a_line(tmp_path: Path) -> None:
    records = [make_record(number, latency=1.0 + number) for number in range(3)]
    found = footprint(Workspace(tmp_path, "x"), parse_config(GOOD, "x"), records, [0, 1, 2], {"energy": ENERGY})
    assert sum("paid back" in line for line in found["sentences"]) == 1
    assert "trials 0, 1, 2" in "\n".join(found["sentences"])
