"""``lion-bench train``."""

from shlex import quote
from typing import Any

import click

from lion_ports.cli.bench.catalog import loops
from lion_ports.cli.bench.running import collect, common_options, finish, settings


@click.command("train")
@click.option(
    "--preset", default="tiny", show_default=True, metavar="NAME", help="Model of lion-train."
)
@common_options(rounds=7, seconds=1.0)
def command(preset: str, **given: Any) -> int:
    """The trainer's tokens a second against a hand-written loop's.

    The loops have the trainer's model, its initial weights and its batches, and are written as in
    the examples of the framework. Also: the share that the optimizer has in a training step.
    """
    from lion_ports.cli.bench.training import complete
    from lion_ports.errors import ConfigError
    from lion_ports.trainers.presets import PRESETS

    if preset not in PRESETS:
        raise ConfigError(f"--preset {quote(preset)}: not one of {', '.join(PRESETS)}")
    chosen = settings("train", given)
    document = collect(
        "train",
        chosen,
        [loop for backend in chosen.backends for loop in loops(backend)],
        lambda backend: {"measure": "training", "preset": preset},
    )
    for result in document["backends"]:
        complete(result)
    return finish(document, chosen)
