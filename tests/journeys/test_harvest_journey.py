"""A real small search that trains students pruned and harvests what they were before."""

from __future__ import annotations

import pytest

from pipeline.record import UNPRUNED, read_records, trial_folder
from pipeline.student_files import load_student

pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]


def parameters(home, number: int) -> int:
    module = load_student(trial_folder(home.search, number)).module
    return sum(tensor.numel() for tensor in module.parameters())


def test_a_pruned_student_serves_the_whole_one(own_home) -> None:
    space = {
        "students": ["convnet"],
        "convnet": {"width": 16, "depth": 1, "stages": 2},
        "distill": {"epochs": 2, "augment": "none"},
        "prune": {"ratio": [0, 0.5], "recovery_epochs": 1, "criterion": "magnitude"},
        "quantize": {"scheme": ["none", "static_int8"]},
    }
    own_home.write(space=space, trials={"harvest": 3}, sampler="random", keep="all", limits={"trials": 9})
    done = own_home.niwaki("search", "small.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    records = {record.number: record for record in read_records(own_home.search)}
    children = [record for record in records.values() if record.trained_by is not None]
    ratio = {number: record.candidate.section("prune")["ratio"] for number, record in records.items()}
    whole = [child for child in children if ratio[child.trained_by] > 0 and ratio[child.number] == 0]
    assert whole, ratio
    for child in children:
        assert child.end == "complete" and "distill" not in child.seconds, child.reason
    for child in whole:
        assert not child.curve and "recover" not in child.seconds  # nothing was learned for it
        assert parameters(own_home, child.number) > parameters(own_home, child.trained_by)
        assert child.metrics["accuracy"] > 0.3  # ten classes
    assert not list(own_home.search.rglob(UNPRUNED))
