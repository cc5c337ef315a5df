"""Run folders: where one is made, how it is found again, and who may write to it."""

import datetime
import fcntl
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tomli_w

from lion_ports.trainers import checkpoint
from lion_ports.trainers.checkpoint import Checkpoint
from lion_ports.trainers.config import TrainConfig, load_saved
from lion_ports.trainers.errors import DataError, UsageError
from lion_ports.trainers.files import replace_file

CONFIG = "config.toml"
METRICS = "metrics.jsonl"
PLOT = "loss.png"
CHECKPOINTS = "checkpoints"
LOCK = ".lock"


def default_folder(backend: str, seed: int) -> Path:
    """``runs/<date>-<backend>-<seed>``, the date to the second."""
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return Path("runs", f"{now}-{backend}-{seed}")


def create(folder: Path) -> None:
    """Make the folder of a new run.

    Raises:
        UsageError: if it has something in it or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        present = [path.name for path in folder.iterdir() if not path.name.startswith(".tmp-")]
        if set(present) - {LOCK}:
            raise UsageError(
                f"--out {folder}: the folder is not empty; choose another, or go on with it: "
                f"lion-train resume {folder}"
            )
        (folder / LOCK).touch()
    except OSError as error:
        raise UsageError(f"--out {folder}: cannot be written: {error.strerror}") from None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a second process from training in ``folder``; a killed one leaves no lock behind.

    Raises:
        UsageError: if another process is there, or the folder cannot be written.
    """
    try:
        file = (folder / LOCK).open("w")
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(f"another process is training in {folder}; wait for it") from None
        yield


def write_config(folder: Path, config: TrainConfig) -> None:
    """``config.toml``, which ``--config`` reads as well."""
    values: dict[str, Any] = config.model_dump(mode="json")
    replace_file(folder / CONFIG, tomli_w.dumps(values).encode())


def read_config(folder: Path) -> TrainConfig:
    """The configuration of a run that has no checkpoint yet.

    Raises:
        DataError: if ``folder`` is no run folder, or the file is damaged.
    """
    try:
        return load_saved(tomllib.loads((folder / CONFIG).read_text("utf-8")))
    except OSError:
        raise DataError(f"{folder} is not a run folder: it has no {CONFIG}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{folder / CONFIG} is damaged: {error}") from None


def latest(folder: Path) -> Checkpoint | None:
    """The newest checkpoint of a run, verified; None if it has none.

    Raises:
        DataError: if it is damaged.
    """
    paths = checkpoint.find(folder / CHECKPOINTS)
    return checkpoint.load(paths[-1]) if paths else None


def checkpoint_of(path: Path) -> Checkpoint:
    """The checkpoint at ``path``, which is a run folder (then its newest) or a checkpoint's.

    Raises:
        DataError: if there is none, or it is damaged.
    """
    if (path / checkpoint.STATE).exists():
        return checkpoint.load(path)
    found = latest(path)
    if found is None:
        if not path.is_dir():
            raise DataError(f"{path} is not a folder; give that of a run")
        raise DataError(f"{path} has no checkpoint; give the folder of a run")
    return found
