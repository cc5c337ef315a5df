"""The tables on a terminal, with rich: no figure is ever cut."""

import shutil
import textwrap
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from lion_ports.cli.bench import notes
from lion_ports.cli.bench.tables import Table, heading, tables

SPARE = (
    "quartiles", "GB/s", "recompiled", "bytes/param", "compile", "vs fastest other",
    "extra memory", "of bandwidth",
)  # fmt: skip
"""Columns that a narrow terminal does without, the first of them first."""

_PIPE = 160  # a pipe has no width that a table would have to fit

_STYLES = {"ours": "bold green", "theirs": "", "limit": "cyan"}


def show(document: dict[str, Any]) -> None:
    """Print the tables in the width of the terminal, or of the variable COLUMNS."""
    width = shutil.get_terminal_size((_PIPE, 0)).columns
    console = Console(highlight=False, width=width)
    console.print()
    for line in heading(document):
        console.print(Text(line, "dim"))
    for table in (fitting(table, width) for table in tables(document)):
        console.print()
        # Not as rich's own title, which is wrapped to the width of the table.
        console.print(Text(table.title, "italic"))
        console.print(_shown(table), crop=False)
        for remark in table.remarks:
            style = "yellow" if notes.warns(remark) else "dim"
            console.print(Text(_indented(remark, width), style), soft_wrap=True)


def fitting(table: Table, width: int) -> Table:
    """Without those of ``SPARE`` for which a terminal of this width has no room."""
    left_out = []
    for name in SPARE:
        if _width(table) > width and name in table.columns:
            table = table.only(c for c in table.columns if c != name)
            left_out.append(name)
    if not left_out:
        return table
    words = f"no room for {', '.join(left_out)}: widen the window, or see --json"
    return table._replace(remarks=[*table.remarks, words])


def _shown(table: Table) -> RichTable:
    """As wide as it has to be, where it does not fit either without ``SPARE``."""
    shown = RichTable(box=box.SIMPLE_HEAD, width=_width(table))
    for place, column in enumerate(table.columns):
        words = column if place == 0 else column.replace(" ", "\n")
        shown.add_column(words, justify="right" if place else "left", no_wrap=True)
    for row in table.rows:
        shown.add_row(*(Text(cell) for cell in row.cells), style=_STYLES[row.kind])
    return shown


def _width(table: Table) -> int:
    """Each column has its longest cell or word of its heading, two spaces and a border."""
    cells = [[row.cells[place] for row in table.rows] for place in range(len(table.columns))]
    columns = [
        max(map(cell_len, [*words.split(), *column]))
        for words, column in zip(table.columns, cells, strict=True)
    ]
    return sum(columns) + 3 * len(columns) + 1


def _indented(remark: str, width: int) -> str:
    return textwrap.fill(
        remark,
        max(width, 20),
        initial_indent="  ",
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
