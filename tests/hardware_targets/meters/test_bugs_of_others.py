"""Bugs of other tools, by the numbers of their issues: each was a wrong figure, or a crash, in somebody's study."""

from __future__ import annotations

import errno
import itertools
from pathlib import Path

import pytest
from layouts import (
    AMD,
    GUEST,
    I2C,
    INTEL,
    LAPTOP,
    LAPTOP_RATES,
    RANGE_UJ,
    Layout,
    Machine,
    ina,
    uj,
    zone,
)
from test_layouts import joules, meter_of
from test_nvml import Library

from hardware_targets._counters import MeterFault, StepCounter
from hardware_targets.meters.nvml import Meter as Nvml

PACKAGE = {"proc/cpuinfo": INTEL, **zone("intel-rapl:0", "package-0")}


def rapl(
    tmp_path: Path,
    files: dict[str, str],
    rates: dict[str, float],
    starts: dict[str, float] | None = None,
    errors: dict[str, int] | None = None,
) -> Machine:
    return Machine(Layout("made", "rapl", files, rates, starts or {}, errors or {}), tmp_path)


def played(values: list[float], seconds: float, range_j: float | None = RANGE_UJ / 1e6) -> StepCounter:
    """A counter that gives these joules, one every so many seconds."""
    rows, asked = iter(values), itertools.count()
    return StepCounter("c", lambda: next(rows), lambda: next(asked) // 2 * seconds, period_s=0.001, range_j=range_j)


def test_codecarbon_117_power_of_10_ms_was_taken_for_15_s(tmp_path: Path) -> None:
    """It read power over 10 ms and multiplied by 15 s, 60 times too little: the counter's own joules are used here."""
    machine = rapl(tmp_path, PACKAGE, {uj("intel-rapl:0"): 0.0})
    reader = meter_of(machine).open()
    reader.joules()
    for second in range(15):  # idle whenever somebody looks, busy in between
        machine.layout.starts = {uj("intel-rapl:0"): 1e6 + 30e6 * (second + 1)}  # type: ignore[misc]
        machine.wait(1.0)
    assert reader.joules() == pytest.approx(450.0, rel=1e-6)


def test_codecarbon_286_microjoules_were_a_thousand_times_too_little(tmp_path: Path) -> None:
    """The file counts microjoules; power came out in kilowatts labelled watts."""
    machine = rapl(tmp_path, PACKAGE, {uj("intel-rapl:0"): 35e6})
    assert joules(machine, meter_of(machine), 5.0) == pytest.approx(35, rel=1e-3)


def test_codecarbon_309_energy_came_out_negative() -> None:
    """A lower reading gave negative joules: here it is a wrap, or a fault, never a number below 0."""
    counter = played([1000.0, 1010.0, 400.0, 410.0], 1.0)
    assert counter.joules() == pytest.approx(10.0)
    with pytest.raises(MeterFault, match="no wrap"):
        counter.joules()
    assert counter.joules() == pytest.approx(20.0)


def test_codecarbon_322_a_wrap_was_not_handled() -> None:
    """Reaching max_energy_range_uj gave a value lower than the previous one, logged as an error."""
    assert played([RANGE_UJ / 1e6 - 30.0, 20.0], 1.0).joules() == pytest.approx(50.0)


def test_codecarbon_232_a_file_of_root_alone_was_a_traceback(tmp_path: Path) -> None:
    """PermissionError escaped to the user; it must be a sentence that says what to type."""
    machine = rapl(tmp_path, PACKAGE, {uj("intel-rapl:0"): 1e6}, errors={uj("intel-rapl:0"): errno.EACCES})
    reason = meter_of(machine).unavailable()
    assert reason is not None and "readable by root only" in reason and "sudo chmod a+r" in reason


def test_codecarbon_950_platform_package_and_mmio_were_added(tmp_path: Path) -> None:
    """A laptop's psys, package, core, uncore and the package's MMIO twin were summed: 14.4 W for 9.6 W."""
    machine = rapl(tmp_path, LAPTOP, LAPTOP_RATES)
    assert joules(machine, meter_of(machine), 5.0) == pytest.approx(8.0, rel=1e-3)


def test_codecarbon_1274_dies_that_mirror_one_counter_were_added(tmp_path: Path) -> None:
    """A Threadripper 1950X showed 68 W on each of two dies, one counter read twice; 137 W was reported."""
    files = {"proc/cpuinfo": AMD, **zone("intel-rapl:0", "package-0-die-0"), **zone("intel-rapl:1", "package-0-die-1")}
    machine = rapl(tmp_path, files, {uj("intel-rapl:0"): 68e6, uj("intel-rapl:1"): 68e6})
    assert joules(machine, meter_of(machine), 5.0) == pytest.approx(68.0, rel=1e-3)


def test_codecarbon_1309_a_wrap_without_a_known_range_was_negative(tmp_path: Path) -> None:
    """max_energy_range_uj could not be read, 0 was added at the wrap, and thousands of joules were subtracted."""
    files = {"proc/cpuinfo": INTEL, **zone("intel-rapl:0", "package-0", limit=False)}
    machine = rapl(tmp_path, files, {uj("intel-rapl:0"): 40e6}, {uj("intel-rapl:0"): RANGE_UJ - 40e6 * 103})
    reader = meter_of(machine).open()
    before = reader.joules()
    machine.wait(10.0)
    with pytest.raises(MeterFault, match="no wrap"):
        reader.joules()
    machine.wait(1.0)
    assert reader.joules() - before == pytest.approx(40.0, rel=1e-3)


def test_codecarbon_1321_a_failed_read_was_taken_for_0_and_the_next_for_the_whole_counter(tmp_path: Path) -> None:
    """A transient error gave 0; the following difference was everything counted since boot."""
    machine = rapl(tmp_path, PACKAGE, {uj("intel-rapl:0"): 20e6}, {uj("intel-rapl:0"): 209e9})
    reader = meter_of(machine).open()
    machine.layout.errors = {uj("intel-rapl:0"): errno.EIO}
    machine.wait(1.0)
    with pytest.raises(MeterFault, match="Input/output error"):
        reader.joules()
    machine.layout.errors = {}
    machine.wait(1.0)
    assert reader.joules() == pytest.approx(40.0, rel=1e-2)


def test_codecarbon_1316_a_gpu_without_a_counter_used_0_kwh() -> None:
    """Before Volta NVML has no energy counter; 0 was reported, though power could be read."""
    meter = Nvml(library=Library("energy", "module"), clock=iter([n / 20 for n in range(400)]).__next__)
    reader = meter.open()
    reader.close()
    assert "polled power" in meter.boundary
    assert max(reader.joules() for _ in range(20)) > 0


def test_zeus_91_several_wraps_between_two_readings() -> None:
    """Whoever reads only at both ends of a window cannot tell one wrap from two."""
    with pytest.raises(MeterFault, match="gone round more than once"):
        played([100.0, 200.0], 1200.0).joules()
    assert played([100.0, 200.0], 1.0).poll_s <= 66  # so windows are told to read in between


def test_zeus_92_memory_was_subtracted_from_the_package(tmp_path: Path) -> None:
    """dram is shown below the package but not counted in it: it is added, never subtracted."""
    machine = rapl(
        tmp_path, PACKAGE | zone("intel-rapl:0:0", "dram"), {uj("intel-rapl:0"): 60e6, uj("intel-rapl:0:0"): 9e6}
    )
    assert joules(machine, meter_of(machine), 5.0) == pytest.approx(69.0, rel=1e-3)


def test_powerjoular_45_negative_watts_at_each_wrap(tmp_path: Path) -> None:
    """On a busy machine the counter wraps often, and each time negative power was logged."""
    machine = rapl(tmp_path, PACKAGE, {uj("intel-rapl:0"): 250e6}, {uj("intel-rapl:0"): RANGE_UJ - 250e6 * 102})
    reader = meter_of(machine).open()
    found = []
    for _ in range(50):
        machine.wait(0.2)
        found.append(reader.joules())
    assert found == sorted(found)
    assert found[-1] == pytest.approx(50 * 0.2 * 250, rel=1e-2)


def test_powerjoular_87_only_the_memory_wraps(tmp_path: Path) -> None:
    """The package's range was added when memory alone had wrapped: 260 000 W for a moment."""
    machine = rapl(
        tmp_path,
        PACKAGE | zone("intel-rapl:0:0", "dram"),
        {uj("intel-rapl:0"): 60e6, uj("intel-rapl:0:0"): 9e6},
        {uj("intel-rapl:0:0"): RANGE_UJ - 9e6 * 103},
    )
    assert joules(machine, meter_of(machine), 10.0) == pytest.approx(69.0, rel=1e-3)


def test_jetson_stats_51_parts_were_added_to_the_input_rail(tmp_path: Path) -> None:
    """Total was POM_5V_IN + POM_5V_GPU + POM_5V_CPU; POM_5V_IN alone is the board."""
    files = {
        f"{I2C}/ina3221x/6-0040/iio:device0/{name}": text
        for place, (label, milliwatts) in enumerate([("POM_5V_IN", 5000), ("POM_5V_GPU", 2000), ("POM_5V_CPU", 1500)])
        for name, text in ((f"rail_name_{place}", label), (f"in_power{place}_input", str(milliwatts)))
    }
    machine = Machine(Layout("made", "jetson_ina", files), tmp_path)
    assert joules(machine, meter_of(machine), 2.0) == pytest.approx(5.0, rel=1e-3)


def test_jetson_stats_344_a_5_v_rail_was_taken_for_the_total(tmp_path: Path) -> None:
    """On AGX Orin VIN_SYS_5V0 was shown as ALL; it is one of three rails side by side."""
    channels = {1: ("VDD_GPU_SOC", 12000, 1000), 2: ("VDD_CPU_CV", 12000, 500), 3: ("VIN_SYS_5V0", 5000, 800)}
    machine = Machine(Layout("made", "jetson_ina", ina(f"{I2C}/ina3221/1-0040/hwmon/hwmon3", channels)), tmp_path)
    assert joules(machine, meter_of(machine), 2.0) == pytest.approx(22.0, rel=1e-3)


def test_jetson_stats_900_thor_has_its_input_on_another_chip_and_usb_c_is_no_rail(tmp_path: Path) -> None:
    """The INA238 tells VIN in microwatts; a UCSI power supply is what USB-C negotiated, not what is drawn."""
    home = f"{I2C}/ina238/2-0044/hwmon/hwmon5"
    files = {
        f"{home}/name": "ina238",
        f"{home}/power1_input": "38000000",
        "sys/class/power_supply/ucsi-source-psy-1/voltage_now": "20000000",
        "sys/class/power_supply/ucsi-source-psy-1/current_now": "5000000",
    }
    machine = Machine(Layout("made", "jetson_ina", files), tmp_path)
    meter = meter_of(machine)
    assert joules(machine, meter, 2.0) == pytest.approx(38.0, rel=1e-3)
    assert meter.boundary == "board input"


def test_kepler_33_rapl_of_a_virtual_machine_is_not_reliable(tmp_path: Path) -> None:
    """A KVM guest showed RAPL; its figures were not the machine's and are refused."""
    machine = rapl(tmp_path, {**PACKAGE, "proc/cpuinfo": GUEST}, {uj("intel-rapl:0"): 30e6})
    assert "virtual machine" in str(meter_of(machine).unavailable())


def test_kepler_53_a_difference_below_0_became_2_to_the_64() -> None:
    """18446744073447456768 was logged as the energy of three seconds."""
    counter = played([100.0, 2.0**64 / 1e6, 130.0, 140.0], 1.0)
    for _ in range(2):
        with pytest.raises(MeterFault):
            counter.joules()
    assert counter.joules() == pytest.approx(10.0)


def test_kepler_2280_no_zones_in_a_guest_ended_the_program(tmp_path: Path) -> None:
    """Without RAPL zones it did not start; here it is a sentence, and other meters are tried."""
    reason = meter_of(rapl(tmp_path, {"proc/cpuinfo": GUEST}, {})).unavailable()
    assert reason is not None and "accept a model" in reason


def test_intelligence_per_watt_40_nvml_starts_on_a_jetson_and_then_tells_nothing() -> None:
    """Init succeeded, every query was NOT_SUPPORTED, and a profile without energy counted as complete."""
    reason = Nvml(library=Library("energy", "power", "module", "mig")).unavailable()
    assert reason is not None and "jetson_ina" in reason
