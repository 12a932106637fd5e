"""The only file of the teacher that knows `transformers`: models and files from folders and the hub."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from logging import getLogger
from pathlib import Path
from typing import Any

import torch

from pipeline.artifact import sha256_of
from pipeline.errors import ConfigError, Unavailable, near
from pipeline.teacher_files import check_files, first_line, local_folder


def load_model(
    auto: str,
    noun: str,
    place: str,
    *,
    new_head: bool = False,
    trust_remote_code: bool = False,
    role: str = "teacher",
    key: str = "teacher.path",
    **changes: Any,
) -> Any:
    """A model by the name of transformers' `auto` class, float32, safetensors only. Errors: ConfigError, Unavailable.

    `noun` says in an error what was wanted, e.g. "an image classifier", `role` for what, and `key` where it is named.
    """
    import transformers

    folder = local_folder(place)
    if folder is not None:
        check_files(folder)
    try:
        with quiet():
            model, found = getattr(transformers, auto).from_pretrained(
                place,
                use_safetensors=True,
                trust_remote_code=trust_remote_code,
                output_loading_info=True,
                ignore_mismatched_sizes=new_head,
                dtype=torch.float32,
                **changes,
            )
    except Exception as error:  # OSError, ValueError, RuntimeError, SafetensorError, ...: transformers has no one kind
        if folder is None and isinstance(error, OSError) and "safetensors" not in str(error):
            raise Unavailable(
                f"{role} {place!r} cannot be fetched: {first_line(error)}. "
                f"Check name and connection, or give a local folder in `{key}`"
            ) from error
        raise ConfigError(
            f"{role} {place!r} cannot be loaded as {noun}: {_why(error)}; "
            "give the folder of one, as save_pretrained() writes it"
        ) from error
    missing = sorted(found["missing_keys"])
    if missing and not new_head:
        more = "or fine-tune it: `teacher: {train: {from_checkpoint: ...}}`"
        raise ConfigError(
            f"{role} {place!r} lacks {len(missing)} weights ({', '.join(missing[:3])}), which would be random; "
            f"give a folder with a trained head, {more if role == 'teacher' else f'that of {noun}, in `{key}`'}"
        )
    return model


def load_config(place: str, *, trust_remote_code: bool = False) -> Any:
    """A model's configuration without its weights. Errors: ConfigError, Unavailable."""
    import transformers

    folder = local_folder(place)
    if folder is not None:
        check_files(folder)
    try:
        with quiet():
            return transformers.AutoConfig.from_pretrained(place, trust_remote_code=trust_remote_code)
    except Exception as error:  # as above
        if folder is None and isinstance(error, OSError):
            raise Unavailable(
                f"config.json of teacher {place!r} cannot be fetched: {first_line(error)}. "
                "Check name and connection, or give a local folder in `teacher.path`"
            ) from error
        raise ConfigError(
            f"config.json of teacher {place!r} cannot be read: {first_line(error)}; "
            "give the folder of a model, as save_pretrained() writes it"
        ) from error


def _why(error: Exception) -> str:
    """What transformers says; where it names Python classes, the kind of model in their stead."""
    found = re.search(r"Unrecognized configuration class <class '[\w.]*?(\w+)Config'>", str(error))
    return f"it is a {found[1]} model, and transformers has none of that kind" if found else first_line(error)


def new_model(auto: str, noun: str, kind: str, sizes: Mapping[str, Any], given: Mapping[str, Any]) -> Any:
    """An untrained model of a model type. `sizes` come from the task; those that the type does not know are left out;
    what the user has `given` goes over them. Errors: ConfigError.
    """
    import transformers

    try:
        with quiet():
            plain = transformers.AutoConfig.for_model(kind)
            _known_to(plain, given)
            known = {name: value for name, value in sizes.items() if name != "image_size" or hasattr(plain, name)}
            config = transformers.AutoConfig.for_model(kind, **{**known, **given})
            return getattr(transformers, auto).from_config(config)
    except ConfigError:
        raise
    except Exception as error:  # each model type checks its own configuration in its own way
        raise ConfigError(
            f"model_type {kind!r} with {dict(given)} makes no {noun.partition(' ')[2]}: {first_line(error)}. "
            "See the model type's page in the transformers documentation, e.g. `model_type: resnet`"
        ) from error


def _known_to(plain: Any, given: Mapping[str, Any]) -> None:
    """Errors: ConfigError for a key that the model type does not have: it would be kept, and change nothing."""
    for key in given:
        if not (hasattr(plain, key) or hasattr(plain, f"_{key}")):
            known = [name for name in plain.to_dict() if name != "model_type"]
            raise ConfigError(f"model_type {plain.model_type!r} has no setting {key!r}{near(key, known)}")


def file_of(place: str, name: str) -> Path | None:
    """A further file of a teacher, fetched where it is on the hub; None where it has none. Errors: Unavailable."""
    folder = local_folder(place)
    if folder is not None:
        return folder / name if (folder / name).is_file() else None
    from transformers.utils.hub import cached_file

    try:
        found = cached_file(place, name, _raise_exceptions_for_missing_entries=False)
    except OSError as error:
        raise Unavailable(
            f"{name} of teacher {place!r} cannot be fetched: {first_line(error)}. "
            "Check the connection, or give a local folder in `teacher.path`"
        ) from error
    return Path(found) if found else None


def save_model(model: Any, folder: Path) -> None:
    """config.json and model.safetensors."""
    with quiet():
        model.save_pretrained(folder, safe_serialization=True)


def sha256_of_model(model: Any) -> str:
    """Hex SHA-256 of weights and configuration."""
    volatile = ("transformers_version", "_name_or_path", "architectures", "dtype", "torch_dtype")
    config = {key: value for key, value in model.config.to_diff_dict().items() if key not in volatile}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}:{tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def identity_of(place: str) -> str:
    """What changes when the files of a model change: their hash in a folder, the commit on the hub.

    Errors: ConfigError where the folder holds no weights that can be opened; Unavailable.
    """
    folder = local_folder(place)
    if folder is None:
        found = file_of(place, "config.json")
        return (
            f"{place}@{found.parent.name if found else ''}"  # kept by the hub's library as snapshots/COMMIT/config.json
        )
    check_files(folder)
    names = ("*.safetensors", "*.json", "vocab.txt")
    paths = sorted(path for pattern in names for path in folder.glob(pattern))
    return hashlib.sha256("".join(f"{path.name}:{sha256_of(path)}" for path in paths).encode()).hexdigest()


@contextmanager
def quiet() -> Iterator[None]:
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
