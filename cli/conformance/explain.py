"""``lion-conformance explain``."""

import difflib
import textwrap

import click

from lion_ports.cli.conformance.printing import say
from lion_ports.cli.conformance.shared import refuse


@click.command("explain")
@click.argument("case_id", metavar="CASE-ID")
def command(case_id: str) -> None:
    """What a case looks at: its rule, its stream, and the wrong Lions that it catches."""
    from lion_ports.conformance.cases import CASES
    from lion_ports.conformance.mutants import MUTANTS
    from lion_ports.conformance.reports.rules import rules
    from lion_ports.conformance.reports.stream import describe

    if case_id not in CASES:
        near = difflib.get_close_matches(case_id, CASES, n=2)
        hint = f"did you mean {' or '.join(near)}?" if near else "see 'lion-conformance list'"
        refuse(f"no case is called {case_id!r}; {hint}")
    case = CASES[case_id]
    rule = rules()[case.rule]
    say(case.id, bold=True)
    _paragraph(case.reason)
    say(f"\nRule {rule.number}: {rule.title}", bold=True)
    say(textwrap.indent(rule.text, "  "))
    say()
    _paragraph(f"Reason: {rule.reason}")
    _paragraph(f"Source: {rule.source}")
    say("\nStream", bold=True)
    for line in describe(case.build()):
        _paragraph(line)
    say("\nCatches", bold=True)
    for name in case.catches:
        _paragraph(f"{name}: {MUTANTS[name].sentence}")
    if not case.catches:
        _paragraph("no wrong Lion is promised to fail here; it is a case beside others")
    say("\nRun it", bold=True)
    say(f"  lion-conformance run --case {case.id} --impl NAME", fg="cyan")


def _paragraph(text: str) -> None:
    say(
        textwrap.fill(
            text, 100, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False
        )
    )
