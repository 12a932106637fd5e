"""What a search cost and what it saves: its own energy, the inferences that pay it back, CO2e; as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hardware_targets import Unmeasured
from pipeline import carbon
from pipeline.break_even import sentence as paid_back
from pipeline.config import SearchConfig
from pipeline.own_energy import OwnEnergy, own_energy, sentences
from pipeline.payback import payback
from pipeline.record import TrialRecord
from pipeline.spent import read_spent
from pipeline.workspace import Workspace

SHOWN = 4  # different break-evens of the front that stand under the table; front --json has them all


def footprint(
    workspace: Workspace,
    config: SearchConfig,
    records: Sequence[TrialRecord],
    front: Sequence[int],
    teacher: Mapping[str, Any],
) -> dict[str, Any]:
    """Of the search and of its front. `teacher` is the frozen measurement of the reference.

    {search, carbon, trials: {number: {kwh, pays_back, co2e}}, sentences}; what has no figure is {"unmeasured": reason}.
    """
    own = own_energy(read_spent(workspace), records)
    by_number = {record.number: record for record in records}
    trials = {str(number): of_trial(own, by_number[number], teacher, config) for number in front}
    if not isinstance(own, Unmeasured):
        for number, kwh in own.trials.items():
            trials.setdefault(str(number), {})["kwh"] = kwh
    found = _carbon(own, config)
    lines = [*sentences(own), *_paid_back(trials, front, config.name), *found.pop("sentences")]
    return {"search": _plain(own), "carbon": found, "trials": trials, "sentences": lines}


def of_trial(
    own: OwnEnergy | Unmeasured, record: TrialRecord, teacher: Mapping[str, Any], config: SearchConfig
) -> dict[str, Any]:
    """{kwh, pays_back, co2e} of one trial, each absent where it makes no sense, `unmeasured` where it was not had."""
    found: dict[str, Any] = {}
    if not isinstance(own, Unmeasured) and record.number in own.trials:
        found["kwh"] = own.trials[record.number]
    if record.end == "complete":
        found["pays_back"] = _plain(payback(own, record, teacher))
        energy = (record.measurement or {}).get("energy") or {}
        if config.carbon is not None and "mj" in energy:
            found["co2e"] = carbon.of_inferences(energy, record.metrics["latency_p50_ms"], config.carbon)
    return found


def trial_sentences(found: Mapping[str, Any], search: Mapping[str, Any], said: Mapping[str, Any]) -> list[str]:
    """What `of_trial` found, in words; `search` and `said` are the footprint's `search` and `carbon`."""
    lines = []
    if "kwh" in found:
        worth = f"{search['kind']}, boundary: {search['boundary']}"
        lines.append(f"energy of the trial itself: {found['kwh']:.3g} kWh, {worth}")
    if "pays_back" in found:
        lines.append(f"the search is paid back, against serving the teacher: {_words(found)}")
    if "co2e" in found:
        lines += [carbon.sentence(found["co2e"]), carbon.grid_sentence(said)]
    elif "unmeasured" in said:
        lines.append(said["unmeasured"])
    return lines


def _carbon(own: OwnEnergy | Unmeasured, config: SearchConfig) -> dict[str, Any]:
    if config.carbon is None:
        return {"unmeasured": carbon.UNASKED, "sentences": [carbon.UNASKED]}
    said = carbon.assumptions(config.carbon)
    if isinstance(own, Unmeasured):
        return {**said, "sentences": [carbon.grid_sentence(said)]}
    search = carbon.of_search(own, config.carbon)
    return {
        **said, "search": search, "sentences": [f"of the search: {carbon.sentence(search)}", carbon.grid_sentence(said)]
    }  # fmt: skip


def _paid_back(trials: Mapping[str, Mapping[str, Any]], front: Sequence[int], name: str) -> list[str]:
    """One line per answer, with the trials that share it."""
    groups: dict[str, list[int]] = {}
    for number in (each for each in front if "pays_back" in trials[str(each)]):  # `niwaki show` asks of any trial
        groups.setdefault(_words(trials[str(number)]), []).append(number)
    lines = [
        f"  paid back by trial{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}, against serving the "
        f"teacher: {words}"
        for words, numbers in groups.items()
    ]
    more = [f"  and {len(lines) - SHOWN} more: niwaki front {name} --json"] if len(lines) > SHOWN else []
    return [*lines[:SHOWN], *more]


def _words(found: Mapping[str, Any]) -> str:
    paid = found["pays_back"]
    return f"no figure ({paid['unmeasured']})" if "unmeasured" in paid else paid_back(paid)


def _plain(value: Any) -> dict[str, Any]:
    return {"unmeasured": value.reason} if isinstance(value, Unmeasured) else dict(value.to_json())
