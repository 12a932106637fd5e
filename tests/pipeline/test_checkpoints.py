"""Half-trained students on disk: whole or not there, bounded, and nothing that could run."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from pipeline.checkpoints import Checkpoints
from pipeline.errors import Unavailable
from pipeline.training_state import TrainingState
from search_spaces.candidate import Candidate

STATE = TrainingState(2, {"weights.a": torch.arange(1000.0), "random.order": torch.arange(5, dtype=torch.uint8)})
ROWS = [{"epoch": 1, "loss": 0.5, "rung_accuracy": 0.25, "seconds": 1.5}, {"epoch": 2, "rung_accuracy": 0.5}]


def candidate(number: int) -> Candidate:
    return Candidate.of({"student": "convnet", "number": number}, seed=number)


def test_what_is_saved_comes_back_and_replaces_what_was_there(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path / "new", 1e9)
    assert store.load("none") is None and store.seed("none") is None and store.keys() == set()
    store.save(candidate(7), TrainingState(1, {}), [])
    store.save(candidate(7), STATE, ROWS)
    found = store.load(candidate(7).key)
    assert found is not None and (found.seed, found.state.epoch, list(found.curve)) == (7, 2, ROWS)
    assert all(torch.equal(found.state.tensors[name], value) for name, value in STATE.tensors.items())
    assert store.seed(candidate(7).key) == 7 and store.keys() == {candidate(7).key}
    assert [path.name for path in (tmp_path / "new").iterdir()] == [f"{candidate(7).key}.safetensors"]


def test_a_write_that_breaks_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Checkpoints(tmp_path, 1e9)
    store.save(candidate(1), STATE, ROWS)

    def broken(_tensors: object, path: Path, **_: object) -> None:
        path.write_bytes(b"half")
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.torch.save_file", broken)
    with pytest.raises(Unavailable, match=r"the disk is full: .* free some space"):
        store.save(candidate(1), TrainingState(3, {}), [])
    found = store.load(candidate(1).key)
    assert found is not None and found.state.epoch == 2
    assert not list(tmp_path.glob(".*"))


def test_damaged_and_pickled_files_are_as_good_as_none(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path, 1e9)
    for number, content in enumerate((b"", b"half of it", pickle.dumps({"epoch": 1}))):
        (tmp_path / f"{number}.safetensors").write_bytes(content)
        assert store.load(str(number)) is None and store.seed(str(number)) is None


def test_those_that_may_go_make_room_in_their_order(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path, 1e9)
    for number in range(4):
        store.save(candidate(number), STATE, ROWS)
    keys = [candidate(number).key for number in range(4)]
    each = (tmp_path / f"{keys[0]}.safetensors").stat().st_size
    assert store.trim(keys) == []
    tight = Checkpoints(tmp_path, 2.5 * each)
    assert tight.trim([keys[2], keys[1], keys[0]]) == [keys[2], keys[1]]
    assert tight.keys() == {keys[0], keys[3]}
    assert Checkpoints(tmp_path, 0.1).trim([keys[0]]) == [keys[0]]  # what may not go stays, whatever it takes
    store.drop([keys[3], "unknown"])
    assert store.keys() == set()
