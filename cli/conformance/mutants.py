"""``lion-conformance mutants``."""

import sys
from pathlib import Path

import click

from lion_ports.cli.conformance.printing import Progress, say
from lion_ports.cli.conformance.shared import chosen, refuse


@click.command("mutants")
@click.option(
    "--case",
    "patterns",
    multiple=True,
    metavar="PATTERN",
    help="Only cases whose id matches, as in 'sign-*'.",
)
@click.option(
    "--markdown",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the matrix as a page; docs/kill-matrix.md is that of all cases.",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Processes at the same time. Default: one for each core.",
)
def command(patterns: tuple[str, ...], path: Path | None, jobs: int | None) -> None:
    """Every known wrong Lion, and the cases that fail it; over all cases it takes some minutes.

    Exit status 1: a mutant fails fewer than two of the cases, or is named in none.
    """
    from lion_ports.conformance.kills import kill_matrix, page
    from lion_ports.conformance.mutants import MUTANTS
    from lion_ports.conformance.reports.files import FileError, write
    from lion_ports.conformance.runner import cores

    if path is not None and not path.absolute().parent.is_dir():
        refuse(f"--markdown {path}: there is no such folder; make it first")
    cases = chosen(patterns)
    with Progress("mutants", len(cases)) as advance:
        matrix = kill_matrix(cases, on_case=advance, jobs=min(jobs or cores(), len(cases)))
    wide = max(len(name) for name in MUTANTS)
    survived = False
    for name, kills in matrix.items():
        named = sum(kill.named for kill in kills)
        survives = len(kills) < 2 or not named
        survived = survived or survives
        words = f"{name:{wide}}  failed by {len(kills):3}, named in {named:3}"
        say(f"{words}  {MUTANTS[name].sentence}", fg="red" if survives else None)
    if path is not None:
        try:
            write({path: page(matrix)})
        except FileError as error:
            refuse(str(error))
    if survived:
        sys.exit(1)
