"""What a GPU tells besides its energy, and the void rules on it, by a stand-in for NVML's library."""

from __future__ import annotations

import pytest
from test_nvml import Library

from hardware_targets._conditions import Snapshot
from hardware_targets._gpu import Gpu, GpuReading, foreign
from hardware_targets._void import Reading, broken, read

NOTHING = GpuReading(others=None, slowed=None, clock_mhz=None, temperature_c=None)


def gpu(library: Library) -> Gpu:
    made = Gpu(0, library)
    assert made.unavailable is None
    return made


def at(moment_s: float, reading: GpuReading | None) -> Reading:
    return Reading(at_s=moment_s, cpu=Snapshot(None, None, None, None, 0.0), gpu=reading)


def test_a_reading() -> None:
    library = Library("mig")
    assert gpu(library).read() == GpuReading(others=0, slowed=(), clock_mhz=1980.0, temperature_c=50.0)
    library.others, library.reasons = [7, 8], 0x40 | 0x20 | 0x80 | 0x4
    assert gpu(library).read() == GpuReading(2, ("heat", "power brake"), 1980.0, 50.0)


def test_what_it_does_not_tell_is_nothing_and_breaks_no_rule() -> None:
    silent = gpu(Library("mig", "processes", "reasons", "clock", "temperature", "limit", "module"))
    assert silent.read() == NOTHING
    assert silent.describe() == "Test GPU, driver 600.1"
    known = GpuReading(0, (), 1980.0, 50.0)
    for first in (known, NOTHING):
        assert broken([at(0, known), at(1, NOTHING)], at(0, first)) == []
    assert broken([at(0, None), at(1, None)], at(0, None)) == []


@pytest.mark.parametrize(
    ("changes", "rules"),
    [
        ({}, []),
        ({"others": [4711]}, ["foreign GPU process"]),
        ({"reasons": 0x08}, ["GPU throttling"]),
        ({"reasons": 0x01 | 0x02 | 0x04}, []),  # idle, fixed clocks, the power cap: how a GPU at work is run
        ({"mhz": 1935}, []),  # 2.3 %
        ({"mhz": 1905}, ["GPU clock"]),
        ({"mhz": 2055}, ["GPU clock"]),
        ({"celsius": 55}, []),
        ({"celsius": 56}, ["GPU temperature"]),
        ({"celsius": 20}, []),
        ({"others": [1], "celsius": 90}, ["foreign GPU process", "GPU temperature"]),
    ],
)
def test_the_rules(changes: dict[str, object], rules: list[str]) -> None:
    library = Library("mig")
    watched = gpu(library)
    first = at(0, watched.read())
    for name, value in changes.items():
        setattr(library, name, value)
    assert broken([first, at(1, watched.read())], first) == rules, "at the end of a stretch"
    assert broken([at(1, watched.read()), first], first) == rules, "at its beginning"


def test_the_watch_reads_it_where_one_works() -> None:
    library = Library("mig")
    assert read(0.0).gpu is None
    assert read(0.0, gpu=gpu(library)).gpu == gpu(library).read()


def test_in_a_container_this_process_bears_another_number() -> None:
    assert foreign([10, 11], own=10) == [11]
    assert foreign([10], own=10) == foreign([], own=10) == []
    assert foreign([4711], own=10) == [], "the host's number of this very process"
    assert foreign([4711, 4712], own=10) == [4712]
    library = Library("mig")
    library.own, library.others = None, [4711]
    assert gpu(library).read().others == 0


def test_mig_and_a_shared_module_are_noticed() -> None:
    whole = gpu(Library("mig", "module"))
    assert whole.notes() == []
    assert whole.describe() == "Test GPU, driver 600.1, limit 700 W, at most 1980 MHz"
    divided = gpu(Library("module", mig=1))
    assert "divided by MIG" in divided.describe() and "of the part that this process was given" in divided.notes()[0]
    module = gpu(Library("mig"))
    assert module.describe().endswith("module with processors") and "shares a module" in module.notes()[0]


def test_a_gpu_that_is_not_there_is_a_sentence() -> None:
    assert "install NVIDIA's driver" in str(Gpu(0, Library("driver")).unavailable)
    assert "no GPU 3" in str(Gpu(3, Library()).unavailable)
