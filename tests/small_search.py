"""The smallest real search: handwritten digits, a teacher of a few seconds, students that train in one."""

from __future__ import annotations

from typing import Any

SPACE: dict[str, Any] = {
    "students": ["identity", "convnet", "transformer"],
    "convnet": {"width": [8, 16], "depth": 1, "stages": 2},
    "transformer": {"layers": [1, 2], "heads": [1, 2]},
    "distill": {"epochs": 2},
    "prune": {"ratio": [0, 0.5], "recovery_epochs": 1},
}


def small_search(name: str, trials: int, *, rows: int = 1200, **changes: Any) -> dict[str, Any]:
    """A configuration as plain data, with `changes` in the place of whole sections; `rows` of train are read."""
    return {
        "name": name,
        "task": {
            "data": {"source": "sklearn", "name": "digits"},
            "size": 8,
            "channels": 1,
            "limit_rows": {"train": rows},
            "augmentations": ["none", "shift"],
        },
        "teacher": {
            "size": 32,
            "train": {
                "model_type": "resnet",
                "config": {"embedding_size": 32, "hidden_sizes": [32, 64], "depths": [1, 1], "layer_type": "basic"},
                "epochs": 4,
                "learning_rate": 0.005,
            },
        },
        "target": {"name": "local_cpu", "seconds": 1},
        "energy": "modelled",
        "space": SPACE,
        "limits": {"trials": trials},
        "recipes": "none",
        **changes,
    }
