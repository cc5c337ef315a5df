"""``lion-conformance replay``."""

import sys
from typing import Any

import click

from lion_ports.cli.conformance.outputs import arguments, output_options, write_outputs
from lion_ports.cli.conformance.printing import show
from lion_ports.cli.conformance.shared import DEFAULT, installed, pairs, refuse, values


@click.command("replay")
@click.argument("stream", type=click.Path())
@click.option("--impl", "impls", multiple=True, metavar="NAME", help="As for 'run'.")
@click.option("--exec", "programs", multiple=True, metavar="COMMAND", help="As for 'run'.")
@click.option(
    "--level",
    type=click.Choice(["bitwise", "faithful", "trajectory"]),
    default="faithful",
    show_default=True,
)
@click.option("--device", default="cpu", show_default=True, help="As for 'run'.")
@click.option("--kwarg", "kwargs", multiple=True, callback=values, metavar="NAME=VALUE")
@click.option("--rename", multiple=True, callback=pairs, metavar="OURS=THEIRS")
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
    from lion_ports.conformance.adapters import TargetError, find
    from lion_ports.conformance.cases.recorded import SUFFIX, stream_case
    from lion_ports.conformance.runner import run
    from lion_ports.streams import StreamError

    if not stream.endswith(SUFFIX):
        refuse(f"{stream} is no {SUFFIX} file, as 'lion-train --record-gradients' writes them")
    impls += tuple(f"exec:{program}" for program in programs)
    reports = []
    try:
        case = stream_case(stream)
        for impl in impls:
            find(impl, kwargs, rename)
        for impl in impls or [name for name in DEFAULT if installed(name)]:
            report = run(impl, [case], level, kwargs=kwargs, rename=rename, device=device)
            reports.append(report)
            show(report, arguments())
    except (StreamError, TargetError) as error:
        refuse(str(error))
    write_outputs(reports)
    if not all(report.conforms for report in reports):
        sys.exit(1)
