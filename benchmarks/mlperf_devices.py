"""Writes hardware_targets/devices/*.yaml from the published grids; the coefficients are committed, the table is not.

    .venv/bin/python benchmarks/mlperf_devices.py

Left out: the v2.0 folders of an Odroid N2+ (no target of ours, and under another board's name); RK3588S TFLite v2.1,
where 24 of 32 MobileNetV1 rows waited some 20 to 50 ms more than the network takes, at a third of the watts; v4.0
rows that prepare images while they are timed, and those of one precision.
"""

from __future__ import annotations

import mlperf_rows
from mlperf_rows import FIXED_ON, ROOT, SCORED_ON, SOURCE, Group

from hardware_targets._calibrating import lines
from hardware_targets._calibration import calibrate
from hardware_targets._device_file import write_device

DATE = "2026-11-23"
PUBLISHED = {"v2.0": "2022-04", "v2.1": "2022-09", "v3.0": "2023-04", "v3.1": "2023-09", "v4.0": "2024-03"}
# file: (device, {results folder: (submitter, runtime)})
DEVICES: dict[str, tuple[str, dict[str, tuple[str, str]]]] = {
    "raspberry_pi_4": (
        "Raspberry Pi 4 Model B",
        {
            "v2.0/rpi4-tflite-v2.7.1-ruy": ("Krai", "TFLite 2.7.1 (ruy)"),
            "v3.1/raspberrypi4-tflite_armnn_cpp-cpu-armnn_tflite-v22.11-using_neon": ("cTuning", "ArmNN 22.11 (Neon)"),
            "v3.1/raspberrypi4-tflite_armnn_cpp-cpu-armnn_tflite-v23.05-using_neon": ("cTuning", "ArmNN 23.05 (Neon)"),
        },
    ),
    "rk3588s": (
        "Firefly board with RK3588S",
        {
            "v3.0/firefly-tflite-v2.11.0-ruy": ("Krai", "TFLite 2.11.0 (ruy)"),
            "v3.0/firefly-armnn-v22.11-neon": ("Krai", "ArmNN 22.11 (Neon)"),
            "v3.0/firefly-armnn-v22.11-opencl": ("Krai", "ArmNN 22.11 (OpenCL)"),
            "v2.1/firefly-armnn-v22.05-neon": ("Krai", "ArmNN 22.05 (Neon)"),
            "v2.1/firefly-armnn-v22.05-opencl": ("Krai", "ArmNN 22.05 (OpenCL)"),
        },
    ),
    "jetson_agx_xavier": (
        "NVIDIA Jetson AGX Xavier, power mode 0 (MAXN)",
        {
            "v2.0/xavier-power.0-fan.cool-tflite-v2.7.1-ruy": ("Krai", "TFLite 2.7.1 (ruy)"),
            "v2.0/xavier-power.0-fan.cool-armnn-v21.11-neon": ("Krai", "ArmNN 21.11 (Neon)"),
        },
    ),
    "jetson_agx_orin": (
        "NVIDIA Jetson AGX Orin, power mode not stated",
        {
            "v2.1/orin-tflite-v2.7.1-ruy": ("Krai", "TFLite 2.7.1 (ruy)"),
            "v2.1/orin-armnn-v22.05-neon": ("Krai", "ArmNN 22.05 (Neon)"),
            "v3.0/nvidia_orin-tflite_cpp-cpu-tflite-vmaster-default_config": (
                "cTuning",
                "TFLite master of 2023 (XNNPACK)",
            ),
            "v3.0/nvidia_orin-tflite_armnn_cpp-cpu-armnn_tflite-v22.11-using_neon": ("cTuning", "ArmNN 22.11 (Neon)"),
            "v4.0/Nvidia_Jetson_Orin_AGX-tflite_cpp-cpu-tflite-vmaster-default_config": (
                "cTuning",
                "TFLite master of 2024",
            ),
        },
    ),
    "jetson_agx_orin_maxq": (
        "NVIDIA Jetson AGX Orin, not MAXN (folders named maxq)",
        {
            "v3.1/Nvidia_Jetson_Orin_MaxQ-tflite_cpp-cpu-tflite-vmaster-default_config": (
                "cTuning",
                "TFLite master of 2023",
            ),
            "v3.1/nvidia_orin_maxq-tflite_armnn_cpp-cpu-armnn_tflite-v22.11-using_neon": (
                "cTuning",
                "ArmNN 22.11 (Neon)",
            ),
            "v3.1/nvidia_orin_maxq-tflite_armnn_cpp-cpu-armnn_tflite-v23.05-using_neon": (
                "cTuning",
                "ArmNN 23.05 (Neon)",
            ),
        },
    ),
}


def main() -> int:
    if not mlperf_rows.TABLE.is_file():
        print(mlperf_rows.MISSING)
        return 0
    found = {group.name: group for group in mlperf_rows.groups(FIXED_ON + SCORED_ON)}
    for stem, (device, folders) in DEVICES.items():
        rows = [row for name, (_, runtime) in folders.items() for row in mlperf_rows.named(found[name], runtime)]
        sources = {runtime: _source(found[name], who) for name, (who, runtime) in folders.items()}
        model = calibrate(
            rows, device=device, boundary="wall", source=SOURCE, date=DATE, latency_statistic="p90", sources=sources
        )
        write_device(model, ROOT / "hardware_targets" / "devices" / f"{stem}.yaml")
        print("\n".join(lines(model)))
    return 0


def _source(group: Group, who: str) -> str:
    return f"{group.version} of {PUBLISHED[group.version]}, {who}, {group.folder}"


if __name__ == "__main__":
    raise SystemExit(main())
