"""The table of metrics: what of a trial's figures are its own."""

from __future__ import annotations

import pytest

from pipeline.metrics import known


@pytest.mark.parametrize("end", ["refused", "stopped", "failed", "pending", "interrupted"])
def test_a_quality_for_the_sampler_is_nobody_elses(end: str) -> None:
    assert known(end, {"accuracy": 0.1, "latency_p50_ms": 2.0, "macro_f1": 0.1}) == {"latency_p50_ms": 2.0}


@pytest.mark.parametrize("end", ["complete", "duplicate"])
def test_what_was_scored_is_shown_whole(end: str) -> None:
    figures = {"latency_p50_ms": 2.0, "accuracy": 0.9}
    assert known(end, figures) == figures and list(known(end, figures)) == ["accuracy", "latency_p50_ms"]
