"""Checkpoints: a folder per step that is there in full or not at all.

``checkpoints/step-00000500/`` holds ``params.safetensors``, the optimizer's file
(``lion.safetensors`` or ``adamw.safetensors``), ``state.json`` with the sha256 of both, and
``COMPLETE`` with the sha256 of ``state.json``. All of it is written into a folder beside, flushed
to the disk and renamed; ``COMPLETE`` is the last file. There is no pickle.
"""

import contextlib
import hashlib
import json
import math
import os
import re
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save as to_safetensors

from lion_ports.trainers.architecture import check_tensors
from lion_ports.trainers.config import Natural, TrainConfig, load_saved
from lion_ports.trainers.engine import Tensors
from lion_ports.trainers.errors import DataError
from lion_ports.trainers.files import sync_folder, write_synced
from lion_ports.trainers.slots import DTYPES, check_dtypes, check_state

SCHEMA = 1
COMPLETE = "COMPLETE"
STATE = "state.json"
PARAMETERS = "params.safetensors"

_STORED = {
    "F32": DTYPES["float32"],
    "BF16": DTYPES["bfloat16"],
    "I8": DTYPES["int8"],
    "I16": DTYPES["int16"],
}
_FOLDER = re.compile(r"step-(\d{8,})")
_BESIDE = ".tmp-"


@with_config(ConfigDict(extra="forbid", strict=True))
@dataclass(frozen=True)
class State:
    """What ``state.json`` says besides the files.

    ``updates`` is ``step`` less the steps that were skipped as non-finite. ``lineage`` has one
    entry a stretch: backend, device, versions, first and last step. ``eval_loss`` is None where
    no evaluation was made at this step.
    """

    step: Natural
    updates: Natural
    config: dict[str, Any]
    spec_version: str
    init_sha256: str
    data_sha256: str
    eval_loss: float | None
    lineage: list[dict[str, Any]]
    schema: int = SCHEMA
    files: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint in memory."""

    path: Path
    state: State
    config: TrainConfig
    parameters: Tensors
    optimizer_state: Tensors


def optimizer_file(optimizer: str) -> str:
    """Lion and Signum share a file, for their state is the same momentum."""
    return "adamw.safetensors" if optimizer == "adamw" else "lion.safetensors"


def place(folder: Path, step: int) -> Path:
    """Where the checkpoint of ``step`` lies below ``folder``."""
    return folder / f"step-{step:08d}"


def is_complete(path: Path) -> bool:
    """Whether ``path`` is a checkpoint that was written to its end."""
    return (path / COMPLETE).is_file()


def save(folder: Path, state: State, parameters: Tensors, optimizer_state: Tensors) -> Path:
    """Write the checkpoint of ``state.step`` below ``folder``.

    Raises:
        OSError: if the disk does not take it; nothing half written is then in place.
    """
    final = place(folder, state.step)
    folder.mkdir(exist_ok=True)
    clean(folder)
    beside = folder / f"{_BESIDE}{final.name}"
    beside.mkdir()
    contents = {
        PARAMETERS: to_safetensors(parameters),
        optimizer_file(state.config["optimizer"]): to_safetensors(optimizer_state),
    }
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    record = {**asdict(state), "files": sums}
    contents[STATE] = (json.dumps(record, indent=2) + "\n").encode()
    contents[COMPLETE] = (hashlib.sha256(contents[STATE]).hexdigest() + "\n").encode()
    for name, content in contents.items():
        write_synced(beside / name, content)
    sync_folder(beside)
    os.rename(beside, final)
    sync_folder(folder)
    return final


def clean(folder: Path) -> None:
    """Remove what a killed process left: folders beside, and folders without ``COMPLETE``."""
    for path in folder.iterdir():
        half = _FOLDER.fullmatch(path.name) and not is_complete(path)
        if path.is_dir() and (half or path.name.startswith(_BESIDE)):
            shutil.rmtree(path)


def find(folder: Path) -> list[Path]:
    """The complete checkpoints below ``folder``, oldest first."""
    if not folder.is_dir():
        return []
    numbered = [(int(m[1]), p) for p in folder.iterdir() if (m := _FOLDER.fullmatch(p.name))]
    return [path for _, path in sorted(numbered) if is_complete(path)]


def prune(folder: Path, keep: int) -> None:
    """Keep the last ``keep`` checkpoints and the one with the lowest validation loss.

    A damaged checkpoint, or one that cannot be removed, is no reason to end a training.
    """
    paths = find(folder)
    losses = {path: _eval_loss(path) for path in paths}
    measured = {path: loss for path, loss in losses.items() if loss is not None}
    best = min(measured, key=lambda path: measured[path]) if measured else None
    for path in paths[:-keep]:
        if path != best:
            # Without COMPLETE it is no checkpoint any more, wherever the removal is interrupted.
            with contextlib.suppress(OSError):
                (path / COMPLETE).unlink()
                shutil.rmtree(path)


def load(path: Path) -> Checkpoint:
    """Read a checkpoint and verify every file.

    Raises:
        DataError: naming the file that is missing, damaged or of another version.
    """
    try:
        return _load(path)
    except DataError as error:
        raise DataError(
            f"the checkpoint {path} cannot be used: {error}; remove that folder to go on from the "
            "checkpoint before it"
        ) from None


def _load(path: Path) -> Checkpoint:
    state = _state(_verified(path, STATE, _read(path, COMPLETE).decode("ascii", "replace").strip()))
    config = load_saved(state.config)
    moments = optimizer_file(config.optimizer)
    if state.files.keys() != {PARAMETERS, moments}:
        raise DataError(f"{STATE} should list {PARAMETERS} and {moments}")
    parameters, optimizer_state = (
        from_safetensors(_verified(path, name, state.files[name])) for name in (PARAMETERS, moments)
    )
    shapes = config.architecture().shapes()
    check_tensors(parameters, shapes)
    check_dtypes(parameters, dict.fromkeys(shapes, DTYPES[config.dtype]))
    check_state(optimizer_state, config.engine_settings())
    return Checkpoint(path, state, config, parameters, optimizer_state)


def from_safetensors(content: bytes) -> Tensors:
    """Name -> array; safetensors' own NumPy reader knows no bfloat16.

    Raises:
        DataError: if it is none, or has a dtype that no checkpoint has.
    """
    try:
        read = deserialize(content)  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise DataError(f"it has tensors that cannot be read ({error})") from None
    for name, tensor in read:
        if tensor["dtype"] not in _STORED:
            raise DataError(f"the tensor {name!r} has the dtype {tensor['dtype']}, unknown here")
    return {
        name: np.frombuffer(tensor["data"], _STORED[tensor["dtype"]]).reshape(tensor["shape"])
        for name, tensor in read
    }


def _state(content: bytes) -> State:
    """``state.json``, which another version or another program may have written."""
    try:
        record = json.loads(content)
    except ValueError:
        raise DataError(f"{STATE} is not JSON") from None
    schema = record.get("schema") if isinstance(record, dict) else None
    if schema != SCHEMA:
        raise DataError(f"its schema is {schema}; this version reads {SCHEMA}")
    try:
        return TypeAdapter(State).validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DataError(f"in {STATE}, {where}: {first['msg']}") from None


def _eval_loss(path: Path) -> float | None:
    """The validation loss of a checkpoint, None if it is not known or cannot be read."""
    try:
        loss = json.loads((path / STATE).read_bytes())["eval_loss"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return loss if isinstance(loss, float) and math.isfinite(loss) else None


def _verified(path: Path, name: str, sha256: str) -> bytes:
    content = _read(path, name)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise DataError(f"{name} has not the sha256 that was recorded when it was written")
    return content


def _read(path: Path, name: str) -> bytes:
    try:
        return (path / name).read_bytes()
    except OSError as error:
        raise DataError(f"{name} cannot be read: {error.strerror}") from None
