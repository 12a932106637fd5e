"""Before a search begins: whether its device gives energy of the kind that was asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import fakes
import pytest
import synthetic

import hardware_targets
from hardware_targets import DeviceAway
from pipeline.errors import Unavailable
from pipeline.workbench import prepare_target


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`prepare_target` of a configuration, on a target that says `kind`."""

    def prepare(kind: Callable[[], str] | None, **changes: Any) -> Any:
        target = fakes.ScriptedTarget()
        if kind is not None:
            target.energy_kind = kind  # type: ignore[attr-defined]
        monkeypatch.setattr(hardware_targets, "load", lambda *_, **__: target)
        return prepare_target(synthetic.config(1, **changes))

    return prepare


@pytest.mark.parametrize("kind", ["measured", "measured-vendor-model"])
def test_a_counter_of_the_device_is_enough(prepared: Any, kind: str) -> None:
    assert prepared(lambda: kind, energy="measured").name == "scripted"


@pytest.mark.parametrize("kind", [lambda: "modelled-calibrated", lambda: "unknown", None])
def test_a_model_must_be_accepted(prepared: Any, kind: Any) -> None:
    with pytest.raises(Unavailable, match="nothing on 'local_cpu' measures it"):
        prepared(kind, energy="measured")
    prepared(kind, energy="modelled")


def test_a_meter_that_cannot_be_read_ends_it_unless_nobody_asks(prepared: Any) -> None:
    with pytest.raises(Unavailable, match="cannot be read"):
        prepared(lambda: "unmeasured")
    prepared(lambda: "unmeasured", objectives=["accuracy", "latency_p50_ms"])


def test_a_device_that_goes_away_when_it_is_asked_is_a_sentence(prepared: Any) -> None:
    def away() -> str:
        raise DeviceAway("pi does not answer")

    with pytest.raises(Unavailable, match="pi does not answer"):
        prepared(away)
