"""Write files whole or not at all."""

import contextlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lion_ports.errors import LionError


class FileError(LionError):
    """A report cannot be written, or is not one."""


def write(texts: Mapping[Path, str]) -> None:
    """Write all of these files, or none of them.

    Each is first written beside its place, and takes it when all have been written: whoever reads
    meanwhile, and whatever goes wrong, no file is half a report.

    Raises:
        FileError: one of them cannot be written.
    """
    with contextlib.ExitStack() as undo:
        ready = []
        for path, text in texts.items():
            with _refusing(path):
                ready.append((path, _beside(path, text, undo)))
        for path, part in ready:
            with _refusing(path):
                part.replace(path.resolve())  # a link stays one


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON, whole or not at all."""
    write({path: json.dumps(content, indent=1) + "\n"})


def _beside(path: Path, text: str, undo: contextlib.ExitStack) -> Path:
    """A file with this text in the same folder, which ``undo`` takes away if it is still there."""
    target = path.resolve()
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=target.parent, prefix=".lion-", delete=False
    ) as file:
        part = Path(file.name)
        undo.callback(part.unlink, missing_ok=True)
        file.write(text)
    # Those of the file that is replaced, or of a new one: temporary files have fewer.
    part.chmod(target.stat().st_mode & 0o777 if target.exists() else 0o644)
    return part


@contextlib.contextmanager
def _refusing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FileError(f"{path} cannot be written: {error.strerror}") from error
