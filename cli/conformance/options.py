"""``lion-conformance options``."""

import sys
from pathlib import Path
from typing import Any

import click

from lion_ports.cli.conformance import shared
from lion_ports.cli.conformance.printing import Progress, show_options


@click.command("options")
@shared.impl
@shared.level("bitwise", "faithful", default="bitwise")
@click.option(
    "--json",
    "json_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the table as JSON.",
)
def command(impls: tuple[str, ...], level: Any, json_path: Path | None) -> None:
    """Which options each implementation offers, by running the cases of each.

    Exit status 1: some option is missing or wrong somewhere.
    """
    from lion_ports.conformance.adapters import TargetError
    from lion_ports.conformance.options import all_options, as_dict, offered
    from lion_ports.conformance.reports.files import write_json

    shared.refuse_missing_folder(json_path)
    impls = shared.targets(impls)
    table = all_options()
    try:
        count = len({case.id for option in table for case in option.cases})
        with Progress("options", count * len(impls)) as advance:
            reports = offered(table, impls, level, lambda result: advance())
    except TargetError as error:
        shared.refuse(str(error))
    if json_path is not None:
        write_json(json_path, as_dict(table, reports, level))
    if not show_options(table, reports):
        sys.exit(1)
