"""``lion-conformance vectors``."""

import sys
from pathlib import Path

import click

from lion_ports.cli.conformance.shared import refuse


@click.command("vectors")
@click.option("--check", is_flag=True, help="Compare FOLDER with its manifest and the suite.")
@click.option(
    "--write",
    "target",
    type=click.Path(path_type=Path),
    metavar="NEW",
    help="Mint all vectors into a new folder.",
)
@click.argument("folder", required=False, type=click.Path(path_type=Path))
def command(check: bool, target: Path | None, folder: Path | None) -> None:
    """Check the published vectors, or those in FOLDER, or mint new ones (docs/vectors.md).

    Exit status 1: a file differs from its manifest, or from what the suite gives now.
    """
    from lion_ports.conformance.vectors.publishing import PUBLISHED, VectorsError, compare, mint

    if check == (target is not None) or (folder is not None and not check):
        refuse("vectors takes --check, with a folder if it is not the published one, or --write")
    try:
        if target is not None:
            click.echo(f"{target}: {mint(target)} vectors and their manifest")
            return
        where = folder or PUBLISHED
        differences, newer = compare(where)
    except VectorsError as error:
        refuse(str(error))
    for sentence in differences:
        click.echo(sentence)
    if newer:
        click.echo(f"newer than these vectors, and not among them: {', '.join(newer)}")
    if differences:
        count = len(differences)
        click.echo(f"{where.name}: {count} difference{'' if count == 1 else 's'}")
        sys.exit(1)
    click.echo(f"{where.name}: every vector is what the suite gives, bit for bit")
