from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from learning_helper import TinyNet
from torch import nn

from hardware_targets import Worker
from hardware_targets._lock import device_lock
from pipeline.errors import Failed
from pipeline.tasks._images import Images, augmented
from pipeline.training import Batch, fit, in_row_order, logits_of, pays_in_bf16, schedule


def _stripes(rows: int = 96) -> tuple[Images, torch.Tensor]:
    """Two classes that a tiny net can tell apart: bright left or bright right half."""
    rng = np.random.default_rng(0)
    labels = np.arange(rows) % 2
    pixels = rng.integers(0, 80, (rows, 1, 8, 8)).astype(np.uint8)
    pixels[labels == 0, :, :4] += 150
    pixels[labels == 1, :, 4:] += 150
    return Images(pixels, [0.4], [0.3], batch_size=32), torch.from_numpy(labels)


def _net(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 2))


def _cross_entropy(net: nn.Module, labels: torch.Tensor) -> Callable[[Batch], torch.Tensor]:
    return lambda batch: nn.functional.cross_entropy(net(*batch.inputs).float(), labels[batch.rows])


def test_it_learns_and_calls_back_once_per_epoch() -> None:
    images, labels = _stripes()
    net, seen = _net(), []
    fit(
        net,
        images,
        _cross_entropy(net, labels),
        epochs=6,
        learning_rate=0.02,
        weight_decay=0.01,
        seed=0,
        on_epoch=lambda epoch, loss: seen.append((epoch, loss, net.training)),
    )
    assert [epoch for epoch, _, _ in seen] == list(range(6))
    assert seen[-1][1] < 0.5 * seen[0][1]
    assert not any(training for _, _, training in seen)
    assert (logits_of(net, images).argmax(1) == labels.numpy()).mean() > 0.95


def test_the_seed_decides_everything_and_the_global_state_stays() -> None:
    images, labels = _stripes()
    images = Images(images.pixels, images.mean, images.std, "flip_shift", 32)
    weights = []
    torch.manual_seed(5)
    before = torch.get_rng_state()
    for seed in (1, 1, 2):
        net = _net()
        fit(net, images, _cross_entropy(net, labels), epochs=2, learning_rate=0.01, weight_decay=0.0, seed=seed)
        weights.append(net[1].weight.detach().clone())  # type: ignore[index, union-attr]
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_loss_that_is_not_finite_ends_the_trial() -> None:
    images, labels = _stripes()
    net = _net()

    def explode(batch: Batch) -> torch.Tensor:
        return _cross_entropy(net, labels)(batch) * float("nan")

    with pytest.raises(Failed, match=r"diverged: the loss is nan in epoch 1; lower the learning rate"):
        fit(net, images, explode, epochs=1, learning_rate=0.01, weight_decay=0.0, seed=0)


def test_the_deadline_is_read_from_the_clock_given() -> None:
    images, labels = _stripes()
    net, ticks = _net(), itertools.count()
    with pytest.raises(Failed, match=r"time limit reached in epoch 2 of 5"):
        fit(
            net,
            images,
            _cross_entropy(net, labels),
            epochs=5,
            learning_rate=0.01,
            weight_decay=0.0,
            seed=0,
            deadline=4.5,
            clock=lambda: float(next(ticks)),
        )


def test_the_module_comes_back_in_eval_mode_and_plain_memory() -> None:
    net = TinyNet(classes=2)
    images, labels = _stripes()
    fit(net, images, _cross_entropy(net, labels), epochs=1, learning_rate=0.01, weight_decay=0.0, seed=0)
    assert not net.training
    assert all(parameter.is_contiguous() for parameter in net.parameters())


def test_bf16_stays_near_float32() -> None:
    images, labels = _stripes()
    found = []
    for precision in ("float32", "bf16"):
        net = _net()
        fit(
            net, images, _cross_entropy(net, labels), epochs=3, learning_rate=0.01, weight_decay=0.0, seed=0,
            precision=precision,  # type: ignore[arg-type]
        )  # fmt: skip
        assert net[1].weight.dtype == torch.float32  # type: ignore[index, union-attr]
        found.append(logits_of(net, images))
    assert not np.array_equal(found[0], found[1])
    assert np.abs(found[0] - found[1]).mean() < 0.1 * np.abs(found[0]).mean()


def test_the_schedule_rises_and_falls() -> None:
    rates = [schedule(step, 100) for step in range(100)]
    top = int(np.argmax(rates))
    assert 15 <= top <= 25
    assert max(rates) == pytest.approx(1.0, abs=0.02)
    assert rates[0] < 0.1
    assert rates[-1] < 0.01
    assert np.all(np.diff(rates[:top]) > 0)
    assert np.all(np.diff(rates[top:]) < 0)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_schedule_of_very_few_steps_is_positive(steps: int) -> None:
    assert all(0 < schedule(step, steps) <= 1 for step in range(steps))


def test_an_epoch_shows_each_row_once_and_drops_little() -> None:
    images, _ = _stripes(100)
    rows = torch.cat([batch.rows for batch in images.epoch(torch.Generator().manual_seed(0))])
    assert len(set(rows.tolist())) == len(rows) == 96
    small = Images(images.pixels[:5], [0.0], [1.0], batch_size=32)
    assert [len(batch.rows) for batch in small.epoch(torch.Generator())] == [5]


def test_shift_moves_and_pads_with_black() -> None:
    pixels = torch.full((64, 2, 14, 14), 9, dtype=torch.uint8)
    pixels[:, 1] = 7
    moved, mirrored = augmented(pixels, "shift", torch.Generator().manual_seed(0))
    assert moved.shape == pixels.shape
    assert not mirrored.any()
    assert set(moved[:, 0].unique().tolist()) == {0, 9}  # reach is 1: a row or a column of black at most
    assert set(moved[:, 1].unique().tolist()) == {0, 7}
    black = (moved[:, 0] == 0).sum((1, 2))
    assert set(black.tolist()) <= {0, 14, 27}
    assert len(set(black.tolist())) == 3


def test_a_shift_is_a_translation_of_the_picture() -> None:
    pixels = torch.arange(1, 65, dtype=torch.uint8).view(1, 1, 8, 8)
    for seed in range(20):
        moved = augmented(pixels, "shift", torch.Generator().manual_seed(seed))[0][0, 0]
        places = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
        padded = nn.functional.pad(pixels, (1, 1, 1, 1))[0, 0]
        assert any(torch.equal(moved, padded[1 + dy : 9 + dy, 1 + dx : 9 + dx]) for dy, dx in places)


def test_flip_shift_says_which_images_were_mirrored() -> None:
    pixels = torch.zeros(200, 1, 8, 8, dtype=torch.uint8)
    pixels[..., :2] = 200  # bright on the left, and a shift of one pixel leaves it there
    moved, mirrored = augmented(pixels, "flip_shift", torch.Generator().manual_seed(0))
    right_is_bright = moved[:, 0, :, 4:].float().mean((1, 2)) > moved[:, 0, :, :4].float().mean((1, 2))
    assert torch.equal(right_is_bright, mirrored)
    assert 60 < int(mirrored.sum()) < 140


def test_bf16_is_for_plain_convolutions_and_wide_products_only(monkeypatch: pytest.MonkeyPatch) -> None:
    separable = nn.Sequential(nn.Conv2d(32, 32, 3, groups=32), nn.Conv2d(32, 64, 1))
    monkeypatch.setattr("pipeline.training.computes_bf16", lambda: True)
    assert pays_in_bf16(TinyNet())
    assert not pays_in_bf16(separable)
    assert not pays_in_bf16(nn.Linear(8, 8))
    encoder = nn.Sequential(nn.Embedding(5000, 256), nn.Linear(256, 256), nn.LayerNorm(256))
    assert pays_in_bf16(encoder)  # its embedding is looked up, and does not count
    assert not pays_in_bf16(nn.Sequential(nn.Embedding(5000, 128), nn.Linear(128, 512), nn.Linear(512, 128)))
    monkeypatch.setattr("pipeline.training.computes_bf16", lambda: False)
    assert not pays_in_bf16(TinyNet())


def test_answers_stand_in_the_order_of_the_rows() -> None:
    class Sorted:
        """Serves the longest rows first, as texts are."""

        steps = 1

        def in_order(self, batch_size: int = 256) -> Iterator[Batch]:
            for rows in torch.tensor([4, 0, 3, 1, 2]).split(batch_size):
                yield Batch((rows[:, None].float(),), rows, torch.zeros(len(rows), dtype=torch.bool))

        epoch = in_order

    found = logits_of(nn.Identity(), Sorted(), 2)
    assert found.tolist() == [[0], [1], [2], [3], [4]]
    assert in_row_order([np.array([7, 8]), np.array([9])], [np.array([2, 0]), np.array([1])]).tolist() == [8, 9, 7]


def test_training_stands_still_while_something_is_timed_and_so_does_its_clock(tmp_path: Path) -> None:
    images, labels = _stripes()
    net, inside = _net(), threading.Event()
    path, losses, while_timed = tmp_path / "lock", [], []
    cross_entropy = _cross_entropy(net, labels)

    def loss(batch: Batch) -> torch.Tensor:
        losses.append(1)
        return cross_entropy(batch)

    def measure() -> None:
        with device_lock(path, 5.0):
            inside.set()
            before = len(losses)
            time.sleep(0.5)
            while_timed.append(len(losses) - before)

    def time_it(epoch: int, _: float) -> None:
        if epoch == 0:
            thread.start()
            inside.wait()

    thread, worker = threading.Thread(target=measure), Worker(path)
    fit(
        net,
        images,
        loss,
        epochs=2,
        learning_rate=0.01,
        weight_decay=0.0,
        seed=0,
        on_epoch=time_it,
        deadline=worker.clock() + 30,
        worker=worker,
    )
    thread.join()
    assert while_timed == [0]
    assert len(losses) == 6
    assert time.monotonic() - worker.clock() > 0.1  # so much later is the deadline
