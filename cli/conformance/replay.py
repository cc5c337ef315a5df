"""``lion-conformance replay``."""

import sys
from typing import Any

import click

from lion_ports.cli.conformance import shared
from lion_ports.cli.conformance.outputs import output_options, write_outputs
from lion_ports.cli.conformance.summary import amount_options, show, show_together


@click.command("replay")
@click.argument("stream", type=click.Path())
@shared.impl
@shared.program
@shared.level("bitwise", "faithful", "trajectory")
@shared.device
@shared.kwarg
@shared.rename
@amount_options
@output_options
def command(
    stream: str,
    impls: tuple[str, ...],
    programs: tuple[str, ...],
    level: Any,
    device: str,
    kwargs: dict[str, Any],
    rename: dict[str, str],
    amount: str | None,
) -> None:
    """Put the gradients of STREAM, of a run of yours, to one or more implementations.

    docs/conformance-replay.md says how to record them in any training loop.
    """
    from lion_ports.conformance.adapters import TargetError
    from lion_ports.conformance.cases.recorded import SUFFIX, stream_case
    from lion_ports.conformance.runner import run
    from lion_ports.streams import StreamError

    if not stream.endswith(SUFFIX):
        shared.refuse(
            f"{stream} is no {SUFFIX} file; 'lion-train --record-gradients' writes such files, and "
            "so can your own training (docs/conformance-replay.md)"
        )
    reports = []
    try:
        case = stream_case(stream)
        for impl in shared.targets(impls, programs, kwargs, rename):
            report = run(impl, [case], level, kwargs=kwargs, rename=rename, device=device)
            reports.append(report)
            show(report, amount)
    except (StreamError, TargetError) as error:
        shared.refuse(str(error))
    show_together(reports, amount)
    write_outputs(reports)
    if not all(report.conforms for report in reports):
        sys.exit(1)
