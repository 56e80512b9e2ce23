"""Versioned, self-describing checkpoints: plain tensors and JSON-able values only, read with weights_only."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import torch

from . import keys
from .errors import SpinMultiNetError
from .hypers import ModelOptions, parse
from .model import SpinMultiNet, build_model

FORMAT = "spinmultinet-model"
VERSION = 2  # 2: no option spin_axes (the same weights serve both), n_parameters; 1 is upgraded when read
# What a checkpoint says about itself. Unknown is a value, silence is not.
METADATA: dict[str, Any] = {
    keys.LEVEL_ID: "unknown",
    keys.LEVEL_TEXT: "unknown",
    keys.MOMENT_ROLE: keys.GUESS,
    keys.SPIN_AXES: None,  # of the training data: 1 signed scalars, 3 vectors
    "snapshot_id": "unknown",
    "data_sha256": {},  # of the files of labels: train, val
    "training_seed": None,
    "training_options": {},
    "fingerprint": "unknown",
    keys.TRAIN_FINGERPRINT: "unknown",  # of the training labels alone: what a committee must not be calibrated on
    "licence": "unknown",
}


def write_atomically(content: dict[str, Any], path: Path) -> None:
    """torch.save to a temporary file beside `path`, flushed to disk, then renamed: a reader sees the old or the new."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise SpinMultiNetError(
            f"cannot write '{path}': {error.strerror}; free some space or choose another folder"
        ) from error


def read(path: Path, expected_format: str, version: int) -> dict[str, Any]:
    """Content of a file written by `write_atomically`.

    Raises SpinMultiNetError if it is missing, corrupt, foreign or newer.
    """
    if not path.is_file():
        raise SpinMultiNetError(
            f"checkpoint '{path}' does not exist; give the path of a file written by training or save_model"
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError, pickle.UnpicklingError) as error:
        first = str(error).strip().split("\n")[0]
        raise SpinMultiNetError(
            f"checkpoint '{path}' is corrupt or no SpinMultiNet file ({first[:120]}); copy or train it again"
        ) from None
    if not isinstance(content, dict) or content.get("format") != expected_format:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise SpinMultiNetError(
            f"checkpoint '{path}' is no {expected_format} file (its format: {found!r}); give another file"
        )
    if not isinstance(content.get("version"), int) or content["version"] > version:
        raise SpinMultiNetError(
            f"checkpoint '{path}' has version {content.get('version')}, this program reads up to {version}; "
            "update spinmultinet"
        )
    return content


def save_model(model: SpinMultiNet, path: str | Path) -> Path:
    """Write a model with its options, species, units and metadata. Returns the path."""
    file = Path(path)
    write_atomically(to_content(model), file)
    return file


def to_content(model: SpinMultiNet) -> dict[str, Any]:
    """The content of a checkpoint as a mapping of tensors and JSON-able values."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "model_options": model.options.model_dump(mode="json"),
        "species": list(model.species),
        "n_parameters": model.n_parameters(),
        "units": dict(keys.UNITS),
        "metadata": METADATA | model.metadata,
        "state": {k: v.detach().cpu().clone() for k, v in model.state_dict().items()},
    }


def load_model(path: str | Path) -> SpinMultiNet:
    """A trained model in evaluation mode. Raises SpinMultiNetError for missing, corrupt, foreign and newer files."""
    file = Path(path)
    return from_content(read(file, FORMAT, VERSION), str(file))


def _upgraded(content: dict[str, Any]) -> dict[str, Any]:
    """Content of any earlier version as one of this version."""
    if content["version"] > 1:
        return content
    options = dict(content["model_options"])
    axes = options.pop("spin_axes", None)
    return content | {"model_options": options, "metadata": {keys.SPIN_AXES: axes} | content["metadata"]}


def from_content(content: dict[str, Any], where: str) -> SpinMultiNet:
    """The model a checkpoint's content describes."""
    try:
        content = _upgraded(content)
        model = build_model(parse(ModelOptions, content["model_options"], where), content["species"])
        model.load_state_dict(content["state"])
        model.metadata = METADATA | content["metadata"]
    except (KeyError, TypeError, RuntimeError) as error:
        first = str(error).strip().split("\n")[0]
        raise SpinMultiNetError(
            f"checkpoint '{where}' is incomplete or does not fit its own options ({first}); train it again"
        ) from None
    return model.eval()
