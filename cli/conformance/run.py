"""``lion-conformance run``."""

import sys
from pathlib import Path
from typing import Any

import click

from lion_ports.cli.conformance.outputs import arguments, output_options, write_outputs
from lion_ports.cli.conformance.printing import Progress, show
from lion_ports.cli.conformance.shared import (
    DEFAULT,
    chosen,
    installed,
    pairs,
    refuse,
    values,
)


@click.command("run")
@click.option(
    "--impl",
    "impls",
    multiple=True,
    metavar="NAME",
    help="What to test; see 'list'. Default: every backend of lion_ports that is installed.",
)
@click.option(
    "--exec",
    "programs",
    multiple=True,
    metavar="COMMAND",
    help="A program in any language; see docs/conformance-exec.md.",
)
@click.option(
    "--case",
    "patterns",
    multiple=True,
    metavar="PATTERN",
    help="Only cases whose id matches, as in 'sign-*'.",
)
@click.option(
    "--fast",
    is_flag=True,
    help="Only the few short cases that every known wrong Lion fails one of.",
)
@click.option(
    "--level",
    type=click.Choice(["bitwise", "faithful", "trajectory"]),
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
    callback=values,
    metavar="NAME=VALUE",
    help="An argument to construct with, where the case does not set it.",
)
@click.option(
    "--rename",
    multiple=True,
    callback=pairs,
    metavar="OURS=THEIRS",
    help="An argument that the implementation calls otherwise, as lr=learning_rate.",
)
@click.option(
    "--expect",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="TOML: cases to skip, and cases that are expected to fail.",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    help="Processes at the same time. Default: one for each core, one on a device.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    default=300.0,
    show_default=True,
    help="Longest time for one case.",
)
@output_options
def command(
    impls: tuple[str, ...],
    programs: tuple[str, ...],
    patterns: tuple[str, ...],
    fast: bool,
    level: Any,
    device: str,
    kwargs: dict[str, Any],
    rename: dict[str, str],
    expect: Path | None,
    jobs: int | None,
    timeout: float,
) -> None:
    """Run the cases on one or more implementations, each in processes of its own."""
    from lion_ports.conformance.adapters import TargetError, find
    from lion_ports.conformance.expectations import ExpectationError, load
    from lion_ports.conformance.runner import cores
    from lion_ports.conformance.runner import run as run_cases

    cases = chosen(patterns, fast=fast)
    impls += tuple(f"exec:{command}" for command in programs)
    reports = []
    try:
        expectations = load(expect) if expect is not None else {}
        for impl in impls:
            find(impl, kwargs, rename)
        for impl in impls or [name for name in DEFAULT if installed(name)]:
            with Progress(impl, len(cases)) as advance:
                report = run_cases(
                    impl, cases, level, kwargs=kwargs, rename=rename, device=device,
                    on_result=lambda result: advance(), case_seconds=timeout,
                    jobs=jobs or (cores() if device == "cpu" else 1),
                    expect=expectations.get(impl),
                )  # fmt: skip
            reports.append(report)
            show(report, arguments())
    except (TargetError, ExpectationError) as error:
        refuse(str(error))
    except KeyboardInterrupt:
        click.echo("lion-conformance: interrupted; all processes are ended", err=True)
        sys.exit(130)
    write_outputs(reports)
    if not all(report.conforms for report in reports):
        sys.exit(1)
