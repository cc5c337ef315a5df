"""``lion-conformance``: is this Lion the Lion of the specification?"""

import sys
from pathlib import Path
from typing import Any

import click

from lion_ports import SPEC_VERSION, __version__
from lion_ports.cli.reporting import Progress, replay, show, show_options

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
            with Progress(impl, len(cases)) as advance:
                report = run_cases(
                    impl, cases, level, kwargs=kwargs, rename=rename, device=device,
                    on_result=lambda result: advance(),
                )  # fmt: skip
            reports.append(report)
            show(report, width, replay(impl, level, device))
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
    from lion_ports.conformance.options import all_options, as_dict, offered
    from lion_ports.conformance.report import write_beside

    _refuse_missing_folder(json_path)
    impls = impls or tuple(name for name in _DEFAULT if _installed(name))
    table = all_options()
    try:
        for impl in impls:
            find(impl, {}, {})
        count = len({case.id for option in table for case in option.cases})
        with Progress("options", count * len(impls)) as advance:
            reports = offered(table, impls, level, lambda result: advance())
    except TargetError as error:
        _refuse(str(error))
    if json_path is not None:
        write_beside(json_path, as_dict(table, reports, level))
    if not show_options(table, reports):
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
