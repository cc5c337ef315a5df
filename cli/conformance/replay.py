"""``lion-conformance replay``."""

import sys
from typing import Any

import click

from lion_ports.cli.conformance import shared
from lion_ports.cli.conformance.outputs import output_options, write_outputs
from lion_ports.cli.conformance.printing import show, show_together


@click.command("replay")
@click.argument("stream", type=click.Path())
@shared.impl
@shared.program
@shared.level("bitwise", "faithful", "trajectory")
@shared.device
@shared.kwarg
@shared.rename
@output_options
def command(
    stream: str,
    impls: tuple[str, ...],
    programs: tuple[str, ...],
    level: Any,
    device: str,
    kwargs: dict[str, Any],
    rename: dict[str, str],
) -> None:
    """Put the gradients of STREAM, recorded by lion-train, to one or more implementations."""
    from lion_ports.conformance.adapters import TargetError
    from lion_ports.conformance.cases.recorded import SUFFIX, stream_case
    from lion_ports.conformance.runner import run
    from lion_ports.streams import StreamError

    if not stream.endswith(SUFFIX):
        shared.refuse(
            f"{stream} is no {SUFFIX} file, as 'lion-train --record-gradients' writes them"
        )
    reports = []
    try:
        case = stream_case(stream)
        for impl in shared.targets(impls, programs, kwargs, rename):
            report = run(impl, [case], level, kwargs=kwargs, rename=rename, device=device)
            reports.append(report)
            show(report)
    except (StreamError, TargetError) as error:
        shared.refuse(str(error))
    show_together(reports)
    write_outputs(reports)
    if not all(report.conforms for report in reports):
        sys.exit(1)
