"""What several commands need: options of the command line, and refusals."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from lion_ports.conformance.trial import Case

# NumPy and the suite are imported inside the commands, so that --help answers at once.

DEFAULT = ("numpy", "torch", "jax", "mlx")
"""The backends of lion_ports."""


def pairs(context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> Any:
    """NAME=VALUE options as a dict."""
    pairs = {}
    for text in values:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise click.BadParameter(f"{text!r} is not NAME=VALUE", context, option)
        pairs[name] = value
    return pairs


def values(context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> Any:
    """NAME=VALUE options with Python literals; anything else stays text."""
    import ast

    words = {"true": True, "false": False, "none": None}
    result: dict[str, Any] = {}
    for name, text in pairs(context, option, values).items():
        try:
            result[name] = words[text.lower()] if text.lower() in words else ast.literal_eval(text)
        except (ValueError, SyntaxError):
            result[name] = text
    return result


def installed(name: str) -> bool:
    """Whether the packages that a built-in implementation needs are there."""
    import importlib.util

    package = name.partition("+")[0]
    needed = {"numpy": ["numpy"], "jax": ["jax", "optax"]}.get(package, [package])
    return all(importlib.util.find_spec(module) is not None for module in needed)


def chosen(patterns: tuple[str, ...], *, fast: bool = False) -> "list[Case]":
    """The cases that match one of the patterns, all without one; exit where one matches none."""
    from lion_ports.conformance.cases import select
    from lion_ports.conformance.fast import fast_cases

    if idle := [pattern for pattern in patterns if not select((pattern,))]:
        refuse(f"no case matches {', '.join(idle)}; 'lion-conformance list' shows the cases")
    cases = select(patterns)
    if fast:
        few = {case.id for case in fast_cases()}
        cases = [case for case in cases if case.id in few]
        if not cases:
            refuse("no case of --fast matches the --case given; leave one of the two out")
    return cases


def refuse_missing_folder(json_path: Path | None) -> None:
    """Exit if a file could not be written."""
    if json_path is not None and not json_path.absolute().parent.is_dir():
        refuse(f"--json {json_path}: there is no such folder; make it first")


def refuse(sentence: str) -> None:
    """Say what was wrong with the command, and exit with 2."""
    click.echo(f"lion-conformance: {sentence}", err=True)
    sys.exit(2)
