"""The document as tables, and these as Markdown."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from lion_ports.cli.bench import notes
from lion_ports.cli.bench.figures import without_options
from lion_ports.cli.bench.printed import (
    conditions,
    counted,
    number,
    ratio,
    size,
    step_title,
    times,
    training_title,
)

Document = dict[str, Any]


class Row(NamedTuple):
    """``kind``: ``"ours"``, ``"theirs"``, or ``"limit"`` for what memory allows."""

    kind: str
    cells: tuple[str, ...]


class Table(NamedTuple):
    """One table, its columns (the first is text, the rest are numbers), and remarks below it."""

    title: str
    columns: tuple[str, ...]
    rows: list[Row]
    remarks: list[str]

    def only(self, columns: Iterable[str]) -> "Table":
        """With these of its columns."""
        places = [self.columns.index(column) for column in columns]
        rows = [Row(row.kind, tuple(row.cells[place] for place in places)) for row in self.rows]
        return self._replace(columns=tuple(self.columns[place] for place in places), rows=rows)

    def filled(self) -> "Table":
        """Without the columns that no row has anything in."""
        return self.only(
            column
            for place, column in enumerate(self.columns)
            if place == 0 or any(row.cells[place] for row in self.rows)
        )


def tables(document: Document) -> list[Table]:
    """The tables of a document, fastest first."""
    make = {"step": _step, "train": _train, "scaling": _scaling}[document["kind"]]
    busy = notes.of_machine(document["machine"])
    return [
        table.filled()._replace(remarks=busy + table.remarks)
        for result in document["backends"]
        for table in make(document, result)
    ]


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
    machine = document["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    told = "load_average" in machine and notes.of_machine(machine)
    load = f", load average {machine['load_average']:.1f}" if told else ""
    return [
        f"{machine['cpu']}, {counted(machine['cores'], 'core')}, "
        f"{machine['memory_bytes'] / 2**30:.0f} GiB, "
        f"{machine['system']}{load}; {document['date'][:10]}",
        f"`{document['command']}`: {conditions(document['settings'])}",
        versions,
    ]


def _step(document: Document, result: dict[str, Any]) -> Iterator[Table]:
    case = result["cases"][0]
    baseline = result["baseline"]
    bandwidth = case["bandwidth"]["gb_per_second"]
    measured = _measured(case)
    beside, to_plain = without_options(case)
    columns = (
        result["backend"], "ms", "quartiles", "bytes/param", "GB/s", "of bandwidth",
        f"vs {baseline}", "vs fastest other", beside, "extra memory", "compile", "recompiled",
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
                ratio(e["of_bandwidth"]),
                times(e["times_baseline"]),
                times(e["times_fastest"]),
                times(to_plain.get(e["name"])),
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
    rows.append(Row("limit", cells + 6 * ("",)))
    yield Table(step_title(result), columns, rows, [f"bandwidth by {case['bandwidth']['method']}",
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
    columns = (result["backend"], "tokens/s", "quartiles", "ms", "lion-train to it")
    remarks = notes.of_case(case, result)
    if case["optimizer_share"] is not None:
        remarks.insert(0, f"the optimizer's share of a step is {case['optimizer_share']:.1%}")
    yield Table(training_title(result), columns, rows, remarks)


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
