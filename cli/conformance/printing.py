"""What ``lion-conformance`` prints of its reports."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from lion_ports.conformance.execution import Result
    from lion_ports.conformance.options import Option
    from lion_ports.conformance.runner import Report


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


def replay(impl: str, level: str, device: str) -> str:
    """The command that puts one case to this implementation again, up to the case's id."""
    words = ["lion-conformance", "run", "--impl", impl]
    arguments = iter(sys.argv[1:])
    for word in arguments:
        if word in ("--kwarg", "--rename"):
            words += [word, next(arguments)]
        elif word.startswith(("--kwarg=", "--rename=")):
            words.append(word)
    words += ["--device", device] if device != "cpu" else []
    words += ["--level", level] if level != "faithful" else []
    return shlex.join([*words, "--case"])


def show(report: "Report", width: int, replay: str) -> None:
    """Failures in full, then one line of counts, then the verdict."""
    from lion_ports.conformance.execution import UNSUPPORTED
    from lion_ports.conformance.mutants import MUTANTS

    click.secho(
        f"{report.name} {report.version} on {report.device}, level {report.level}", bold=True
    )
    for result in report.cases:
        if result.failed:
            click.secho(f"  {result.outcome:6}{result.id:{width}}  {result.rule}", fg="red")
            click.echo(f"        {result.detail}")
            for name in result.diagnosis[:2]:
                click.echo(f"        behaves as `{name}`: {MUTANTS[name].sentence}")
            click.echo(f"        {replay} {result.id}")
    absent: dict[str, list[str]] = {}
    for result in report.cases:
        if result.outcome == UNSUPPORTED:
            absent.setdefault(result.detail, []).append(result.id)
    for what, ids in absent.items():
        more = f" and {len(ids) - 1} more" if len(ids) > 1 else ""
        click.echo(f"  not offered: {what} ({ids[0]}{more})")
    click.echo(f"  {_counts(report.cases)}; subnormal numbers are {report.subnormals}")
    if report.conforms:
        click.secho(f"  conforms at level {report.level}", fg="green")
        return
    broken = sorted({result.rule for result in report.cases if result.failed})
    click.secho(
        f"  does not conform at level {report.level}: it breaks {', '.join(broken)} of docs/spec.md"
        if broken
        else f"  does not conform at level {report.level}: no case could be judged",
        fg="red",
    )
    for name in report.diagnosis:
        click.echo(f"  behaves as `{name}`: {MUTANTS[name].sentence}")


def _counts(results: "list[Result]") -> str:
    from collections import Counter

    counts = Counter(result.outcome for result in results)
    parts = [f"{count} {outcome}" for outcome, count in counts.most_common()]
    worst = max((r.max_ulp for r in results if r.outcome == "ULP"), default=0)
    ambiguous = sum(r.ambiguous for r in results if r.outcome == "AMBIGUOUS")
    notes = [f"up to {worst} ulp"] * bool(worst)
    notes += [f"{ambiguous} signs inside the band"] * bool(ambiguous)
    return f"{len(results)} cases: {', '.join(parts)}" + (f" ({', '.join(notes)})" if notes else "")


def show_options(options: "Sequence[Option]", reports: "Mapping[str, Report]") -> bool:
    """A line for each option; whether every implementation has every one."""
    from lion_ports.conformance.options import verdict

    wide = max(len(option.name) for option in options)
    columns = {impl: max(len(impl), len("UNSUPPORTED")) for impl in reports}
    heads = "  ".join(f"{impl:{width}}" for impl, width in columns.items())
    click.secho(f"{'option':{wide}}  {'rules':14}  {heads}  cases", bold=True)
    everywhere = True
    for option in options:
        cells = {impl: verdict(option, report) for impl, report in reports.items()}
        good = all(cell == "yes" for cell in cells.values())
        everywhere = everywhere and good
        words = "  ".join(f"{cells[impl]:{width}}" for impl, width in columns.items())
        more = f" and {len(option.cases) - 1} more" if len(option.cases) > 1 else ""
        ids = option.cases[0].id + more if option.cases else ""
        rules = ", ".join(option.rules[:2]) + ("..." if len(option.rules) > 2 else "")
        click.secho(f"{option.name:{wide}}  {rules:14}  {words}  {ids}", fg=None if good else "red")
    return everywhere
