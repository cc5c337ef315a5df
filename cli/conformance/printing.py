"""How ``lion-conformance`` prints: colours, the width of the terminal, a counter."""

import os
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from lion_ports.conformance.options import Option
    from lion_ports.conformance.runner import Report

# By meaning: red needs attention, yellow is worth a look, green is what was asked for.
COLOURS = {
    "FAIL": "red",
    "ERROR": "red",
    "XPASS": "red",
    "XFAIL": "yellow",
    "SKIP": "yellow",
    "EXACT": "green",
    "ULP": "green",
    "BOUNDED": "green",
    "AMBIGUOUS": "green",
}
_NARROW, _WIDE = 40, 100
"""Columns; without a terminal there are as many as can be."""


class Progress:
    """A counter on a terminal, silence elsewhere."""

    def __init__(self, impl: str, total: int) -> None:
        self._impl, self._total, self._done = impl, total, 0

    def __enter__(self) -> Any:
        return self._advance

    def _advance(self) -> None:
        self._done += 1
        if sys.stderr.isatty():
            click.echo(f"\r{self._impl}: {self._done}/{self._total}", err=True, nl=False)

    def __exit__(self, *exception: object) -> None:
        if sys.stderr.isatty():
            click.echo("\r\033[K", err=True, nl=False)


def say(text: str = "", **style: Any) -> None:
    """Print, in colour on a terminal unless NO_COLOR is set, whatever the encoding can hold."""
    encoding = sys.stdout.encoding or "utf-8"
    text = text.encode(encoding, "backslashreplace").decode(encoding)
    colour = False if os.environ.get("NO_COLOR") else None  # None: as click sees fit
    click.secho(text, color=colour, **style)


def paragraph(text: str, indent: str = "  ", hanging: str = "", **style: Any) -> None:
    """Print a text in lines that fit the terminal, all but the first further in by ``hanging``."""
    wide = max(_NARROW, min(_WIDE, shutil.get_terminal_size((_WIDE, 0)).columns))
    for line in textwrap.wrap(
        text, wide, initial_indent=indent, subsequent_indent=indent + hanging,
        break_on_hyphens=False, break_long_words=False,
    ):  # fmt: skip
        say(line, **style)


def show_options(options: "Sequence[Option]", reports: "Mapping[str, Report]") -> bool:
    """A line for each option; whether every implementation has every one."""
    from lion_ports.conformance.options import verdict

    wide = max(len(option.name) for option in options)
    columns = {impl: max(len(impl), len("UNSUPPORTED")) for impl in reports}
    heads = "  ".join(f"{impl:{width}}" for impl, width in columns.items())
    say(f"{'option':{wide}}  {'rules':14}  {heads}  cases", bold=True)
    everywhere = True
    for option in options:
        cells = {impl: verdict(option, report) for impl, report in reports.items()}
        good = all(cell == "yes" for cell in cells.values())
        everywhere = everywhere and good
        words = "  ".join(f"{cells[impl]:{width}}" for impl, width in columns.items())
        more = f" and {len(option.cases) - 1} more" if len(option.cases) > 1 else ""
        ids = option.cases[0].id + more if option.cases else ""
        rules = ", ".join(option.rules[:2]) + ("..." if len(option.rules) > 2 else "")
        say(f"{option.name:{wide}}  {rules:14}  {words}  {ids}", fg=None if good else "red")
    return everywhere
