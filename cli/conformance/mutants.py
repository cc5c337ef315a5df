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

    Exit status 1: a mutant fails fewer than two of all cases, or is named in none. With --case it
    shows what these cases catch, whatever they do not.
    """
    from lion_ports.conformance.kills import kill_matrix, page
    from lion_ports.conformance.mutants import MUTANTS
    from lion_ports.conformance.reports.files import FileError, write
    from lion_ports.conformance.runner import cores

    if path is not None and not path.absolute().parent.is_dir():
        refuse(f"--markdown {path}: there is no such folder; make it first")
    cases = chosen(patterns)
    if all(case.build().refuse is not None for case in cases):
        refuse(
            "these cases ask for a refusal of settings, which no wrong Lion is about; add others"
        )
    with Progress("mutants", len(cases)) as advance:
        matrix = kill_matrix(cases, on_case=advance, jobs=min(jobs or cores(), len(cases)))
    wide, weak, caught = max(len(name) for name in MUTANTS), 0, 0
    for name, kills in matrix.items():
        named = sum(kill.named for kill in kills)
        survives = not patterns and (len(kills) < 2 or not named)
        weak, caught = weak + survives, caught + bool(kills)
        words = f"{name:{wide}}  failed by {len(kills):3}, named in {named:3}"
        if kills or not patterns:
            say(f"{words}  {MUTANTS[name].sentence}", fg="red" if survives else None)
    count = f"{len(cases)} case{'' if len(cases) == 1 else 's'}"
    say(f"{count} caught {caught} of {len(matrix)} wrong Lions")
    if path is not None:
        try:
            write({path: page(matrix)})
        except FileError as error:
            refuse(str(error))
    if weak:
        sys.exit(1)
