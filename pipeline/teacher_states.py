"""The teacher's hidden states of the training texts, computed once within a bound and then memory-mapped.

    <folder>/<key>/starts.npy     int64 [N + 1], where a row's tokens begin
    <folder>/<key>/<layer>.npy    float16 [tokens, W]; `embedded`, or the number of the layer that gave them

Read back, a batch costs no pass through the teacher. What does not fit is not kept: the teacher then runs beside the
student, as it does for attention and relations, whose size grows with the square of a text's length.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hardware_targets import this_worker
from pipeline.arrays import fresh, mapped, roomy
from pipeline.tasks import Batches
from pipeline.training import Batch, pays_in_bf16

Layer = int | str
EMBEDDED = "embedded"
SPARE = 1e9  # bytes of the disk that are left for other things


@dataclass(frozen=True)
class Held:
    """Hidden states of some layers, for the rows of train."""

    starts: np.ndarray
    layers: tuple[np.ndarray, ...]

    def __call__(self, batch: Batch) -> list[Tensor] | None:
        """float32 [B, T, W] for each layer, 0 where the batch is padded; None for rows that are not held."""
        rows, mask = batch.rows.numpy(), batch.inputs[1].numpy().astype(bool)
        if rows.max() >= len(self.starts) - 1:
            return None
        places = (self.starts[rows][:, None] + np.arange(mask.shape[1]))[mask]
        found = []
        for held in self.layers:
            states = torch.zeros((*mask.shape, held.shape[1]))
            states[torch.from_numpy(mask)] = torch.from_numpy(held[places]).float()
            found.append(states)
        return found


@dataclass(frozen=True)
class TeacherStates:
    """Where they are kept, and how many bytes all of them may take; `key` is data and teacher in plain words."""

    folder: Path
    most_bytes: float
    key: tuple[Any, ...]
    say: Callable[[str], None] = lambda _: None

    def of(
        self, teacher: Callable[[], nn.Module], batches: Batches, read_as: Any, layers: Sequence[Layer]
    ) -> Held | None:
        """Those of every row of `batches`, which `read_as` describes; None where they would take more than there is."""
        place = self.folder / hashlib.sha256(json.dumps([self.key, read_as]).encode()).hexdigest()[:16]
        missing = [layer for layer in dict.fromkeys(layers) if not (place / f"{layer}.npy").exists()]
        if missing:
            module = teacher()
            starts = self._starts(place, batches)
            shape = (int(starts[-1]), int(module.word.embedding_dim))
            if not self._room(more := 2 * shape[0] * shape[1] * len(missing)):
                self.say(
                    f"the teacher's hidden states take {more / 1e9:.2g} GB, which limits.states_gb or the disk "
                    "has not; the teacher runs beside the student"
                )
                return None
            self.say(f"computing the teacher's hidden states once: {', '.join(map(str, missing))}")
            _compute(module, batches, place, starts, missing, shape)
        held = tuple(mapped(place / f"{layer}.npy") for layer in layers)
        return Held(np.asarray(mapped(place / "starts.npy")), held)

    def _starts(self, place: Path, batches: Batches) -> np.ndarray:
        path = place / "starts.npy"
        if not path.exists():
            lengths = dict[int, int]()
            for batch in batches.in_order():
                lengths.update(zip(batch.rows.tolist(), batch.inputs[1].sum(1).tolist(), strict=True))
            with fresh(path) as beside, beside.open("wb") as file:
                np.save(file, np.cumsum([0, *(lengths[row] for row in range(len(lengths)))]))
        return np.asarray(mapped(path))

    def _room(self, more: float) -> bool:
        kept = sum(path.stat().st_size for path in self.folder.rglob("*.npy"))
        free = shutil.disk_usage(self.folder).free - SPARE
        return kept + more <= self.most_bytes and more <= free


def _compute(
    module: nn.Module,
    batches: Batches,
    place: Path,
    starts: np.ndarray,
    layers: Sequence[Layer],
    shape: tuple[int, int],
) -> None:
    with ExitStack() as stack:
        arrays = []
        for layer in layers:
            beside = stack.enter_context(fresh(place / f"{layer}.npy"))
            arrays.append(roomy(beside, shape, np.float16))
        for rows, states in _passes(module, batches, layers):
            for row, *parts in zip(rows, *states, strict=True):
                for array, part in zip(arrays, parts, strict=True):
                    array[starts[row] : starts[row + 1]] = part[: starts[row + 1] - starts[row]]
        for array in arrays:
            array.flush()


def _passes(
    module: nn.Module, batches: Batches, layers: Sequence[Layer]
) -> Iterator[tuple[list[int], list[np.ndarray]]]:
    """Rows, and float16 [B, T, W] for each layer."""
    low = pays_in_bf16(module)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=low):
        for batch in batches.in_order():
            with this_worker().step():
                states = module.states(*batch.inputs)
            found = [states.embedded if layer == EMBEDDED else states.hidden[int(layer)] for layer in layers]
            # half precision suffices for a target; its largest number is 65504
            yield batch.rows.tolist(), [state.float().clamp(-65504, 65504).half().numpy() for state in found]
