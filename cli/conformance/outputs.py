"""The files that ``lion-conformance`` writes of its reports."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lion_ports.cli.conformance.shared import refuse

if TYPE_CHECKING:
    from lion_ports.conformance.runner import Report

Command = TypeVar("Command", bound=Callable[..., Any])

FORMATS = {
    "json": "Write the report as JSON, as conformance/report.schema.json describes it.",
    "junit": "Write it as JUnit XML, for CI systems.",
    "html": "Write it as one HTML file: a table of all cases, with the details of failures.",
    "markdown": "Write it as Markdown, for the summary of a CI run.",
    "badge": "Write a badge: JSON for the endpoint badge of shields.io.",
}
"""Option by format, with its help."""


def output_options(command: Command) -> Command:
    """Give a command ``--json``, ``--junit`` ... for ``write_outputs``, which it ends with.

    What cannot be written is refused before the command begins.
    """
    for name, text in reversed(FORMATS.items()):
        command = click.option(
            f"--{name}",
            f"{name}_path",
            type=click.Path(dir_okay=False, path_type=Path),
            callback=_keep,
            expose_value=False,
            help=text,
        )(command)
    return command


def write_outputs(reports: "Sequence[Report]") -> None:
    """Write the files that were asked for: all of them, or none and exit with 2."""
    from lion_ports.conformance.reports import FORMATS as WRITERS
    from lion_ports.conformance.reports.files import FileError, write

    paths = click.get_current_context().meta.get(__name__, {})
    try:
        write({path: WRITERS[name](reports) for name, path in paths.items()})
    except FileError as error:
        refuse(str(error))


def _keep(context: click.Context, option: click.Parameter, path: Path | None) -> None:
    if path is None:
        return
    given = f"{option.opts[0]} {path}"
    if not path.absolute().parent.is_dir():
        refuse(f"{given}: there is no such folder; make it first")
    if path.exists() and not path.is_file():
        refuse(f"{given}: is no file that could be replaced; name another")
    paths: dict[str, Path] = context.meta.setdefault(__name__, {})
    if path.resolve() in [other.resolve() for other in paths.values()]:
        refuse(f"{given}: another report goes to the same file; name two")
    paths[option.opts[0].removeprefix("--")] = path
