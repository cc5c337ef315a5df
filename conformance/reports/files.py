"""Write files whole or not at all."""

import contextlib
import json
import tempfile
from collections.abc import Mapping
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
        FileError: one of them cannot be written; nothing has changed then.
    """
    with contextlib.ExitStack() as undo:
        ready = []
        for path, text in texts.items():
            target = path.resolve()  # a link stays one
            try:
                with tempfile.NamedTemporaryFile(
                    "w", encoding="utf-8", dir=target.parent, prefix=target.name, delete=False
                ) as beside:
                    part = Path(beside.name)
                    undo.callback(part.unlink, missing_ok=True)
                    beside.write(text)
                part.chmod(_mode(target))
            except OSError as error:
                raise FileError(f"{path} cannot be written: {error.strerror}") from error
            ready.append((part, target))
        for part, target in ready:
            part.replace(target)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON, whole or not at all."""
    write({path: json.dumps(content, indent=1) + "\n"})


def _mode(target: Path) -> int:
    """Those of the file that is replaced, or of a new one: temporary files have fewer."""
    with contextlib.suppress(OSError):
        return target.stat().st_mode & 0o777
    return 0o644
