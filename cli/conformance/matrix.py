"""``lion-conformance matrix``."""

import sys
from pathlib import Path
from typing import Any

import click

from lion_ports.cli.conformance import shared
from lion_ports.cli.conformance.outputs import output_options, write_outputs
from lion_ports.cli.conformance.printing import Progress, say
from lion_ports.cli.conformance.summary import show_together


@click.command("matrix")
@shared.cases
@shared.fast
@click.option(
    "--package",
    "packages",
    multiple=True,
    metavar="NAME",
    help="Only implementations of this package; 'lion-ports' is ours.",
)
@shared.level("bitwise", "faithful")
@shared.jobs
@click.option(
    "--page",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the numbers of docs/divergences.md anew.",
)
@output_options
def command(
    patterns: tuple[str, ...],
    fast: bool,
    packages: tuple[str, ...],
    level: Any,
    jobs: int | None,
    page: Path | None,
) -> None:
    """All implementations found here, ours and others', against all cases.

    Exit status 1: one of lion_ports' own does not conform. Others' divergences are no failure of
    this command; docs/divergences.md has those that we have seen.
    """
    from lion_ports.conformance.adapters import BUILT_IN
    from lion_ports.conformance.matrix import entries
    from lion_ports.conformance.peers import PEERS
    from lion_ports.conformance.reports import divergences
    from lion_ports.conformance.reports.files import write
    from lion_ports.conformance.reports.words import counts, replay
    from lion_ports.conformance.runner import cores

    cases = shared.chosen(patterns, fast=fast)
    known = {"lion-ports", *(peer.package for peer in PEERS)}
    if unknown := [name for name in packages if name not in known]:
        raise click.BadParameter(
            f"{', '.join(unknown)}: known are {', '.join(sorted(known))}", param_hint="--package"
        )
    ours = tuple(BUILT_IN) if not packages or "lion-ports" in packages else ()
    peers = [peer for peer in PEERS if not packages or peer.package in packages]
    if page is not None and (patterns or fast or level != "faithful" or len(peers) < len(PEERS)):
        shared.refuse("--page is of all cases and packages, at level faithful")
    reports, others, broken = [], [], False
    with Progress("matrix", len(cases) * (len(ours) + len(peers))) as advance:
        for peer, report, absent in entries(
            cases, level, ours=ours, peers=peers, jobs=jobs or cores(),
            on_result=lambda result: advance(),
        ):  # fmt: skip
            if report is None:
                say(f"{'not run':12}{peer.impl}: {absent}")
                continue
            reports.append(report)
            others += [report] * (peer in peers)
            broken = broken or (peer.package == "lion-ports" and not report.conforms)
            found = ", ".join(f"{count} {name}" for name, count in counts(report.cases).items())
            verdict, colour = ("conforms", "green") if report.conforms else ("does not", "yellow")
            say(f"{verdict:12}{report.name} {report.version}: {found}", fg=colour)
            for name in report.diagnosis:
                say(f"{'':12}behaves as `{name}`")
            if failed := [result for result in report.cases if result.failed]:
                say(f"{'':12}{replay(report, failed[0].id)}", fg="cyan")
    show_together(reports)
    write_outputs(reports)
    if page is not None and others:
        write({page: divergences.update(page.read_text("utf-8"), others)})
    if broken or not reports:
        sys.exit(1)
