"""``lion-conformance``: is this Lion the Lion of the specification?"""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lion_ports import SPEC_VERSION, __version__

if TYPE_CHECKING:
    from lion_ports.conformance.execution import Result
    from lion_ports.conformance.runner import Report

# NumPy and the suite are imported inside the commands, so that --help answers at once.

_DEFAULT = ("numpy", "torch", "jax", "mlx")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(f"{__version__}, specification {SPEC_VERSION}", prog_name="lion-conformance")
def main() -> None:
    """Is this Lion the Lion of the specification, and if not, what is it instead?

    Exit status: 0 it conforms; 1 it does not; 2 the command was wrong, or what it names is missing.
    """


@main.command("list")
def list_() -> None:
    """Levels, implementations found here, and cases."""
    from lion_ports.conformance.adapters import BUILT_IN
    from lion_ports.conformance.cases import CASES

    click.echo("Levels")
    click.echo("  bitwise   parameters and momentum equal the reference bit for bit")
    click.echo("  faithful  every step is within the proved bound of docs/conformance.md (default)")
    click.echo("\nImplementations (--impl)")
    for name, (_, _, _, description) in BUILT_IN.items():
        click.echo(f"  {name:15}{description}{'' if _installed(name) else ' (not installed)'}")
    click.echo(
        "  torch:MODULE:CLASS, optax:MODULE:FUNCTION, mlx:MODULE:CLASS, python:MODULE:FUNCTION"
    )
    click.echo(f"\nCases ({len(CASES)})")
    for case in CASES.values():
        click.echo(f"  {case.id:36}{case.rule}  {case.reason}")


def _pairs(context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> Any:
    """NAME=VALUE options as a dict."""
    pairs = {}
    for text in values:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise click.BadParameter(f"{text!r} is not NAME=VALUE", context, option)
        pairs[name] = value
    return pairs


def _values(context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> Any:
    """NAME=VALUE options with Python literals; anything else stays text."""
    import ast

    words = {"true": True, "false": False, "none": None}
    result: dict[str, Any] = {}
    for name, text in _pairs(context, option, values).items():
        try:
            result[name] = words[text.lower()] if text.lower() in words else ast.literal_eval(text)
        except (ValueError, SyntaxError):
            result[name] = text
    return result


@main.command()
@click.option(
    "--impl",
    "impls",
    multiple=True,
    metavar="NAME",
    help="What to test; see 'list'. Default: every backend of lion_ports that is installed.",
)
@click.option(
    "--case",
    "patterns",
    multiple=True,
    metavar="PATTERN",
    help="Only cases whose id matches, as in 'sign-*'.",
)
@click.option(
    "--level",
    type=click.Choice(["bitwise", "faithful"]),
    default="faithful",
    show_default=True,
    help="What is asked for.",
)
@click.option(
    "--device",
    default="cpu",
    show_default=True,
    help="cpu, or a device of the framework: cuda, mps, gpu, tpu.",
)
@click.option(
    "--kwarg",
    "kwargs",
    multiple=True,
    callback=_values,
    metavar="NAME=VALUE",
    help="An argument to construct with, where the case does not set it.",
)
@click.option(
    "--rename",
    multiple=True,
    callback=_pairs,
    metavar="OURS=THEIRS",
    help="An argument that the implementation calls otherwise, as lr=learning_rate.",
)
@click.option(
    "--json",
    "json_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the report as JSON.",
)
def run(
    impls: tuple[str, ...],
    patterns: tuple[str, ...],
    level: Any,
    device: str,
    kwargs: dict[str, Any],
    rename: dict[str, str],
    json_path: Path | None,
) -> None:
    """Run the cases on one or more implementations, each in a process of its own."""
    from lion_ports.conformance.adapters import TargetError, find
    from lion_ports.conformance.cases import select
    from lion_ports.conformance.report import as_dict, write_beside
    from lion_ports.conformance.runner import run as run_cases

    cases = select(patterns)
    if idle := [pattern for pattern in patterns if not select((pattern,))]:
        _refuse(f"no case matches {', '.join(idle)}; 'lion-conformance list' shows the cases")
    _refuse_missing_folder(json_path)
    reports = []
    try:
        for impl in impls:
            find(impl, kwargs, rename)
        for impl in impls or [name for name in _DEFAULT if _installed(name)]:
            width = max(len(case.id) for case in cases)
            with _Progress(impl, len(cases)) as advance:
                report = run_cases(
                    impl, cases, level, kwargs=kwargs, rename=rename, device=device,
                    on_result=lambda result: advance(),
                )  # fmt: skip
            reports.append(report)
            _show(report, width, _replay(impl, level, device))
    except TargetError as error:
        _refuse(str(error))
    if json_path is not None:
        write_beside(json_path, as_dict(reports))
    if not all(report.conforms for report in reports):
        sys.exit(1)


@main.command()
@click.option("--impl", "impls", multiple=True, help="Default: the four of lion_ports.")
@click.option(
    "--level", type=click.Choice(["bitwise", "faithful"]), default="bitwise", show_default=True
)
@click.option(
    "--json",
    "json_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the table as JSON.",
)
def options(impls: tuple[str, ...], level: Any, json_path: Path | None) -> None:
    """Which options each implementation offers, by running the cases of each.

    Exit status 1: some option is missing or wrong somewhere.
    """
    from lion_ports.conformance.adapters import TargetError, find
    from lion_ports.conformance.options import all_options, as_dict, offered, verdict
    from lion_ports.conformance.report import write_beside

    _refuse_missing_folder(json_path)
    impls = impls or tuple(name for name in _DEFAULT if _installed(name))
    table = all_options()
    try:
        for impl in impls:
            find(impl, {}, {})
        count = len({case.id for option in table for case in option.cases})
        with _Progress("options", count * len(impls)) as advance:
            reports = offered(table, impls, level, lambda result: advance())
    except TargetError as error:
        _refuse(str(error))
    if json_path is not None:
        write_beside(json_path, as_dict(table, reports, level))
    wide = max(len(option.name) for option in table)
    columns = {impl: max(len(impl), len("UNSUPPORTED")) for impl in impls}
    heads = "  ".join(f"{impl:{width}}" for impl, width in columns.items())
    click.secho(f"{'option':{wide}}  {'rules':12}  {heads}  cases", bold=True)
    everywhere = True
    for option in table:
        cells = {impl: verdict(option, report) for impl, report in reports.items()}
        good = all(cell == "yes" for cell in cells.values())
        everywhere = everywhere and good
        words = "  ".join(f"{cells[impl]:{width}}" for impl, width in columns.items())
        more = f" and {len(option.cases) - 1} more" if len(option.cases) > 1 else ""
        ids = option.cases[0].id + more if option.cases else ""
        rules = ", ".join(option.rules[:2]) + ("..." if len(option.rules) > 2 else "")
        click.secho(f"{option.name:{wide}}  {rules:12}  {words}  {ids}", fg=None if good else "red")
    if not everywhere:
        sys.exit(1)


def _installed(name: str) -> bool:
    import importlib.util

    package = name.partition("+")[0]
    needed = {"numpy": ["numpy"], "jax": ["jax", "optax"]}.get(package, [package])
    return all(importlib.util.find_spec(module) is not None for module in needed)


def _refuse_missing_folder(json_path: Path | None) -> None:
    if json_path is not None and not json_path.absolute().parent.is_dir():
        _refuse(f"--json {json_path}: there is no such folder; make it first")


def _refuse(sentence: str) -> None:
    click.echo(f"lion-conformance: {sentence}", err=True)
    sys.exit(2)


class _Progress:
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


def _replay(impl: str, level: str, device: str) -> str:
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


def _show(report: "Report", width: int, replay: str) -> None:
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
