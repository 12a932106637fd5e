"""The machine, read from invented /proc and /sys trees."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import fakes
import pytest

from hardware_targets._conditions import read_conditions, snapshot
from hardware_targets._doubts import doubts, resolution_words
from hardware_targets._measurement import Conditions

X86 = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 25
model\t\t: 17
model name\t: AMD EPYC
stepping\t: 1
flags\t\t: fpu hypervisor avx2

processor\t: 1
model\t\t: 99
"""
ARM = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n"


def tree(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def read(root: Path, **more: object) -> Conditions:
    return read_conditions(runtime="r", runtime_version="1", threads=1, root=root, **more)  # type: ignore[arg-type]


def test_x86(tmp_path: Path) -> None:
    found = read(tree(tmp_path, proc__cpuinfo=X86, proc__loadavg="0.5 0.4 0.3 1/2 3\n"))
    assert (found.cpu_model, found.cpu_vendor) == ("AMD EPYC", "AuthenticAMD")
    assert (found.cpu_family, found.cpu_number, found.cpu_stepping) == (25, 17, 1)
    assert found.virtualised is True
    assert found.load_start == 0.5


def test_arm(tmp_path: Path) -> None:
    found = read(tree(tmp_path, proc__cpuinfo=ARM))
    assert (found.cpu_vendor, found.cpu_family, found.cpu_number) == ("0x41", None, 0xD0C)
    assert found.virtualised is None


def test_what_is_absent_is_none_and_never_zero(tmp_path: Path) -> None:
    found = dataclasses.asdict(read(tmp_path))
    absent = {"cpu_model", "cpu_vendor", "cpu_family", "cpu_number", "cpu_stepping", "governor", "virtualised"}
    absent |= {"container", "gpu", "limits", "on_ac", "load_start", "load_end", "steal_share", "foreign_share"}
    absent.add("qualified_at")
    assert {name for name, value in found.items() if value is None} == absent


@pytest.mark.parametrize("stat", ["", "garbage\n", "cpu 1 2\n", "cpux 1 2 3 4 5 6 7 8\n"])
def test_garbage_in_stat(tmp_path: Path, stat: str) -> None:
    found = snapshot(tree(tmp_path, proc__stat=stat))
    assert (found.total, found.busy, found.steal) == (None, None, None)


def test_steal_and_foreign_shares(tmp_path: Path) -> None:
    before = snapshot(tree(tmp_path, proc__stat="cpu 100 0 0 900 0 0 0 0 0 0\n"))
    after = snapshot(tree(tmp_path, proc__stat="cpu 400 0 0 1550 0 0 0 50 0 0\n"))
    after = dataclasses.replace(after, own_seconds=before.own_seconds + 1.0)  # 100 ticks at the usual 100 Hz
    found = read(tmp_path, before=before, after=after)
    assert found.steal_share == pytest.approx(0.05)
    assert found.foreign_share == pytest.approx(0.2)


def test_governor_container_and_battery(tmp_path: Path) -> None:
    tree(
        tmp_path,
        sys__devices__system__cpu__cpu0__cpufreq__scaling_governor="powersave\n",
        sys__class__power_supply__AC__type="Mains\n",
        sys__class__power_supply__AC__online="0\n",
        sys__class__power_supply__BAT0__type="Battery\n",
    )
    (tmp_path / ".dockerenv").touch()
    found = read(tmp_path)
    assert (found.governor, found.container, found.on_ac) == ("powersave", "docker", False)


def test_this_machine_can_be_read() -> None:
    found = read(Path("/"))
    assert found.architecture and found.logical_cores


def test_doubts_are_sentences_with_a_remedy() -> None:
    assert list(doubts(fakes.latency(), fakes.conditions())) == []
    bad = fakes.latency(steady=False, interrupted_blocks=4, ratio_low=0.08, ratio_high=0.12)
    said = list(doubts(bad, fakes.conditions(steal_share=0.02, foreign_share=0.5)))
    assert len(said) == 5
    assert "20" in said[1] and "4 of 8 blocks" in said[2] and "2.0%" in said[3] and "50%" in said[4]
    assert all("measure again" in sentence for sentence in said)
    assert list(doubts(fakes.latency(), fakes.conditions(steal_share=None, foreign_share=None))) == []


def test_void_rounds_are_told_and_too_many_make_the_figure_unreliable() -> None:
    few = fakes.latency(rounds=20, voided_rounds=5, void_reasons=("steal: 5",))
    assert list(doubts(few, fakes.conditions())) == [
        "5 of 20 rounds were void (steal: 5) and do not count; the figures are of the others"
    ]
    assert not few.unreliable
    many = fakes.latency(rounds=20, voided_rounds=6, void_reasons=("foreign CPU: 6",))
    assert many.unreliable
    assert next(iter(doubts(many, fakes.conditions()))).startswith("unreliable: 6 of 20 rounds were void (foreign CPU")


def test_a_difference_below_the_resolution_is_a_tie() -> None:
    assert resolution_words(fakes.latency()) == []
    known = {"resolution": 0.009, "ratio_low": 0.994, "ratio_high": 1.013}
    near, far = (fakes.latency(ms, 10.0, ratio=ms / 10, **known) for ms in (10.04, 10.1))
    assert resolution_words(near)[0] == "a tie: differences below 0.9% are ties here"
    assert resolution_words(far)[0] == "differences below 0.9% are ties here"
    copies = resolution_words(fakes.latency(10.0, 10.0, resolution=0.03))[0]
    assert copies.startswith("a tie: differences below 3.0% are ties here: that far apart were two copies")


def test_a_final_says_that_its_interval_is_of_one_session() -> None:
    alone = resolution_words(fakes.latency(resolution=0.02))[1]
    assert "of one session" in alone and "not known yet" in alone
    told = resolution_words(fakes.latency(resolution=0.02, between_sessions=0.029, sessions=14))[1]
    assert "between 14 sessions" in told and "2.9% (standard deviation)" in told
