"""Energy without a counter: watts that were metered on a like device, times the time measured here, with a band."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from hardware_targets._device_file import device_names, device_path, read_device
from hardware_targets._energy_model import KIND, DeviceModel
from hardware_targets._errors import TargetError
from hardware_targets._measurement import Conditions, Energy, Latency


class Meter:
    """`device`: a description that comes with the package, or the path of one that `calibrate` wrote.

    `runtime` names the model in it to use where none was fitted on the runtime here; `precision` and `macs_m` are
    those of the candidate, where they are the same for all. What the fit does not cover is flagged `extrapolated` and
    ranks nothing across precisions (`_energy_model.is_extrapolated`).
    """

    kind = KIND

    def __init__(
        self,
        device: str | Path | None = None,
        runtime: str | None = None,
        precision: str | None = None,
        macs_m: float | None = None,
    ) -> None:
        self._device, self._runtime, self._precision, self._macs_m = device, runtime, precision, macs_m

    @property
    def boundary(self) -> str:
        """Where the meter of the fit sat."""
        return "told by the device description" if self.unavailable() else self._model.boundary

    def unavailable(self) -> str | None:
        if self._device is None:
            known = ", ".join(device_names())
            return (
                f"it is not told which device this is; give `device`: one of {known}, or the path of a description "
                "that `python -m hardware_targets calibrate` wrote"
            )
        try:
            runtimes = [model.runtime for model in self._model.models]
        except TargetError as error:
            return str(error)
        if self._runtime is not None and self._runtime not in runtimes:
            return f"{self._model.device} has no runtime {self._runtime!r}; there are: {', '.join(runtimes)}"
        return None

    def energy(
        self, latency: Latency, conditions: Conditions, *, precision: str | None = None, macs_m: float | None = None
    ) -> Energy:
        """Energy of one inference; what is known of the candidate makes the band narrower. Errors: TargetError."""
        return self._model.energy(
            latency,
            runtime=conditions.runtime,
            version=conditions.runtime_version,
            threads=conditions.threads,
            precision=precision or self._precision,
            macs_m=macs_m or self._macs_m,
            prefer=self._runtime,
        )

    @cached_property
    def _model(self) -> DeviceModel:
        if self._device is None:
            raise TargetError(str(self.unavailable()))
        return read_device(device_path(self._device))
