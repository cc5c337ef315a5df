"""Run folders: where one is made, how it is found again, and who may write to it."""

import contextlib
import datetime
import fcntl
import itertools
import shlex
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tomli_w

from lion_ports.trainers import checkpoint, metrics
from lion_ports.trainers.checkpoint import Checkpoint
from lion_ports.trainers.config import TrainConfig, load_saved
from lion_ports.trainers.errors import DataError, UsageError
from lion_ports.trainers.files import replace_file

CONFIG = "config.toml"
METRICS = "metrics.jsonl"
PLOT = "loss.png"
CHECKPOINTS = "checkpoints"
LOCK = ".lock"

RESUMABLE = ("backend", "device", "steps")
"""The settings that ``resume`` can change."""


def default_folder(backend: str, seed: int) -> Path:
    """``runs/<date>-<backend>-<seed>``, the date to the second; with ``-2`` if that is there."""
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    first = Path("runs", f"{now}-{backend}-{seed}")
    others = (first.with_name(f"{first.name}-{number}") for number in itertools.count(2))
    return next(folder for folder in itertools.chain([first], others) if not folder.exists())


def check(folder: Path) -> None:
    """Whether a new run can be made in ``folder``: nothing is left behind.

    Raises:
        UsageError: if it has something in it or cannot be written.
    """
    try:
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        try:
            _make(folder)
            with tempfile.TemporaryFile(dir=folder):
                pass
        finally:
            for path in missing:
                with contextlib.suppress(OSError):
                    path.rmdir()
    except OSError as error:
        raise _unwritable(folder, error) from None


def create(out: Path | None, backend: str, seed: int) -> Path:
    """Make the folder of a new run: ``out``, or one by default that no other run has.

    Raises:
        UsageError: as ``check``.
    """
    folder = out or default_folder(backend, seed)
    try:
        _make(folder, shared=out is not None)
        (folder / LOCK).touch()
    except OSError as error:
        if out is None and isinstance(error, FileExistsError):
            # Another run has taken the name in this moment.
            return create(None, backend, seed)
        raise _unwritable(folder, error) from None
    return folder


def resume_command(folder: Path) -> str:
    """What to type to go on with the run in ``folder``."""
    return f"lion-train resume {shlex.quote(str(folder))}"


def _make(folder: Path, *, shared: bool = True) -> None:
    """Make ``folder`` or find it empty, but for what a run leaves that ended before it began."""
    folder.mkdir(parents=True, exist_ok=shared)
    present = {path.name for path in folder.iterdir() if not path.name.startswith(".tmp-")}
    if present - {LOCK}:
        raise UsageError(
            f"--out {folder}: the folder is not empty; choose another, or go on with it: "
            f"{resume_command(folder)}"
        )


def _unwritable(folder: Path, error: OSError) -> UsageError:
    return UsageError(f"--out {folder}: cannot be written: {error.strerror}")


@contextlib.contextmanager
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
    """The configuration in the folder of a run.

    Raises:
        DataError: if ``folder`` is no run folder, or the file is damaged.
    """
    try:
        return load_saved(tomllib.loads((folder / CONFIG).read_text("utf-8")))
    except OSError:
        raise DataError(f"{folder} is not a run folder: it has no {CONFIG}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{folder / CONFIG} is damaged: {error}") from None


def agreed_config(folder: Path, found: Checkpoint | None) -> TrainConfig:
    """The configuration to go on with: that of ``config.toml``.

    It may differ from the newest checkpoint's in what ``resume`` can change: a run that was
    resumed and killed before it saved has its new length in the file only.

    Raises:
        UsageError: if another setting was edited.
    """
    config = read_config(folder)
    if found is None:
        return config
    now, then = config.model_dump(mode="json"), found.config.model_dump(mode="json")
    edited = [name for name in now if now[name] != then[name] and name not in RESUMABLE]
    if edited:
        differences = ", ".join(f"{name} = {now[name]!r}, not {then[name]!r}" for name in edited)
        raise UsageError(
            f"{folder / CONFIG} differs from the checkpoint at step {found.state.step}: "
            f"{differences}; resume can change only {', '.join(RESUMABLE)}, so restore the file "
            f"or start a new run: lion-train --config {shlex.quote(str(folder / CONFIG))}"
        )
    return config


def cut_metrics(folder: Path, found: Checkpoint | None) -> None:
    """Drop the events after ``found``; a kill right after it was saved has lost its own event."""
    path = folder / METRICS
    step = found.state.step if found else -1
    kept = metrics.cut(path, step)
    if found and ("checkpoint", step) not in ((event["event"], event["step"]) for event in kept):
        log = metrics.Metrics(path)
        write_checkpoint_event(log, folder, found.path, step)
        log.close()


def write_checkpoint_event(log: metrics.Metrics, folder: Path, path: Path, step: int) -> None:
    """That the checkpoint ``path`` of the run in ``folder`` is on the disk."""
    log.write("checkpoint", step, path=str(path.relative_to(folder)))


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
