"""``lion-conformance run``."""

import sys
from pathlib import Path
from typing import Any

import click

from lion_ports.cli.conformance import shared
from lion_ports.cli.conformance.outputs import output_options, write_outputs
from lion_ports.cli.conformance.printing import Progress
from lion_ports.cli.conformance.summary import amount_options, show, show_together


@click.command("run")
@shared.impl
@shared.program
@shared.cases
@shared.fast
@shared.level("bitwise", "faithful", "trajectory")
@shared.device
@shared.kwarg
@shared.rename
@click.option(
    "--expect",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="TOML: cases to skip, and cases that are expected to fail.",
)
@shared.jobs
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    default=300.0,
    show_default=True,
    help="Longest time for one case, and for a program to shake hands.",
)
@amount_options
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
    amount: str | None,
) -> None:
    """Run the cases on one or more implementations, each in processes of its own."""
    from lion_ports.conformance.adapters import TargetError
    from lion_ports.conformance.expectations import ExpectationError, load
    from lion_ports.conformance.runner import cores, run

    cases = shared.chosen(patterns, fast=fast)
    reports = []
    try:
        expectations = load(expect) if expect is not None else {}
        for impl in shared.targets(impls, programs, kwargs, rename):
            with Progress(impl, len(cases)) as advance:
                report = run(
                    impl, cases, level, kwargs=kwargs, rename=rename, device=device,
                    on_result=lambda result: advance(), case_seconds=timeout,
                    jobs=jobs or (cores() if device == "cpu" else 1),
                    expect=expectations.get(impl),
                )  # fmt: skip
            if expect is not None:
                report.arguments += ("--expect", str(expect))
            reports.append(report)
            show(report, amount)
    except (TargetError, ExpectationError) as error:
        shared.refuse(str(error))
    show_together(reports, amount)
    write_outputs(reports)
    if not all(report.conforms for report in reports):
        sys.exit(1)
