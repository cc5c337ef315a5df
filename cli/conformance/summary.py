"""What ``lion-conformance`` prints of a report: the verdict and its cause first."""

import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lion_ports.cli.conformance.printing import COLOURS, paragraph, say

if TYPE_CHECKING:
    from lion_ports.conformance.execution import Result
    from lion_ports.conformance.runner import Report

Command = TypeVar("Command", bound=Callable[..., Any])

_CAUSES, _NAMES, _OPTIONS, _LETTERS = 5, 3, 6, 400
"""How many causes, case ids, missing options, and letters of an error; --verbose shows all."""


def amount_options(command: Command) -> Command:
    """Give a command ``--quiet`` and ``--verbose``, of which the last one counts."""
    quiet = click.option("--quiet", "amount", flag_value="quiet", help="One line, the verdict.")
    verbose = click.option(
        "--verbose",
        "amount",
        flag_value="verbose",
        help="Each failure in full, and a table of outcomes by family of cases.",
    )
    return quiet(verbose(command))


def show(report: "Report", amount: str | None = None) -> None:
    """The verdict, what it is instead, where to look; then the failures, and what else there is."""
    from lion_ports.conformance.reports.verdicts import causes, reasons, verdict
    from lion_ports.conformance.reports.words import printable, replay, title

    colour = "green" if report.conforms else "red"
    if amount == "quiet":
        where = printable(f"{report.name} {report.version} on {report.device}")
        say(f"{where} {verdict(report)}", fg=colour)
        return
    say(title(report), bold=True)
    paragraph(verdict(report), hanging="  ", fg=colour, bold=True)
    groups = causes(report)
    sentences = reasons(report)
    named = len(report.diagnosis)
    for sentence in sentences[:named]:
        paragraph(sentence, hanging="  ", fg="red")
    if groups:
        say(f"  look closer:\n    {replay(report, groups[0][0].id)}", fg="cyan")
    for sentence in sentences[named:]:
        paragraph(sentence, hanging="  ", fg="red")
    _failures(report, groups, verbose=amount == "verbose")
    _known(report.cases)
    _absent(report.cases, verbose=amount == "verbose")
    if amount == "verbose":
        _table(report.cases)
    _notes(report)
    say()


def show_together(reports: "Sequence[Report]", amount: str | None = None) -> None:
    """One closing sentence, where there is more than one implementation to close over."""
    from lion_ports.conformance.reports.verdicts import together

    if len(reports) > 1 and amount != "quiet":
        good = all(report.conforms for report in reports)
        style = {"fg": "green" if good else "red", "bold": True}
        paragraph(together(reports), indent="", hanging="  ", **style)


def _failures(report: "Report", groups: "list[list[Result]]", *, verbose: bool) -> None:
    """One failure of each cause in full, and which cases fail likewise; or else all of them."""
    from lion_ports.conformance.reports.verdicts import some
    from lion_ports.conformance.reports.words import replay

    if verbose:
        groups = [[result] for result in report.cases if result.failed]
    shown = groups if verbose else groups[:_CAUSES]
    for first, *others in shown:
        names = first.diagnosis
        if not verbose:  # the one that stands above, and explains the others as well
            names = [name for name in report.diagnosis if name in names][:1]
        _failure(first, names, replay(report, first.id), verbose=verbose)
        if others:
            ids = [result.id for result in others]
            paragraph(f"likewise {some(ids, _NAMES)}", indent="    ", hanging="  ")
    if left := sum(len(group) for group in groups[len(shown) :]):
        say()
        paragraph(f"... and {left} more failures; --verbose shows all, --json FILE writes them")


def _failure(result: "Result", names: Sequence[str], command: str, *, verbose: bool) -> None:
    from lion_ports.conformance.reports.words import behaves, element, short

    say()
    say(f"  {result.outcome}  {result.id}  {result.rule}", fg="red", bold=True)
    at = element(result.detail)
    if at is None:
        words = short(result.detail)
        words = words if verbose else textwrap.shorten(words, _LETTERS, placeholder=" ...")
        paragraph(words, indent="    ", hanging="  ")
    else:
        say(f"    step {at.step}, {at.parameter}{at.index}: {at.what}")
        if at.allowed:
            say(f"      came     {at.came}")
            say(f"      allowed  {at.allowed}")
        if at.inputs:
            inputs = ", ".join(f"{name}={value}" for name, value in at.inputs)
            paragraph(f"inputs   {inputs}", indent="      ", hanging=" " * 9)
    for sentence in behaves(names):
        paragraph(sentence, indent="    ", hanging="  ", fg="yellow")
    say(f"    {command}", fg="cyan")


def _known(results: "Iterable[Result]") -> None:
    """What ``--expect`` says of cases, those together of which it says the same."""
    from lion_ports.conformance.reports.verdicts import some
    from lion_ports.conformance.reports.words import note

    alike: dict[tuple[str, str], list[str]] = {}
    for result in results:
        if result.outcome in ("XFAIL", "SKIP") and not result.not_run:
            alike.setdefault((result.outcome, note(result)), []).append(result.id)
    if alike:
        say()
    for (outcome, words), ids in alike.items():
        text = f"{outcome} {some(ids, _NAMES)}: {words}"
        paragraph(text, hanging="  ", fg=COLOURS[outcome])


def _absent(results: "Iterable[Result]", *, verbose: bool) -> None:
    """One paragraph on what is not offered."""
    from lion_ports.conformance.execution import UNSUPPORTED
    from lion_ports.conformance.reports.verdicts import some
    from lion_ports.conformance.reports.words import printable

    absent: dict[str, list[str]] = {}
    for result in results:
        if result.outcome == UNSUPPORTED:
            absent.setdefault(result.detail, []).append(result.id)
    parts = [
        f"{what} ({ids[0] if len(ids) == 1 else f'{len(ids)} cases'})"
        for what, ids in absent.items()
    ]
    if parts:
        say()
        words = some(parts, len(parts) if verbose else _OPTIONS)
        paragraph(printable(f"not offered: {words}"), hanging="  ")


def _table(results: "Sequence[Result]") -> None:
    """Outcomes by category; a line for each category and a column for each outcome there is."""
    from lion_ports.conformance.reports.words import category, counts

    families: dict[str, list[Result]] = {}
    for result in results:
        families.setdefault(category(result.id), []).append(result)
    columns = list(reversed(counts(results)))  # EXACT first
    wide = max(len(name) for name in (*families, "together"))
    head = "".join(f"  {name:>{max(len(name), 5)}}" for name in columns)
    say(f"\n  {'':{wide}}{head}", dim=True)
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


def _notes(report: "Report") -> None:
    """How many came out how, how far off, how long, and which case took longest."""
    from lion_ports.conformance.reports.words import counts

    worst = max((r.max_ulp for r in report.cases if r.outcome == "ULP"), default=0)
    ambiguous = sum(r.ambiguous for r in report.cases if r.outcome == "AMBIGUOUS")
    more = {"ULP": f" (up to {worst})", "AMBIGUOUS": f" ({ambiguous} signs inside the band)"}
    found = reversed(counts(report.cases).items())
    words = ", ".join(f"{count} {name}{more.get(name, '')}" for name, count in found)
    count = len(report.cases)
    parts = [f"{count} {'case' if count == 1 else 'cases'} in {report.seconds:.1f} s"]
    slowest = max(report.cases, key=lambda result: result.seconds, default=None)
    if slowest is not None and slowest.seconds >= 1:
        parts.append(f"longest {slowest.id} ({slowest.seconds:.1f} s)")
    say()
    paragraph(words, dim=True)
    paragraph("; ".join([*parts, f"subnormal numbers are {report.subnormals}"]), dim=True)
