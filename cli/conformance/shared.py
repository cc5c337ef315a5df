"""What several commands need: options of the command line, and refusals."""

import sys
from pathlib import Path
from typing import Any

import click

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


def refuse_missing_folder(json_path: Path | None) -> None:
    """Exit if a file could not be written."""
    if json_path is not None and not json_path.absolute().parent.is_dir():
        refuse(f"--json {json_path}: there is no such folder; make it first")


def refuse(sentence: str) -> None:
    """Say what was wrong with the command, and exit with 2."""
    click.echo(f"lion-conformance: {sentence}", err=True)
    sys.exit(2)
