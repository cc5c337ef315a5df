"""What ``lion-conformance`` prints of its reports."""

import os
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from lion_ports.conformance.execution import Result
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
_WIDTH = 100


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


def show(report: "Report") -> None:
    """A table of counts, the failures in full, what is not offered, and last the verdict."""
    from lion_ports.conformance.execution import UNSUPPORTED
    from lion_ports.conformance.reports.words import behaves, note, replay, title, verdict

    say(title(report), bold=True)
    if report.cases:
        _table(report.cases)
    for result in report.cases:
        if result.failed:
            _failure(result, replay(report, result.id))
    for result in report.cases:
        if result.outcome in ("XFAIL", "SKIP"):
            say(f"  {result.outcome} {result.id}: {note(result)}", fg=COLOURS[result.outcome])
    absent: dict[str, list[str]] = {}
    for result in report.cases:
        if result.outcome == UNSUPPORTED:
            absent.setdefault(result.detail, []).append(result.id)
    if absent:
        _absent(absent)
    say(f"  {_notes(report)}", dim=True)
    say(f"  {verdict(report)}", fg="green" if report.conforms else "red", bold=True)
    for sentence in behaves(report.diagnosis):
        say(f"  {sentence}", fg="red")
    say()


def show_together(reports: "Sequence[Report]") -> None:
    """One closing sentence, where there is more than one implementation to close over."""
    from lion_ports.conformance.reports.words import together

    if len(reports) > 1:
        good = all(report.conforms for report in reports)
        say(together(reports), fg="green" if good else "red", bold=True)


def _table(results: "Sequence[Result]") -> None:
    """Outcomes by category; a line for each category and a column for each outcome there is."""
    from lion_ports.conformance.reports.words import category, counts

    families: dict[str, list[Result]] = {}
    for result in results:
        families.setdefault(category(result.id), []).append(result)
    columns = list(reversed(counts(results)))  # EXACT first
    wide = max(len(name) for name in (*families, "together"))
    head = "".join(f"  {name:>{max(len(name), 5)}}" for name in columns)
    say(f"  {'':{wide}}{head}", dim=True)
    rows = [(name, counts(found)) for name, found in families.items()]
    if len(rows) > 1:
        rows.append(("together", counts(results)))
    for name, found in rows:
        style = {"bold": True} if name == "together" else {}
        cells = ""
        for outcome in columns:
            looks: dict[str, Any] = {"dim": True}
            if outcome in found:
                looks = {"fg": COLOURS.get(outcome), **style}
            cells += click.style(f"  {found.get(outcome, '.'):>{max(len(outcome), 5)}}", **looks)
        say(click.style(f"  {name:{wide}}", **style) + cells)


def _failure(result: "Result", command: str) -> None:
    from lion_ports.conformance.reports.words import behaves, element, short

    say()
    say(f"  {result.outcome}  {result.id}  {result.rule}", fg="red", bold=True)
    at = element(result.detail)
    if at is None:
        say(textwrap.indent(short(result.detail), "    "))
    else:
        say(f"    step {at.step}, {at.parameter}{at.index}: {at.what}")
        if at.allowed:
            say(f"      came     {at.came}")
            say(f"      allowed  {at.allowed}")
        if at.inputs:
            say(f"      inputs   {', '.join(f'{name}={value}' for name, value in at.inputs)}")
    for sentence in behaves(result.diagnosis[:2]):
        say(f"    {sentence}", fg="yellow")
    say(f"    {command}", fg="cyan")


def _absent(absent: Mapping[str, Sequence[str]]) -> None:
    """One paragraph on all that is not offered."""
    from lion_ports.conformance.reports.words import printable

    parts = [
        f"{what} ({ids[0] if len(ids) == 1 else f'{len(ids)} cases'})"
        for what, ids in absent.items()
    ]
    text = printable(f"not offered: {', '.join(parts)}")
    say()
    for line in textwrap.wrap(
        text, _WIDTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False
    ):
        say(line)


def _notes(report: "Report") -> str:
    """How far off, how long, and which case took longest."""
    seconds = sum(result.seconds for result in report.cases)
    count = len(report.cases)
    parts = [f"{count} {'case' if count == 1 else 'cases'} in {seconds:.1f} s"]
    slowest = max(report.cases, key=lambda result: result.seconds, default=None)
    if slowest is not None and slowest.seconds >= 1:
        parts.append(f"longest {slowest.id} ({slowest.seconds:.1f} s)")
    worst = max((r.max_ulp for r in report.cases if r.outcome == "ULP"), default=0)
    ambiguous = sum(r.ambiguous for r in report.cases if r.outcome == "AMBIGUOUS")
    parts += [f"ULP: up to {worst}"] * bool(worst)
    parts += [f"AMBIGUOUS: {ambiguous} signs inside the band"] * bool(ambiguous)
    return "; ".join([*parts, f"subnormal numbers are {report.subnormals}"])


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
