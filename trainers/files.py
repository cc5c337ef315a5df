"""Writing files so that a kill at any moment leaves the old one or the new one, never half."""

import os
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Flush the names in ``folder`` to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_synced(path: Path, content: bytes) -> None:
    """Write a new file and flush it to the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def replace_file(path: Path, content: bytes) -> None:
    """Write ``path`` beside itself, flush, and rename it into place."""
    beside = path.with_name(f".tmp-{path.name}")
    write_synced(beside, content)
    beside.replace(path)
    sync_folder(path.parent)
