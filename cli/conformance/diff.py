"""``lion-conformance diff``."""

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lion_ports.cli.conformance.printing import say
from lion_ports.cli.conformance.shared import refuse

if TYPE_CHECKING:
    from lion_ports.conformance.reports.compare import Comparison

_FILE = click.Path(path_type=Path)
_COLOURS = {"worse": "red", "better": "green", "new": "cyan", "gone": "yellow"}


@click.command("diff")
@click.argument("old", type=_FILE)
@click.argument("new", type=_FILE)
def command(old: Path, new: Path) -> None:
    """What has changed between two reports that --json has written.

    Exit status 1: some case has become worse, or an implementation no longer conforms. What is new
    or gone is shown, and changes no exit status.
    """
    from lion_ports.conformance.reports.compare import KINDS, compare
    from lion_ports.conformance.reports.files import FileError
    from lion_ports.conformance.reports.json import load

    try:
        comparisons = compare(load(old), load(new))
    except FileError as error:
        refuse(str(error))
    for comparison in comparisons:
        _show(comparison)
    found = Counter(change.kind for one in comparisons for change in one.changes)
    words = [f"{found[kind]} {kind}" for kind in KINDS if found[kind]]
    say(", ".join(words) or "nothing has changed", fg="red" if found["worse"] else "green")
    if found["worse"]:
        sys.exit(1)


def _show(comparison: "Comparison") -> None:
    """A heading with both versions, and a line for each change, the worst first."""
    from lion_ports.conformance.reports.compare import KINDS
    from lion_ports.conformance.reports.words import printable

    report = comparison.new or comparison.old
    if report is None or not comparison.changes:
        return
    both = [one.version for one in (comparison.old, comparison.new) if one]
    versions = " -> ".join(dict.fromkeys(both))
    say(printable(f"{report.name} {versions} on {report.device}, level {report.level}"), bold=True)
    wide = max(len(change.case or "verdict") for change in comparison.changes)
    for change in sorted(comparison.changes, key=lambda change: KINDS.index(change.kind)):
        name = printable(change.case or "verdict")
        outcomes = " -> ".join(part for part in (change.before, change.after) if part)
        say(f"  {change.kind:7}  {name:{wide}}  {outcomes}", fg=_COLOURS.get(change.kind))
    say()
