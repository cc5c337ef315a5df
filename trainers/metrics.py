"""``metrics.jsonl``: one JSON object a line, written as things happen."""

import json
import math
import os
from pathlib import Path
from typing import Any

from lion_ports.trainers.errors import DataError
from lion_ports.trainers.files import replace_file


class Metrics:
    """Appends events; each line is flushed, so that a killed run keeps all but its last."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")

    def write(self, event: str, step: int, **fields: Any) -> None:
        """One line. Floats have ``repr`` precision; NaN and infinity, unknown to JSON, are null."""
        record = {"event": event, "step": step, **{k: _finite(v) for k, v in fields.items()}}
        self._file.write(json.dumps(record, allow_nan=False) + "\n")
        self._file.flush()

    def sync(self) -> None:
        """Flush to the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Flush and close."""
        self._file.close()


def read(path: Path) -> list[dict[str, Any]]:
    """The events of a run; a last line that a kill cut short is left out.

    Raises:
        DataError: if the file is missing or another line is not an event.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{path.parent} is not a run folder: it has no {path.name}") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is damaged: {error}") from None
    events = []
    for number, line in enumerate(lines, 1):
        try:
            event = json.loads(line)
        except json.JSONDecodeError:
            if number == len(lines):
                break
            event = None
        if not _is_event(event):
            raise DataError(f"{path}, line {number}: not an event of a run")
        events.append(event)
    return events


def cut(path: Path, step: int) -> list[dict[str, Any]]:
    """Drop what a run did after the checkpoint of ``step``, which it is about to do again.

    Without a checkpoint ``step`` is -1, and nothing stays. Returns the events that do.
    """
    if not path.exists():
        return []
    kept = [event for event in read(path) if _before(event, step)]
    replace_file(path, "".join(json.dumps(event) + "\n" for event in kept).encode())
    return kept


def _is_event(event: Any) -> bool:
    """Whether it has what a resumed run and a picture need of it."""
    if not isinstance(event, dict) or type(event.get("step")) is not int:
        return False
    match event.get("event"):
        case "train" | "eval":
            return type(event.get("loss", ...)) in (float, int, type(None))
        case "start":
            return isinstance(event.get("backend"), str)
        case kind:
            return isinstance(kind, str)


def _before(event: dict[str, Any], step: int) -> bool:
    """A step's training line comes after its checkpoint, the evaluation of the step before it."""
    if event["event"] in ("sample", "end"):
        return False
    if event["event"] in ("start", "train", "warning"):
        return bool(event["step"] < step)
    return bool(event["step"] <= step)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
