"""``lion-bench step``."""

from collections.abc import Sequence
from typing import Any

import click

from lion_ports.cli.bench import catalog
from lion_ports.cli.bench.running import DTYPES, Settings, collect, common_options, finish, settings
from lion_ports.cli.bench.variants import variants


def contender_options(command: Any) -> Any:
    """Who takes part, and in which dtype."""
    for option in (
        click.option("--peer", "more", multiple=True, metavar="SPEC",
                     help="Another optimizer: torch:MODULE:CLASS, optax:MODULE:FUNCTION or "
                          "mlx:MODULE:CLASS."),
        click.option("--only", multiple=True, metavar="PATTERN",
                     help="Only those whose name matches, as in 'lion-*'; --peer's are always in."),
        click.option("--with", "with_", multiple=True, metavar="NAME=VALUE,...",
                     help="Ours once more with these settings, as in clipnorm=1.0 or "
                          "momentum_dtype=int8; may be repeated."),
        click.option("--peers/--no-peers", default=True, help="Other people's optimizers [yes]."),
        click.option("--dtype", type=click.Choice(DTYPES), default="float32", show_default=True,
                     help="Of parameters, gradients and state."),
    ):  # fmt: skip
        command = option(command)
    return command


@click.command("step")
@click.option(
    "--shapes",
    default="transformer",
    show_default=True,
    metavar="NAME|COUNTxSIZE",
    help="transformer, one-large, many-small, norms, or as in 100x5000 and 8x512x512.",
)
@contender_options
@common_options(rounds=15, seconds=0.05)
def command(
    shapes: str,
    only: tuple[str, ...],
    peers: bool,
    more: tuple[str, ...],
    with_: tuple[str, ...],
    **given: Any,
) -> int:
    """One step of every optimizer found here, on the same shapes.

    The default shapes are 33.6 M parameters in 49 tensors: 8 blocks of width 512 and an embedding.
    """
    from lion_ports.cli.bench.figures import complete
    from lion_ports.cli.bench.shapes import parse

    tensors = parse(shapes)
    chosen = settings("step", given)
    contenders = catalog.chosen(chosen.backends, only=only, peers=peers, more=more)
    contenders += variants(contenders, with_)
    refuse_too_large(contenders, [tensors], chosen)
    case = {"name": shapes, "shapes": tensors}
    document = collect(
        "step",
        chosen,
        contenders,
        lambda backend: {"measure": "measure", "memory": True, "cases": [case]},
    )
    for result in document["backends"]:
        complete(result)
    return finish(document, chosen)


def refuse_too_large(
    contenders: Sequence[catalog.Contender],
    cases: Sequence[Sequence[tuple[int, ...]]],
    chosen: Settings,
) -> None:
    """Raise ConfigError rather than swap: each contender has tensors of its own."""
    from lion_ports.cli.bench.machine import free_memory
    from lion_ports.cli.bench.printed import counted
    from lion_ports.cli.bench.shapes import size
    from lion_ports.errors import ConfigError

    if chosen.device != "cpu":
        return
    element = {"float64": 8, "float32": 4}.get(chosen.dtype, 2)
    most = max(sum(c.backend == b and c.installed() for c in contenders) for b in chosen.backends)
    # Parameters, gradients, up to two moments, and temporaries of one of them.
    needed = max(map(size, cases)) * element * (4 * most + 4)
    if needed > free_memory():
        verb = "needs" if most == 1 else "need"
        raise ConfigError(
            f"{counted(most, 'optimizer')} on {counted(max(map(size, cases)), 'parameter')} {verb} "
            f"about {needed / 1e9:,.0f} GB, and {free_memory() / 1e9:,.0f} GB are free; take "
            "smaller shapes, or fewer of them with --only"
        )
