"""The void rules on invented trees."""

from __future__ import annotations

from pathlib import Path

import pytest

from hardware_targets._void import broken, read

CPU = "sys/devices/system/cpu"
QUIET = {
    "proc/stat": "cpu 1000 0 0 9000 0 0 0 0 0 0\n",
    "proc/pressure/cpu": "some avg10=0.00 avg60=0.00 avg300=0.00 total=1000000\nfull avg10=0.00 total=0\n",
    f"{CPU}/cpu0/cpufreq/scaling_cur_freq": "1000000\n",
    f"{CPU}/cpu1/cpufreq/scaling_cur_freq": "3000000\n",
    f"{CPU}/cpu0/thermal_throttle/core_throttle_count": "4\n",
    "sys/class/thermal/thermal_zone0/temp": "45000\n",
    "sys/class/hwmon/hwmon0/temp1_input": "60000\n",
    "sys/class/power_supply/AC/type": "Mains\n",
    "sys/class/power_supply/AC/online": "1\n",
}


def tree(root: Path, changes: dict[str, str]) -> Path:
    for name, text in (QUIET | changes).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("changes", "rules"),
    [
        ({}, []),
        ({"proc/stat": "cpu 1000 0 0 9190 0 0 0 10 0 0\n"}, ["steal"]),
        ({"proc/stat": "cpu 1010 0 0 9190 0 0 0 0 0 0\n"}, ["foreign CPU"]),
        ({"proc/pressure/cpu": "some avg10=0.00 avg60=0.00 avg300=0.00 total=1020000\n"}, ["CPU pressure"]),
        ({f"{CPU}/cpu1/cpufreq/scaling_cur_freq": "2900000\n"}, ["frequency"]),
        ({f"{CPU}/cpu1/cpufreq/scaling_cur_freq": "2950000\n"}, []),
        ({f"{CPU}/cpu0/thermal_throttle/core_throttle_count": "5\n"}, ["throttling"]),
        ({"sys/class/hwmon/hwmon0/temp1_input": "66000\n"}, ["temperature"]),
        ({"sys/class/hwmon/hwmon0/temp1_input": "64000\n"}, []),
        ({"sys/class/power_supply/AC/online": "0\n"}, ["power supply"]),
    ],
)
def test_each_rule(tmp_path: Path, changes: dict[str, str], rules: list[str]) -> None:
    first = read(10.0, tree(tmp_path, {}))
    default = {"proc/stat": "cpu 1000 0 0 9200 0 0 0 0 0 0\n"}
    assert broken([first, read(11.0, tree(tmp_path, default | changes))], first) == rules


def test_a_machine_that_shows_nothing_breaks_no_rule(tmp_path: Path) -> None:
    nothing = read(0.0, tmp_path)
    assert broken([nothing, read(1.0, tmp_path)], nothing) == []


@pytest.mark.parametrize("garbage", ["", "nonsense\n", "some avg10=0.00 total=many\n"])
def test_garbage_is_not_a_reading(tmp_path: Path, garbage: str) -> None:
    names = [name for name in QUIET if name != "sys/class/power_supply/AC/type"]
    first = read(0.0, tree(tmp_path, dict.fromkeys(names, garbage)))
    assert (first.waited_s, first.clock_khz, first.throttled, first.temperature_c) == (None, None, None, None)


@pytest.mark.parametrize("hot_at", [0, 1, 2])
def test_a_state_that_was_there_at_any_moment_of_the_stretch_counts(tmp_path: Path, hot_at: int) -> None:
    first = read(0.0, tree(tmp_path, {}))
    hot = read(1.0, tree(tmp_path, {"sys/class/hwmon/hwmon0/temp1_input": "70000\n"}))
    readings = [hot if place == hot_at else first for place in range(3)]
    assert broken(readings, first) == ["temperature"]
