"""Where results go: checked before the measurement, and written whole or not at all."""

import json
from pathlib import Path
from typing import Any

from lion_ports.errors import ConfigError, LionError

PICTURES = (".png", ".svg")


class FileError(LionError):
    """A result cannot be written."""


def markers(kind: str) -> tuple[str, str]:
    """The lines of a Markdown file between which a table is put.

    >>> markers("step")
    ('<!-- lion-bench step: begin -->', '<!-- lion-bench step: end -->')
    """
    return f"<!-- lion-bench {kind}: begin -->", f"<!-- lion-bench {kind}: end -->"


def check(kind: str, json_path: Path | None, plot: Path | None, markdown: Path | None) -> None:
    """Refuse what could not be written after minutes of measuring.

    Raises:
        ConfigError: a file is called ``-``, a folder is missing, a picture is neither PNG nor SVG,
            two are the same file, or an existing Markdown file has no markers.
    """
    given = {"--json": json_path, "--plot": plot, "--markdown": markdown}
    paths = {flag: path for flag, path in given.items() if path is not None}
    for flag, path in paths.items():
        if str(path) == "-":
            raise ConfigError(f"{flag} -: stdout has the tables; name a file")
        if not path.absolute().parent.is_dir():
            raise ConfigError(f"{flag} {path}: there is no such folder; make it first")
        if path.exists() and not path.is_file():
            raise ConfigError(f"{flag} {path}: is no file that could be replaced; name another")
    if len({path.resolve() for path in paths.values()}) < len(paths):
        raise ConfigError(f"{' and '.join(paths)} name the same file")
    if plot is not None and plot.suffix.lower() not in PICTURES:
        raise ConfigError(f"--plot {plot}: the name has to end in {' or '.join(PICTURES)}")
    if markdown is not None and markdown.exists():
        _around(kind, markdown)


def write(path: Path, content: bytes) -> None:
    """Replace ``path``; whatever goes wrong, it is the old file or the new one.

    Raises:
        FileError: it cannot be written.
    """
    from lion_ports.trainers.files import replace_file

    try:
        replace_file(path.resolve(), content)
    except OSError as error:
        raise FileError(f"{path} cannot be written: {error.strerror}") from error


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write the document of ``bench.schema.json``."""
    write(path, (json.dumps(document, indent=1, allow_nan=False) + "\n").encode())


def write_markdown(kind: str, path: Path, table: str) -> None:
    """Put the table between the markers of an existing file, or make a file of it."""
    begin, end = markers(kind)
    before, after = _around(kind, path) if path.exists() else ("", "\n")
    write(path, f"{before}{begin}\n{table}\n{end}{after}".encode())


def _around(kind: str, path: Path) -> tuple[str, str]:
    begin, end = markers(kind)
    text = path.read_text("utf-8")
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ConfigError(
            f"--markdown {path}: has no lines {begin!r} and {end!r}; add them where the table is "
            "to be, or name a new file"
        )
    return before, after
