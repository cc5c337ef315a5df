"""``lion-train``: options and commands. All work is done in ``lion_ports.trainers``.

Nothing heavier than click is imported before a command is known to need it.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lion_ports.cli.shared import run_and_exit

if TYPE_CHECKING:
    from lion_ports.trainers.settings import Resolved

Command = TypeVar("Command", bound=Callable[..., Any])

EPILOG = (
    "Exit codes: 0 done; 1 a loss above --max-loss; 2 usage; 3 backend missing; 4 a gradient or "
    "logits that are not finite; 5 data or a checkpoint that cannot be used; 130 and 143 stopped "
    "by Ctrl-C or SIGTERM, and saved."
)


def main(arguments: list[str] | None = None) -> None:
    """Run ``lion-train`` and exit."""
    run_and_exit(cli, "lion-train", arguments)


def _setting(flag: str, metavar: str, text: str, **more: Any) -> Callable[[Command], Command]:
    """An option that is a setting: its text is parsed and checked with all the others."""
    return click.option(flag, metavar=metavar, help=text, **more)


@click.group(
    invoke_without_command=True,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@_setting("--backend", "auto|mlx|torch|jax", "Framework [auto: the best that is installed].")
@_setting("--device", "auto|cpu|gpu|mps|tpu", "Where it computes.")
@_setting("--dtype", "float32|bfloat16", "Of parameters and momentum.")
@_setting("--preset", "tiny|small|medium|gpt2", "Model size and settings that suit it [tiny].")
@_setting("--data", "stdlib|PATH", "Python's own sources, a text file or a folder [stdlib].")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run [runs/<date>-...].")
@_setting("--seed", "N", "Of weights, batches and samples [0].")
@_setting("--steps", "N", "Updates.")
@_setting("--batch-size", "N", "Windows a step.")
@_setting("--sequence", "N", "Bytes a window.")
@_setting("--optimizer", "lion|signum|adamw", "Signum is Lion with equal betas [lion].")
@_setting("--lr", "X", "Peak learning rate.")
@_setting("--betas", "B1 B2", "Lion: sign and momentum.", nargs=2)
@_setting("--weight-decay", "X", "Decoupled, matrices only.")
@_setting("--momentum-dtype", "float32|bfloat16|int8", "Of Lion's momentum [as --dtype].")
@_setting("--correction-bits", "8|16", "Bits of a float32 kept beside a bfloat16 weight.")
@_setting("--schedule", "cosine|linear|constant", "After the warm-up [cosine].")
@_setting("--warmup", "N", "Updates before the peak.")
@_setting("--clip", "X", "Largest gradient norm; 0: none [1].")
@_setting("--nonfinite", "stop|skip", "On NaN or infinity in a gradient [stop].")
@_setting("--eval-every", "N", "Updates between evaluations [50].")
@_setting("--save-every", "N", "Updates between checkpoints [100].")
@_setting("--record-gradients", "N", "Write the gradients of the first N updates to a file [0].")
@click.option("--compile/--no-compile", default=None, help="Let the framework compile [yes].")
@click.option("--config", type=click.Path(path_type=Path), help="TOML file of settings.")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Any setting by its name.")
@click.option("--dry-run", is_flag=True, help="Check everything, take three steps, write nothing.")
@click.option("--quiet", is_flag=True, help="Print warnings and errors only.")
@click.version_option(package_name="lion-ports", prog_name="lion-train")
@click.pass_context
def cli(context: click.Context, /, **options: Any) -> int:
    """Train a small transformer with Lion on MLX, PyTorch or JAX.

    Without a command: train. Settings come from, in rising order: defaults, the preset, --config,
    LION_TRAIN_<SETTING> variables, --set and the flags; `lion-train config show` lists them all.
    """
    context.obj = options
    if context.invoked_subcommand not in (None, "config"):
        _refuse_options(context)
    if context.invoked_subcommand is not None:
        return 0
    config = _resolve(options).config
    from lion_ports.trainers import session

    if options["dry_run"]:
        from lion_ports.trainers.dryrun import dry_run

        return dry_run(config, options["out"])
    return session.train(config, options["out"], quiet=options["quiet"])


def _refuse_options(context: click.Context) -> None:
    """An option before a command would be dropped without a word."""
    given = [name for name, value in context.params.items() if value not in (None, False, ())]
    if given:
        flag = "--set" if given[0] == "sets" else "--" + given[0].replace("_", "-")
        raise click.UsageError(
            f"{flag} is for training; the options of {context.invoked_subcommand!r} come after it"
        )


def _resolve(options: dict[str, Any]) -> "Resolved":
    from lion_ports.trainers.settings import resolve

    apart = ("out", "config", "sets", "dry_run", "quiet")
    flags = {name: value for name, value in options.items() if name not in apart}
    return resolve(flags, options["sets"], options["config"], os.environ)


_run = click.argument("run", type=click.Path(path_type=Path))
_backend = _setting("--backend", "mlx|torch|jax", "Another framework than the run's.")


def _check_backend(name: str | None) -> None:
    from lion_ports.trainers.engine import BACKENDS

    if name is not None and name not in BACKENDS:
        raise click.UsageError(f"--backend {name}: not one of {', '.join(BACKENDS)}")


@cli.command()
@_run
@_backend
@_setting("--device", "auto|cpu|gpu|mps|tpu", "Another device than the run's.")
@click.option("--steps", type=int, metavar="N", help="Another length than the run's.")
@click.option("--quiet", is_flag=True, help="Print warnings and errors only.")
def resume(
    run: Path, backend: str | None, device: str | None, steps: int | None, quiet: bool
) -> int:
    """Go on with RUN: the same backend bitwise, another from the same weights and momentum."""
    _check_backend(backend)
    from lion_ports.trainers import session

    return session.resume(run, backend=backend, device=device, steps=steps, quiet=quiet)


@cli.command()
@_run
@click.option("--prompt", help="What the text begins with [the run's].")
@click.option("--bytes", "count", type=click.IntRange(1), default=400, show_default=True)
@_setting("--temperature", "X", "0: the likeliest byte [the run's].")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True)
@_backend
def sample(
    run: Path,
    prompt: str | None,
    count: int,
    temperature: str | None,
    seed: int,
    backend: str | None,
) -> None:
    """Print text from the newest checkpoint of RUN (or from one checkpoint folder)."""
    _check_backend(backend)
    from lion_ports.trainers import runs, sampling, saved, session

    found = runs.checkpoint_of(run)
    config = session.changed(found.config, temperature=temperature)
    start = config.prompt if prompt is None else prompt
    text = sampling.generate(
        saved.restore(found, backend),
        start.encode("utf-8", "surrogateescape"),
        count=count,
        sequence=config.sequence,
        temperature=config.temperature,
        seed=seed,
    )
    shown = sampling.printable(text) if sys.stdout.isatty() else text.decode("utf-8", "replace")
    click.echo(start + shown)


@cli.command("eval")
@_run
@click.option("--max-loss", type=float, metavar="X", help="Exit with 1 if the loss is above.")
@_backend
def evaluate(run: Path, max_loss: float | None, backend: str | None) -> None:
    """Print the validation loss of the newest checkpoint of RUN, in nats a byte."""
    _check_backend(backend)
    from lion_ports.trainers import runs, saved

    found = runs.checkpoint_of(run)
    loss = saved.evaluate(found, backend)
    click.echo(f"step {found.state.step}: validation loss {loss:.4f} nats a byte")
    if max_loss is not None and not loss <= max_loss:
        from lion_ports.trainers.errors import ThresholdError

        raise ThresholdError(f"the validation loss {loss:.4f} is above --max-loss {max_loss:g}")


@cli.command("plot")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="PNG file [RUN/loss.png, losses.png].")
def plot_command(runs: tuple[Path, ...], out: Path | None) -> None:
    """Draw the losses of RUNS into one picture."""
    from lion_ports.trainers.plot import plot_runs

    target = out or (runs[0] / "loss.png" if len(runs) == 1 else Path("losses.png"))
    plot_runs(runs, target)
    click.echo(str(target))


@cli.command()
def doctor() -> None:
    """Say what is installed and what works, for bug reports."""
    from lion_ports.trainers.doctor import report

    for line in report():
        click.echo(line)


@cli.group("config")
def config_group() -> None:
    """Look at settings."""


@config_group.command("show")
@click.pass_context
def config_show(context: click.Context) -> None:
    """Print each setting as TOML, and where it comes from (lion-train --steps 9 config show)."""
    from lion_ports.trainers.settings import show

    assert context.parent is not None
    for line in show(_resolve(context.find_root().obj)):
        click.echo(line)
