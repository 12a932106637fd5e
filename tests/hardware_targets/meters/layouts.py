"""Machines as trees of files: what their sensors show, and what a meter must make of it.

Structure and labels follow real machines; figures are invented. `rates` are files that count, in their own units per
second, from `starts` or 1 000 000 on; `errors` are files that answer with an error of the system.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

RANGE_UJ = 262_143_328_850  # 2^32 times 61 microjoules
CAP = "sys/class/powercap"
INTEL = "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 140\nflags\t\t: fpu sse2 avx2\n\n"
AMD = "processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 23\nmodel\t\t: 49\nflags\t\t: fpu sse2 avx2\n"
SANDY = INTEL.replace("140", "45")
GUEST = INTEL.replace("avx2", "avx2 hypervisor")
I2C = "sys/bus/i2c/drivers"
PERF = "sys/bus/event_source/devices/power"


@dataclass
class Layout:
    """One machine. `watts` is what the meter must find, `refuses` a part of the sentence it must say instead."""

    name: str
    meter: str
    files: Mapping[str, str]
    rates: Mapping[str, float] = field(default_factory=dict)
    starts: Mapping[str, float] = field(default_factory=dict)
    errors: Mapping[str, int] = field(default_factory=dict)
    watts: float | None = None
    boundary: str | None = None
    kind: str = "measured"
    refuses: str | None = None


@dataclass
class Machine:
    """A layout on disk, with a clock of its own that `read` and `wait` know."""

    layout: Layout
    root: Path
    now: float = 100.0

    def __post_init__(self) -> None:
        for name, content in {**self.layout.files, **dict.fromkeys(self.layout.rates, "0")}.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content + "\n")

    def clock(self) -> float:
        self.now += 2e-5
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds

    def read(self, path: Path) -> str:
        name = path.relative_to(self.root).as_posix()
        if name in self.layout.errors:
            code = self.layout.errors[name]
            raise (
                PermissionError(code, "Permission denied")
                if code == errno.EACCES
                else OSError(code, "Input/output error")
            )
        if name in self.layout.rates:
            self.now += 1e-5  # a read takes time, so that two files are never read at the same moment
            value = self.layout.starts.get(name, 1e6) + self.layout.rates[name] * self.now
            return str(int(value % RANGE_UJ))
        return path.read_text().strip()


def zone(place: str, name: str, base: str = CAP, limit: bool = True) -> dict[str, str]:
    """The files of a powercap zone, without its counter."""
    files = {f"{base}/{place}/name": name}
    return files | ({f"{base}/{place}/max_energy_range_uj": str(RANGE_UJ)} if limit else {})


def uj(place: str, base: str = CAP) -> str:
    return f"{base}/{place}/energy_uj"


def ina(folder: str, channels: Mapping[int, tuple[str, int, int]]) -> dict[str, str]:
    """A monitor of hwmon: label, millivolts, milliamperes by channel."""
    files = {f"{folder}/name": "ina3221"}
    for place, (label, millivolts, milliamperes) in channels.items():
        files |= {f"{folder}/in{place}_label": label, f"{folder}/in{place}_input": str(millivolts)}
        files |= {f"{folder}/curr{place}_input": str(milliamperes)}
    return files


def iio(folder: str, rails: Mapping[int, tuple[str, int]]) -> dict[str, str]:
    """A monitor of JetPack 4: label and milliwatts by channel."""
    return {
        f"{folder}/{name}": text
        for place, (label, milliwatts) in rails.items()
        for name, text in ((f"rail_name_{place}", label), (f"in_power{place}_input", str(milliwatts)))
    }


LAPTOP = {
    "proc/cpuinfo": INTEL,
    **zone("intel-rapl:0", "package-0"),
    **zone("intel-rapl:0:0", "core"),
    **zone("intel-rapl:0:1", "uncore"),
    **zone("intel-rapl:1", "psys"),
    **zone("intel-rapl-mmio:0", "package-0"),
}
LAPTOP_RATES = {
    uj("intel-rapl:0"): 8e6,
    uj("intel-rapl:0:0"): 5e6,
    uj("intel-rapl:0:1"): 1e6,
    uj("intel-rapl:1"): 14e6,
    uj("intel-rapl-mmio:0"): 7.9e6,
}
SERVER = {
    "proc/cpuinfo": INTEL,
    **zone("intel-rapl:0", "package-0"),
    **zone("intel-rapl:1", "package-1"),
    **zone("intel-rapl:0:0", "dram"),
    **zone("intel-rapl:1:0", "dram"),
    # the same zones again where sysfs shows them inside their parents and their interface
    **zone("intel-rapl:0/intel-rapl:0:0", "dram"),
    **zone("intel-rapl/intel-rapl:0", "package-0"),
    **zone("intel-rapl/intel-rapl:0/intel-rapl:0:0", "dram"),
}
SERVER_RATES = {
    uj("intel-rapl:0"): 120e6,
    uj("intel-rapl:1"): 95e6,
    uj("intel-rapl:0:0"): 20e6,
    uj("intel-rapl:1:0"): 15e6,
    uj("intel-rapl:0/intel-rapl:0:0"): 20e6,
    uj("intel-rapl/intel-rapl:0"): 120e6,
    uj("intel-rapl/intel-rapl:0/intel-rapl:0:0"): 20e6,
}
DIES = {"proc/cpuinfo": AMD} | {
    name: text for die in range(4) for name, text in zone(f"intel-rapl:{die}", f"package-0-die-{die}").items()
}
VIRTUAL = "sys/devices/virtual/powercap/intel-rapl"
ONE = {"proc/cpuinfo": INTEL, **zone("intel-rapl:0", "package-0")}
DRAM = {**ONE, **zone("intel-rapl:0:0", "dram")}
PERF_FILES = {
    "proc/cpuinfo": INTEL,
    f"{PERF}/type": "9",
    f"{PERF}/cpumask": "0,16",
    f"{PERF}/events/energy-pkg": "event=0x02",
    f"{PERF}/events/energy-pkg.scale": "2.3283064365386962890625e-10",
    f"{PERF}/events/energy-pkg.unit": "Joules",
    f"{PERF}/events/energy-ram": "event=0x03",
    f"{PERF}/events/energy-ram.scale": "2.3283064365386962890625e-10",
    f"{PERF}/events/energy-ram.unit": "Joules",
}

LAYOUTS = [
    Layout("laptop_psys_children_mmio_twin", "rapl", LAPTOP, LAPTOP_RATES, watts=8, boundary="package"),
    Layout("two_sockets_with_dram", "rapl", SERVER, SERVER_RATES, watts=250, boundary="package+dram"),
    Layout(
        "epyc_dies_that_mirror_their_socket",
        "rapl",
        DIES,
        {uj(f"intel-rapl:{die}"): 137e6 for die in range(4)},
        watts=137,
        boundary="package",
        kind="measured-vendor-model",
    ),
    Layout(
        "two_sockets_of_equal_load_are_no_mirrors",
        "rapl",
        {"proc/cpuinfo": INTEL, **zone("intel-rapl:0", "package-0"), **zone("intel-rapl:1", "package-1")},
        {uj("intel-rapl:0"): 100e6, uj("intel-rapl:1"): 100e6},
        starts={uj("intel-rapl:1"): 5e9},
        watts=200,
        boundary="package",
    ),
    Layout(
        "container_with_the_tree_alone",
        "rapl",
        {
            "proc/cpuinfo": INTEL,
            **zone("intel-rapl:0", "package-0", VIRTUAL),
            **zone("intel-rapl:0/intel-rapl:0:0", "dram", VIRTUAL),
        },
        {uj("intel-rapl:0", VIRTUAL): 60e6, uj("intel-rapl:0/intel-rapl:0:0", VIRTUAL): 6e6},
        watts=66,
        boundary="package+dram",
    ),
    Layout(
        "root_only",
        "rapl",
        ONE,
        {uj("intel-rapl:0"): 9e6},
        errors={uj("intel-rapl:0"): errno.EACCES},
        refuses="sudo chmod a+r",
    ),
    Layout(
        "memory_is_root_only",
        "rapl",
        DRAM,
        {uj("intel-rapl:0"): 50e6, uj("intel-rapl:0:0"): 5e6},
        errors={uj("intel-rapl:0:0"): errno.EACCES},
        watts=50,
        boundary="package",
    ),
    Layout(
        "range_unreadable",
        "rapl",
        ONE,
        {uj("intel-rapl:0"): 30e6},
        errors={f"{CAP}/intel-rapl:0/max_energy_range_uj": errno.EACCES},
        watts=30,
        boundary="package",
    ),
    Layout(
        "input_output_error",
        "rapl",
        ONE,
        {uj("intel-rapl:0"): 9e6},
        errors={uj("intel-rapl:0"): errno.EIO},
        refuses="Input/output",
    ),
    Layout("empty_file", "rapl", {**ONE, uj("intel-rapl:0"): ""}, refuses="holds '', which is no number"),
    Layout("garbage", "rapl", {**ONE, uj("intel-rapl:0"): "n/a"}, refuses="holds 'n/a', which is no number"),
    Layout("not_a_number", "rapl", {**ONE, uj("intel-rapl:0"): "nan"}, refuses="which is no number"),
    Layout(
        "wraps_while_it_is_read",
        "rapl",
        DRAM,
        {uj("intel-rapl:0"): 150e6, uj("intel-rapl:0:0"): 10e6},
        starts={uj("intel-rapl:0"): RANGE_UJ - 150e6 * 105, uj("intel-rapl:0:0"): RANGE_UJ - 10e6 * 103},
        watts=160,
        boundary="package+dram",
    ),
    Layout(
        "platform_zone_alone",
        "rapl",
        {"proc/cpuinfo": INTEL, **zone("intel-rapl:0", "psys")},
        {uj("intel-rapl:0"): 21e6},
        watts=21,
        boundary="platform (psys)",
    ),
    Layout(
        "package_through_mmio_alone",
        "rapl",
        {"proc/cpuinfo": INTEL, **zone("intel-rapl-mmio:0", "package-0")},
        {uj("intel-rapl-mmio:0"): 11e6},
        watts=11,
        boundary="package",
    ),
    Layout(
        "memory_in_both_views",
        "rapl",
        {**DRAM, **zone("intel-rapl-mmio:0", "package-0"), **zone("intel-rapl-mmio:0:0", "dram")},
        {
            uj("intel-rapl:0"): 40e6,
            uj("intel-rapl:0:0"): 4e6,
            uj("intel-rapl-mmio:0"): 40e6,
            uj("intel-rapl-mmio:0:0"): 4e6,
        },
        watts=44,
        boundary="package+dram",
    ),
    Layout(
        "before_haswell",
        "rapl",
        {**ONE, "proc/cpuinfo": SANDY},
        {uj("intel-rapl:0"): 70e6},
        watts=70,
        boundary="package",
        kind="measured-vendor-model",
    ),
    Layout(
        "guest_that_shows_rapl",
        "rapl",
        {**ONE, "proc/cpuinfo": GUEST},
        {uj("intel-rapl:0"): 9e6},
        refuses="virtual machine",
    ),
    Layout("guest_without_anything", "rapl", {"proc/cpuinfo": GUEST}, refuses="it has no energy counters"),
    Layout("no_zones", "rapl", {"proc/cpuinfo": INTEL}, refuses="modprobe intel_rapl_msr"),
    Layout(
        "core_alone",
        "rapl",
        {**zone("intel-rapl:0", "core")},
        {uj("intel-rapl:0"): 1e6},
        refuses="no package zone, only: core",
    ),
    Layout("perf_two_sockets", "perf_power", PERF_FILES, watts=2 * 80 + 2 * 8, boundary="package+dram"),
    Layout(
        "perf_dies_of_one_amd_package",
        "perf_power",
        {key: text for key, text in PERF_FILES.items() if "ram" not in key}
        | {"proc/cpuinfo": AMD}
        | {f"sys/devices/system/cpu/cpu{cpu}/topology/physical_package_id": "0" for cpu in (0, 16)},
        watts=80,
        boundary="package",
        kind="measured-vendor-model",
    ),
    Layout(
        "perf_in_a_guest",
        "perf_power",
        {**PERF_FILES, "proc/cpuinfo": GUEST},
        refuses="virtual machine",
    ),
    Layout("perf_without_power", "perf_power", {"proc/cpuinfo": INTEL}, refuses="modprobe rapl"),
    Layout(
        "perf_of_another_unit",
        "perf_power",
        {**PERF_FILES, f"{PERF}/events/energy-pkg.unit": "Watts"},
        refuses="not Joules",
    ),
    Layout(
        "jetson_nano_iio",
        "jetson_ina",
        iio(
            f"{I2C}/ina3221x/6-0040/iio:device0",
            {0: ("POM_5V_IN", 4200), 1: ("POM_5V_GPU", 900), 2: ("POM_5V_CPU", 1300)},
        ),
        watts=4.2,
        boundary="board input",
    ),
    Layout(
        "jetson_xavier_nx",
        "jetson_ina",
        ina(
            f"{I2C}/ina3221/7-0040/hwmon/hwmon4",
            {
                1: ("VDD_IN", 5000, 1800),
                2: ("VDD_CPU_GPU_CV", 5000, 700),
                3: ("VDD_SOC", 5000, 300),
                7: ("sum of shunt voltages", 14, 2800),
            },
        ),
        watts=9,
        boundary="module",
    ),
    Layout(
        "jetson_agx_xavier_without_an_input_rail",
        "jetson_ina",
        iio(f"{I2C}/ina3221x/1-0040/iio:device0", {0: ("GPU", 4000), 1: ("CPU", 2500), 2: ("SOC", 1500)})
        | iio(f"{I2C}/ina3221x/1-0041/iio:device1", {0: ("CV", 500), 1: ("VDDRQ", 700), 2: ("SYS5V", 2800)}),
        watts=12,
        boundary="rails GPU + CPU + SOC + CV + VDDRQ + SYS5V",
    ),
    Layout(
        "jetson_agx_orin_two_monitors",
        "jetson_ina",
        ina(
            f"{I2C}/ina3221/1-0040/hwmon/hwmon3",
            {1: ("VDD_GPU_SOC", 12000, 500), 2: ("VDD_CPU_CV", 12000, 200), 3: ("VIN_SYS_5V0", 5000, 900)},
        )
        | ina(
            f"{I2C}/ina3221/1-0041/hwmon/hwmon4",
            {1: ("NC", 0, 0), 2: ("VDDQ_VDD2_1V8AO", 5000, 240), 3: ("NC", 0, 0)},
        ),
        watts=12.9,
        boundary="rails VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0",
    ),
    Layout(
        "jetson_orin_nx",
        "jetson_ina",
        ina(
            f"{I2C}/ina3221/1-0040/hwmon/hwmon1",
            {1: ("VDD_IN", 5000, 1300), 2: ("VDD_CPU_GPU_CV", 5000, 400), 3: ("VDD_SOC", 5000, 280)},
        ),
        watts=6.5,
        boundary="module",
    ),
    Layout(
        "jetson_thor_ina238",
        "jetson_ina",
        {
            f"{I2C}/ina238/2-0044/hwmon/hwmon5/name": "ina238",
            f"{I2C}/ina238/2-0044/hwmon/hwmon5/power1_input": "41500000",
            **ina(
                f"{I2C}/ina3221/2-0040/hwmon/hwmon6", {1: ("VDD_GPU", 12000, 900), 2: ("VDD_CPU_SOC_MSS", 12000, 600)}
            ),
        },
        watts=41.5,
        boundary="board input",
    ),
    Layout(
        "board_whose_rails_nobody_knows",
        "jetson_ina",
        ina(f"{I2C}/ina3221/1-0040/hwmon/hwmon1", {1: ("NC", 5000, 1), 2: ("VDD_A", 5000, 1), 3: ("VDD_B", 5000, 1)}),
        refuses="none of the rails VDD_A, VDD_B is known",
    ),
    Layout("no_jetson", "jetson_ina", {}, refuses="no power monitor of a Jetson"),
    Layout(
        "radeon_average_power",
        "amd_gpu",
        {
            "sys/class/drm/card1/device/hwmon/hwmon2/name": "amdgpu",
            "sys/class/drm/card1/device/hwmon/hwmon2/power1_average": "85000000",
            "sys/class/drm/card0/device/hwmon/hwmon1/name": "i915",
        },
        watts=85,
        boundary="gpu board, polled power",
    ),
    Layout(
        "radeon_with_a_counter",
        "amd_gpu",
        {"sys/class/drm/card0/device/hwmon/hwmon2/name": "amdgpu"},
        {"sys/class/drm/card0/device/hwmon/hwmon2/energy1_input": 210e6},
        watts=210,
        boundary="gpu board",
    ),
    Layout(
        "two_radeons",
        "amd_gpu",
        {
            f"sys/class/drm/card{n}/device/hwmon/hwmon{n}/{name}": text
            for n in (0, 1)
            for name, text in (("name", "amdgpu"), ("power1_average", "1"))
        },
        refuses="2 AMD GPUs: card0, card1; choose one",
    ),
    Layout(
        "radeon_without_sensor",
        "amd_gpu",
        {"sys/class/drm/card0/device/hwmon/hwmon2/name": "amdgpu"},
        refuses="neither energy nor power",
    ),
    Layout("no_radeon", "amd_gpu", {}, refuses="modprobe amdgpu"),
]
