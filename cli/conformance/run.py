"""``lion-conformance run``."""

import sys
from pathlib import Path
from typing import Any

import click

from lion_ports.cli.conformance.printing import Progress, replay, show
from lion_ports.cli.conformance.shared import (
    DEFAULT,
    installed,
    pairs,
    refuse,
    refuse_missing_folder,
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
    "--json",
    "json_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the report as JSON.",
)
def command(
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
        refuse(f"no case matches {', '.join(idle)}; 'lion-conformance list' shows the cases")
    refuse_missing_folder(json_path)
    reports = []
    try:
        for impl in impls:
            find(impl, kwargs, rename)
        for impl in impls or [name for name in DEFAULT if installed(name)]:
            width = max(len(case.id) for case in cases)
            with Progress(impl, len(cases)) as advance:
                report = run_cases(
                    impl, cases, level, kwargs=kwargs, rename=rename, device=device,
                    on_result=lambda result: advance(),
                )  # fmt: skip
            reports.append(report)
            show(report, width, replay(impl, level, device))
    except TargetError as error:
        refuse(str(error))
    if json_path is not None:
        write_beside(json_path, as_dict(reports))
    if not all(report.conforms for report in reports):
        sys.exit(1)
