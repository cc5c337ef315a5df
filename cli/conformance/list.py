"""``lion-conformance list``."""

import click

from lion_ports.cli.conformance.shared import installed


@click.command("list")
def command() -> None:
    """Levels, implementations found here, and cases."""
    from lion_ports.conformance.adapters import BUILT_IN
    from lion_ports.conformance.cases import CASES

    click.echo("Levels")
    click.echo("  bitwise     parameters and momentum equal the reference bit for bit")
    click.echo(
        "  faithful    every step is within the proved bound of docs/conformance.md (default)"
    )
    click.echo("  trajectory  for states that are lossy on purpose: directions and losses agree")
    click.echo("\nImplementations (--impl)")
    for name, (_, _, _, description) in BUILT_IN.items():
        click.echo(f"  {name:15}{description}{'' if installed(name) else ' (not installed)'}")
    click.echo(
        "  torch:MODULE:CLASS, optax:MODULE:FUNCTION, mlx:MODULE:CLASS, keras:MODULE:CLASS,\n"
        "  python:MODULE:FUNCTION; and --exec COMMAND for a program in any language"
    )
    click.echo(f"\nCases ({len(CASES)})")
    for case in CASES.values():
        click.echo(f"  {case.id:36}{case.rule}  {case.reason}")
