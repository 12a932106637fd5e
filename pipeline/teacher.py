"""The large model: loaded from a folder or the hub, or trained here. The only file that knows `transformers`."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pipeline.arrays import fresh
from pipeline.config import TeacherTraining
from pipeline.errors import ConfigError, Failed, Unavailable
from pipeline.quality import quality_with_intervals
from pipeline.record import write_json
from pipeline.tasks import Task
from pipeline.teacher_files import (
    check_files,
    class_order,
    first_line,
    local_folder,
    processor_size,
    read_processor,
    rescaling,
)
from pipeline.training import Batch, Images, check_precision, fit, logits_of

REPORT = "niwaki_teacher.json"


class TeacherModule(nn.Module):
    """forward(pixels normalised as the task does, float32 [N, C, S, S]) -> logits [N, K] in the task's class order.

    Where the model was trained on another normalisation or class order, both are put right in here, so that teacher
    and students read the very same inputs.
    """

    def __init__(
        self,
        model: nn.Module,
        order: Sequence[int] | None = None,
        rescale: tuple[Sequence[float], Sequence[float]] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.reordered = order is not None
        self.rescaled = rescale is not None
        scale, shift = rescale or ([1.0], [0.0])
        self.register_buffer("order", torch.tensor(list(order or [])), persistent=False)
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32).view(-1, 1, 1), persistent=False)
        self.register_buffer("shift", torch.tensor(shift, dtype=torch.float32).view(-1, 1, 1), persistent=False)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        if self.rescaled:
            pixels = pixels * self.scale + self.shift
        logits: torch.Tensor = self.model(pixel_values=pixels).logits
        return logits.index_select(1, self.order) if self.reordered else logits


@dataclass(frozen=True)
class Teacher:
    """A model in eval mode with what students need of it; `size` is the side of its input in pixels."""

    module: TeacherModule
    size: int
    classes: list[str]
    sha256: str  # of its weights and configuration
    place: str
    notes: tuple[str, ...] = ()

    def logits(self, pixels: torch.Tensor) -> torch.Tensor:
        """float32 [N, K], of pixels normalised as the task does."""
        return self.outputs(pixels)[0]

    def features(self, pixels: torch.Tensor) -> torch.Tensor | None:
        """float32 [N, D]: the pooled hidden state that its classifier reads; None where it is not to be had."""
        return self.outputs(pixels)[1]

    def outputs(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Logits and features from one pass."""
        head = _head(self.module.model, len(self.classes))
        seen: list[torch.Tensor] = []
        hook = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0])) if head is not None else None
        try:
            with torch.no_grad():
                logits = self.module(pixels)
        finally:
            if hook is not None:
                hook.remove()
        pooled = seen[-1] if seen and seen[-1].ndim == 2 else None
        return logits, pooled


@dataclass(frozen=True)
class TeacherReport:
    """How a teacher was made and how good it is on validation; stored beside its weights."""

    place: str
    metrics: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    seconds: float
    parameters: int
    size: int
    data: str  # the task's fingerprint
    training: Mapping[str, Any]
    curve: tuple[Mapping[str, float], ...]


def teacher_folder(root: Path, name: str, training: TeacherTraining, fingerprint: str, size: int) -> Path:
    """Where a teacher so made from these data is kept, so that it is trained once."""
    recipe = json.dumps([training.model_dump(mode="json"), fingerprint, size], sort_keys=True)
    return root / "teachers" / f"{name}-{hashlib.sha256(recipe.encode()).hexdigest()[:8]}"


def load_teacher(place: str, task: Task, *, size: int | None = None, trust_remote_code: bool = False) -> Teacher:
    """A trained image classifier from a local folder or the hub, safetensors only.

    `size` defaults to its processor's, then its configuration's, then the task's. Errors: ConfigError where files,
    labels or shapes do not fit; Unavailable when the hub cannot be reached.
    """
    folder = local_folder(place)
    if folder is not None:
        check_files(folder)
    model = _from_pretrained(place, trust_remote_code=trust_remote_code)
    order, notes = class_order(model.config, task.classes, place)
    processor = read_processor(_processor_file(place, folder))
    rescale, more = rescaling(processor, task)
    side = size or processor_size(processor) or _config_size(model.config) or task.size
    module = TeacherModule(model, order, rescale).eval()
    _check_input(module, task.channels, side, place)
    return Teacher(module, side, list(task.classes), _sha256(model), place, (*notes, *more))


def train_teacher(
    training: TeacherTraining,
    task: Task,
    out: Path,
    *,
    size: int,
    progress: Callable[[str], None] = lambda _: None,
    deadline: float | None = None,
) -> TeacherReport:
    """Train from scratch or fine-tune, and store the model, its preprocessing and its report in folder `out`.

    `progress` is told one line per epoch. The folder appears whole or not at all. Errors: ConfigError, Failed.
    """
    check_precision(training.precision)
    begin = time.monotonic()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        model = _untrained(training, task, size)
    module = TeacherModule(model)
    _check_input(module.eval(), task.channels, size, training.model_type or str(training.from_checkpoint))
    labels, weights = torch.from_numpy(task.labels("train")), torch.from_numpy(task.class_weight_vector())
    images = Images(task.pixels("train", size), task.mean, task.std, training.augment, training.batch_size)
    held_out = Images(task.pixels("validation", size), task.mean, task.std)
    curve: list[dict[str, float]] = []

    def loss_fn(batch: Batch) -> torch.Tensor:
        return nn.functional.cross_entropy(
            module(batch.pixels).float(), labels[batch.rows], weights, label_smoothing=training.label_smoothing
        )

    def on_epoch(epoch: int, loss: float) -> None:
        value = task.score(task.labels("validation"), logits_of(module, held_out))[task.metric]
        seconds = time.monotonic() - begin
        curve.append({"epoch": epoch + 1, "loss": loss, task.metric: value, "seconds": round(seconds, 1)})
        progress(
            f"teacher: epoch {epoch + 1} of {training.epochs}, loss {loss:.4f}, validation {task.metric} {value:.4f}, "
            f"{seconds:.0f} s"
        )

    fit(
        module,
        images,
        loss_fn,
        epochs=training.epochs,
        learning_rate=training.learning_rate,
        weight_decay=training.weight_decay,
        seed=training.seed,
        on_epoch=on_epoch,
        deadline=deadline,
        precision=training.precision,
    )
    logits = logits_of(module, held_out)
    if not np.isfinite(logits).all():
        raise Failed("the trained teacher gives NaN or infinite outputs; lower `teacher.train.learning_rate`")
    metrics, intervals = quality_with_intervals(task.labels("validation"), logits)
    report = TeacherReport(
        place=str(out),
        metrics=metrics,
        intervals=intervals,
        seconds=round(time.monotonic() - begin, 1),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        size=size,
        data=task.fingerprint,
        training=training.model_dump(mode="json"),
        curve=tuple(curve),
    )
    _store(out, model, task, size, report)
    return report


def _store(out: Path, model: Any, task: Task, size: int, report: TeacherReport) -> None:
    with fresh(out) as beside:
        with _quiet():
            model.save_pretrained(beside, safe_serialization=True)
        write_json(
            beside / "preprocessor_config.json",
            {
                "image_processor_type": "ViTImageProcessor",  # transformers' plain resize, rescale, normalise
                "do_resize": True,
                "size": {"height": size, "width": size},
                "resample": 2,  # Pillow's number for bilinear
                "do_rescale": True,
                "rescale_factor": 1 / 255,
                "do_normalize": True,
                "image_mean": list(task.mean),
                "image_std": list(task.std),
            },
        )
        write_json(beside / REPORT, asdict(report))


def _untrained(training: TeacherTraining, task: Task, size: int) -> Any:
    from transformers import AutoConfig, AutoModelForImageClassification

    names = dict(enumerate(task.classes))
    heads = {"id2label": names, "label2id": {name: number for number, name in names.items()}}
    if training.from_checkpoint is not None:
        folder = local_folder(training.from_checkpoint)
        if folder is not None:
            check_files(folder)
        return _from_pretrained(training.from_checkpoint, new_head=True, num_labels=len(names), **heads)
    kind = str(training.model_type)
    try:
        with _quiet():
            plain = AutoConfig.for_model(kind)
            shape = {"image_size": size} if hasattr(plain, "image_size") else {}
            config = AutoConfig.for_model(
                kind, **{**shape, "num_channels": task.channels, "num_labels": len(names), **heads, **training.config}
            )
            return AutoModelForImageClassification.from_config(config)
    except Exception as error:  # each model type checks its own configuration in its own way
        raise ConfigError(
            f"model_type {kind!r} with {dict(training.config)} makes no image classifier: {first_line(error)}. "
            "See the model type's page in the transformers documentation, e.g. `model_type: resnet`"
        ) from error


def _from_pretrained(place: str, *, new_head: bool = False, trust_remote_code: bool = False, **changes: Any) -> Any:
    from transformers import AutoModelForImageClassification

    try:
        with _quiet():
            model, found = AutoModelForImageClassification.from_pretrained(
                place,
                use_safetensors=True,
                trust_remote_code=trust_remote_code,
                output_loading_info=True,
                ignore_mismatched_sizes=new_head,
                dtype=torch.float32,
                **changes,
            )
    except Exception as error:  # OSError, ValueError, RuntimeError, SafetensorError, ...: transformers has no one kind
        if local_folder(place) is None and isinstance(error, OSError) and "safetensors" not in str(error):
            raise Unavailable(
                f"teacher {place!r} cannot be fetched: {first_line(error)}. "
                "Check name and connection, or give a local folder in `teacher.path`"
            ) from error
        raise ConfigError(
            f"teacher {place!r} cannot be loaded as an image classifier: {first_line(error)}; "
            "give the folder of one, as save_pretrained() writes it"
        ) from error
    missing = sorted(found["missing_keys"])
    if missing and not new_head:
        raise ConfigError(
            f"teacher {place!r} lacks {len(missing)} weights ({', '.join(missing[:3])}), which would be random; "
            "give a folder with a trained head, or fine-tune it: `teacher: {train: {from_checkpoint: ...}}`"
        )
    return model


def _processor_file(place: str, folder: Path | None) -> Path:
    if folder is not None:
        return folder / "preprocessor_config.json"
    from transformers.utils.hub import cached_file

    try:
        return Path(cached_file(place, "preprocessor_config.json", _raise_exceptions_for_missing_entries=False) or "")
    except OSError as error:
        raise Unavailable(
            f"the preprocessing of teacher {place!r} cannot be fetched: {first_line(error)}. "
            "Check the connection, or give a local folder in `teacher.path`"
        ) from error


def _config_size(config: Any) -> int | None:
    size = getattr(config, "image_size", None)
    return size if isinstance(size, int) else None


def _check_input(module: nn.Module, channels: int, size: int, place: str) -> None:
    try:
        with torch.inference_mode():
            module(torch.zeros(1, channels, size, size))
    except Exception as error:  # whatever its layers say about shapes
        raise ConfigError(
            f"teacher {place!r} cannot read {channels} x {size} x {size} inputs: {first_line(error)}; "
            "set `teacher.size` and `task.channels` to what it was made for"
        ) from error


def _head(model: nn.Module, classes: int) -> nn.Linear | None:
    """The last linear layer with one output per class."""
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear) and layer.out_features == classes]
    return layers[-1] if layers else None


def _sha256(model: Any) -> str:
    volatile = ("transformers_version", "_name_or_path", "architectures", "dtype", "torch_dtype")
    config = {key: value for key, value in model.config.to_diff_dict().items() if key not in volatile}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}:{tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


@contextmanager
def _quiet() -> Iterator[None]:
    """Faults reach the user as one sentence of ours; bars and warnings of the library beside it only confuse."""
    from transformers.utils import logging

    hub = getLogger("huggingface_hub")  # it counts its retries aloud
    before, bars, hub_before = logging.get_verbosity(), logging.is_progress_bar_enabled(), hub.level
    logging.set_verbosity(logging.CRITICAL)
    hub.setLevel(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        hub.setLevel(hub_before)
        if bars:
            logging.enable_progress_bar()
