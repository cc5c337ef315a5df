"""What several commands need: options of the command line, and refusals."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from lion_ports.conformance.trial import Case

# NumPy and the suite are imported inside the commands, so that --help answers at once.

DEFAULT = ("numpy", "torch", "jax", "mlx")
"""The backends of lion_ports."""


def _renames(context: click.Context, option: click.Parameter, texts: tuple[str, ...]) -> Any:
    from lion_ports.conformance.arguments import renames

    return _read(renames, context, option, texts)


def _kwargs(context: click.Context, option: click.Parameter, texts: tuple[str, ...]) -> Any:
    from lion_ports.conformance.arguments import kwargs

    return _read(kwargs, context, option, texts)


def _read(reader: Callable[[Any], Any], context: Any, option: Any, texts: Any) -> Any:
    from lion_ports.errors import LionError

    try:
        return reader(texts)
    except LionError as error:
        raise click.BadParameter(str(error), context, option) from None


cases = click.option(
    "--case",
    "patterns",
    multiple=True,
    metavar="PATTERN",
    help="Only cases whose id matches, as in 'sign-*'.",
)
fast = click.option(
    "--fast",
    is_flag=True,
    help="Only the few short cases that every known wrong Lion fails one of.",
)
impl = click.option(
    "--impl",
    "impls",
    multiple=True,
    metavar="NAME",
    help="What to test; see 'list'. Default: every backend of lion_ports that is installed.",
)
program = click.option(
    "--exec",
    "programs",
    multiple=True,
    metavar="COMMAND",
    help="A program in any language; see docs/conformance-exec.md.",
)
device = click.option(
    "--device",
    default="cpu",
    show_default=True,
    metavar="NAME",
    help="cpu, or a device of the framework: cuda, mps, gpu, tpu.",
)
kwarg = click.option(
    "--kwarg",
    "kwargs",
    multiple=True,
    callback=_kwargs,
    metavar="NAME=VALUE",
    help="An argument to construct with, where the case does not set it.",
)
rename = click.option(
    "--rename",
    multiple=True,
    callback=_renames,
    metavar="OURS=THEIRS",
    help="An argument that the implementation calls otherwise, as lr=learning_rate.",
)
jobs = click.option(
    "--jobs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Processes at the same time. Default: one for each core, one on a device.",
)


def level(*levels: str, default: str = "faithful") -> Callable[[Any], Any]:
    """``--level``, of these."""
    return click.option(
        "--level",
        type=click.Choice(levels),
        default=default,
        show_default=True,
        help="What is asked for.",
    )


def installed(name: str) -> bool:
    """Whether the packages that a built-in implementation needs are there."""
    import importlib.util

    package = name.partition("+")[0]
    needed = {"numpy": ["numpy"], "jax": ["jax", "optax"]}.get(package, [package])
    return all(importlib.util.find_spec(module) is not None for module in needed)


def targets(
    impls: tuple[str, ...],
    programs: tuple[str, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    rename: Mapping[str, str] | None = None,
) -> tuple[str, ...]:
    """What ``--impl`` and ``--exec`` name; our own backends where they name nothing.

    Exits where one of them is no name at all.
    """
    from lion_ports.conformance.adapters import TargetError, find

    named = (*impls, *(f"exec:{program}" for program in programs))
    try:
        for name in named:
            find(name, kwargs or {}, rename or {})
    except TargetError as error:
        refuse(str(error))
    return named or tuple(name for name in DEFAULT if installed(name))


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


def refuse(sentence: str) -> NoReturn:
    """Say what was wrong with the command, and exit with 2."""
    click.echo(f"lion-conformance: {sentence}", err=True)
    sys.exit(2)
