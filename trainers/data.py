"""Training text: Python's own sources, a file or a folder, as bytes."""

import hashlib
import os
import stat
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lion_ports.trainers.errors import DataError

STDLIB = "stdlib"
_STDLIB_WITHOUT = {"site-packages", "dist-packages", "test", "tests", "__pycache__"}


@dataclass(frozen=True)
class Text:
    """A corpus, split once: ``train`` is the beginning, ``validation`` the held-out end.

    Both are uint8 arrays. ``sha256`` is over the bytes of the whole.
    """

    name: str
    train: NDArray[np.uint8]
    validation: NDArray[np.uint8]
    sha256: str
    files: int
    skipped: int


def load_text(source: str, *, sequence: int, held_out: float) -> Text:
    """Read ``source`` and hold out the last ``held_out`` share of it.

    Args:
        source: ``"stdlib"`` (the ``.py`` files of the running Python, which differ from version
            to version), a text file, or a folder, whose UTF-8 text files are read in the order
            of their paths; hidden and binary files are left out. ``./stdlib`` is a folder.
        sequence: T; either part must hold one window of T + 1 bytes.
        held_out: share for validation, between 0 and 1.

    Raises:
        DataError: saying what is wrong with the source and what would do.
    """
    if source == STDLIB:
        name, paths = STDLIB, list(_stdlib_files())
    else:
        name, paths = source, list(_files(Path(source)))
    single = len(paths) == 1 and paths[0] == Path(source)
    parts = []
    for path in paths:
        content = _read(path)
        problem = _not_text(content)
        if problem is None:
            parts.append(content if content.endswith(b"\n") or single else content + b"\n")
        elif single:
            raise DataError(f"--data {source}: {problem}; give a UTF-8 text file or a folder")
    everything = b"".join(parts)
    if not everything.strip():
        what = "is empty" if single else "has no text in it"
        raise DataError(f"--data {source}: {what}; give a UTF-8 text file or a folder of them")
    train, validation = _split(np.frombuffer(everything, np.uint8), source, sequence, held_out)
    digest = hashlib.sha256(everything).hexdigest()
    return Text(name, train, validation, digest, len(parts), len(paths) - len(parts))


def _split(
    text: NDArray[np.uint8], source: str, sequence: int, held_out: float
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    cut = len(text) - int(len(text) * held_out)
    shorter = min(cut, len(text) - cut)
    if shorter < sequence + 1:
        raise DataError(
            f"--data {source}: {len(text)} bytes, split into {cut} to train and "
            f"{len(text) - cut} to validate, are too short for one window of {sequence + 1} bytes; "
            "give more text or a smaller --sequence"
        )
    return text[:cut], text[cut:]


def _stdlib_files() -> Iterator[Path]:
    root = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(root.rglob("*.py")):
        if not _STDLIB_WITHOUT.intersection(path.relative_to(root).parts):
            yield path


def _files(source: Path) -> Iterator[Path]:
    """The file itself, or the files of the folder, sorted, without hidden ones."""
    try:
        mode = source.stat().st_mode
    except OSError as error:
        raise DataError(
            f"--data {source}: {error.strerror}; the built-in text is {STDLIB!r}"
        ) from None
    if stat.S_ISREG(mode):
        yield source
        return
    if not stat.S_ISDIR(mode):
        raise DataError(f"--data {source}: neither a file nor a folder")
    if not os.access(source, os.R_OK | os.X_OK):
        raise DataError(f"--data {source}: the folder cannot be read (permission denied)")
    found: list[Path] = []

    def refuse(error: OSError) -> None:
        raise _unreadable(error.filename, error)

    for folder, folders, names in os.walk(source, onerror=refuse):
        folders[:] = sorted(
            one for one in folders if not one.startswith(".") and one != "__pycache__"
        )
        found.extend(Path(folder, one) for one in names if not one.startswith("."))
    yield from sorted(path for path in found if _is_file(path))


def _is_file(path: Path) -> bool:
    """``Path.is_file`` takes a broken link for no file, and a training text for a smaller one."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError as error:
        raise _unreadable(path, error) from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path | str, error: OSError) -> DataError:
    return DataError(f"--data: {path} cannot be read: {error.strerror}")


def _not_text(content: bytes) -> str | None:
    """Why ``content`` is not text, or None."""
    zero = content.find(b"\0")
    if zero >= 0:
        return f"a binary file (a zero byte at offset {zero})"
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        return f"not UTF-8 text (byte 0x{content[error.start]:02x} at offset {error.start})"
    return None
