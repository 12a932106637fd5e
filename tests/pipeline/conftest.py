"""What several tests of the learning side begin with; a file that needs another task has a fixture of its own."""

from __future__ import annotations

import pytest
from learning_helper import digits, made_targets

from pipeline import tasks
from pipeline.teacher_cache import TeacherTargets


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> tasks.Task:
    return digits(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def targets(task: tasks.Task) -> TeacherTargets:
    return made_targets(task)
