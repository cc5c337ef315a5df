"""The document as tables: on the terminal with rich, and as Markdown."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from lion_ports.cli.bench import notes
from lion_ports.cli.bench.printed import counted, number, parameters, size, times

Document = dict[str, Any]


class Row(NamedTuple):
    """``kind``: ``"ours"``, ``"theirs"``, or ``"limit"`` for what memory allows."""

    kind: str
    cells: tuple[str, ...]


SPARE = ("quartiles", "GB/s", "recompiled", "bytes/param", "compile", "vs fastest other")
"""Columns that a narrow terminal does without, the first of them first."""


class Table(NamedTuple):
    """One table, its columns (the first is text, the rest are numbers), and remarks below it."""

    title: str
    columns: tuple[str, ...]
    rows: list[Row]
    remarks: list[str]

    def fitting(self, width: int) -> "Table":
        """Without those of ``SPARE`` for which a terminal of this width has no room."""
        table = self
        for name in SPARE:
            if sum(table.widths()) + 3 * len(table.columns) + 2 > width and name in table.columns:
                keep = [i for i, column in enumerate(table.columns) if column != name]
                rows = [Row(r.kind, tuple(r.cells[i] for i in keep)) for r in table.rows]
                table = table._replace(columns=tuple(table.columns[i] for i in keep), rows=rows)
        left_out = [name for name in self.columns if name not in table.columns]
        if not left_out:
            return self
        words = f"no room for {', '.join(left_out)}: widen the window, or see --json"
        return table._replace(remarks=[*self.remarks, words])

    def widths(self) -> list[int]:
        """The least of each column: its longest cell, or the longest word of its heading."""
        return [
            max([len(row.cells[place]) for row in self.rows] + [len(w) for w in column.split()])
            for place, column in enumerate(self.columns)
        ]


def tables(document: Document) -> list[Table]:
    """The tables of a document, fastest first."""
    make = {"step": _step, "train": _train, "scaling": _scaling}[document["kind"]]
    busy = notes.of_machine(document["machine"])
    return [
        table._replace(remarks=busy + table.remarks)
        for result in document["backends"]
        for table in make(document, result)
    ]


def show(document: Document) -> None:
    """Print the tables."""
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 160  # a pipe has no width that a table would have to fit
    styles = {"ours": "bold green", "theirs": "", "limit": "cyan"}
    console.print()
    for line in heading(document):
        console.print(Text(line, "dim"))
    for table in (table.fitting(console.width) for table in tables(document)):
        shown = RichTable(title=table.title, title_justify="left", box=box.SIMPLE_HEAD)
        for place, column in enumerate(table.columns):
            words = column if place == 0 else column.replace(" ", "\n")
            shown.add_column(words, justify="right" if place else "left", no_wrap=True)
        for row in table.rows:
            shown.add_row(*(Text(cell) for cell in row.cells), style=styles[row.kind])
        console.print()
        console.print(shown)
        for remark in table.remarks:
            console.print(Text(f"  {remark}", "yellow" if notes.warns(remark) else "dim"))


def markdown(document: Document) -> str:
    """The tables for a page; ours in bold."""
    parts = ["  \n".join(heading(document))]
    for table in tables(document):
        lines = [
            f"**{table.title}**",
            "",
            f"| {' | '.join(table.columns)} |",
            f"| --- |{' ---: |' * (len(table.columns) - 1)}",
        ]
        for row in table.rows:
            first, *rest = row.cells
            name = {"ours": f"**{first}**", "limit": f"*{first}*"}.get(row.kind, first)
            lines.append(f"| {' | '.join([name, *rest])} |")
        parts.append("\n".join(lines))
        parts += [f"{remark[0].upper()}{remark[1:]}." for remark in table.remarks]
    return "\n\n".join(parts)


def heading(document: Document) -> list[str]:
    """Machine, versions, settings and date."""
    machine, settings = document["machine"], document["settings"]
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    told = "load_average" in machine and notes.of_machine(machine)
    load = f", load average {machine['load_average']:.1f}" if told else ""
    return [
        f"{machine['cpu']}, {counted(machine['cores'], 'core')}, "
        f"{machine['memory_bytes'] / 2**30:.0f} GiB, "
        f"{machine['system']}{load}; {document['date'][:10]}",
        f"`{document['command']}`: {counted(settings['rounds'], 'interleaved round')}, "
        f"{counted(settings['threads'], 'thread')}, {settings['dtype']}",
        versions,
    ]


def _step(document: Document, result: dict[str, Any]) -> Iterator[Table]:
    case = result["cases"][0]
    baseline = result["baseline"]
    bandwidth = case["bandwidth"]["gb_per_second"]
    measured = _measured(case)
    columns = (
        result["backend"], "ms", "quartiles", "bytes/param", "GB/s", "of bandwidth",
        f"vs {baseline}", "vs fastest other", "extra memory", "compile", "recompiled",
    )  # fmt: skip
    rows = [
        Row(
            "ours" if e["ours"] else "theirs",
            (
                e["name"],
                number(e["ms"]["median"]),
                f"{number(e['ms']['q1'])}-{number(e['ms']['q3'])}",
                f"{e['bytes_per_parameter']:g}",
                number(e["gb_per_second"]),
                f"{e['of_bandwidth']:.2f}",
                times(e["times_baseline"]),
                times(e["times_fastest"]),
                size(e["peak_bytes"]),
                "" if e["compile_seconds"] is None else f"{e['compile_seconds']:.1f} s",
                "" if e["recompilations"] is None else str(e["recompilations"]),
            ),
        )
        for e in measured
    ]
    lion = 5 * {"float64": 8, "float32": 4}.get(document["settings"]["dtype"], 2)
    least = lion * case["parameters"] / 1e6 / bandwidth
    cells = ("Lion at the bandwidth", number(least), "", f"{lion}", number(bandwidth), "1.00")
    rows.append(Row("limit", cells + 5 * ("",)))
    title = (
        f"{result['backend']} on {result['device']}: one step of {parameters(case)} "
        f"in {counted(case['tensors'], 'tensor')}"
    )
    yield Table(title, columns, rows, [f"bandwidth by {case['bandwidth']['method']}",
                                       *notes.of_case(case, result)])  # fmt: skip


def _train(document: Document, result: dict[str, Any]) -> Iterator[Table]:
    case = result["cases"][0]
    rows = []
    for e in _measured(case):
        rate = e.get("tokens_per_second")
        rows.append(
            Row(
                "ours" if e["name"] == "lion-train" else "theirs",
                (
                    e["name"],
                    "" if rate is None else f"{rate['median']:,.0f}",
                    "" if rate is None else f"{rate['q1']:,.0f}-{rate['q3']:,.0f}",
                    number(e["ms"]["median"]),
                    times(e.get("trainer_times")),
                ),
            )
        )
    title = (
        f"{result['backend']} on {result['device']}: preset {case['preset']}, "
        f"{case['parameters']:,} parameters, {case['tokens']:,} tokens a step"
    )
    columns = (result["backend"], "tokens/s", "quartiles", "ms", "lion-train to it")
    remarks = notes.of_case(case, result)
    if case["optimizer_share"] is not None:
        remarks.insert(0, f"the optimizer's share of a step is {case['optimizer_share']:.1%}")
    yield Table(title, columns, rows, remarks)


def _scaling(document: Document, result: dict[str, Any]) -> Iterator[Table]:
    for series, words in (("size", "one tensor"), ("count", "many tensors of one total")):
        cases = [case for case in result["cases"] if case["series"] == series]
        names = dict.fromkeys(e["name"] for case in cases for e in case["contenders"])
        heads = [f"{c['parameters']:,}" if series == "size" else f"{c['tensors']:,}" for c in cases]
        rows = []
        for name in names:
            found = [{e["name"]: e for e in case["contenders"]}.get(name) for case in cases]
            cells = ["" if e is None or e["status"] != "measured"
                     else number(e["ns_per_parameter"]) for e in found]  # fmt: skip
            ours = any(e["ours"] for e in found if e is not None)
            rows.append(Row("ours" if ours else "theirs", (name, *cells)))
        title = f"{result['backend']} on {result['device']}: ns a parameter, {words}"
        if series == "count":
            title = f"{title} ({cases[0]['parameters']:,} parameters)"
        remarks = list(dict.fromkeys(r for case in cases for r in notes.of_case(case, result)))
        yield Table(title, (result["backend"], *heads), rows, remarks)


def _measured(case: dict[str, Any]) -> list[dict[str, Any]]:
    found = [e for e in case["contenders"] if e["status"] == "measured"]
    return sorted(found, key=lambda e: float(e["ms"]["median"]))
