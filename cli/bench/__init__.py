"""``lion-bench``: how fast the optimizers are, side by side in one run.

Each command is the object ``command`` of the module of its name, imported when it is called.
"""

import importlib
import os
import sys

import click

from lion_ports import __version__
from lion_ports.errors import LionError

COMMANDS = {
    "step": "One step of every optimizer found here, on the same shapes.",
    "scaling": "From small to large: one tensor of many sizes, one size in many tensors.",
    "train": "The trainer's tokens a second against a hand-written loop's.",
}
"""In the order of --help, with the first line of each command's own help."""


class _Commands(click.Group):
    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"lion_ports.cli.bench.{name}")
        command: click.Command = module.command
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lion-bench")
def cli() -> None:
    """Time optimizers side by side: medians of interleaved rounds, as ratios.

    Each framework runs in a process of its own, one at a time. docs/performance.md says what the
    figures mean.

    Exit status: 0 done, also where somebody else's optimizer failed; 1 one of lion_ports' own
    failed; 2 usage; 3 a backend is missing; 130 stopped by Ctrl-C.
    """


def main(arguments: list[str] | None = None) -> None:
    """Run ``lion-bench`` and exit; every foreseen error is one sentence on stderr."""
    try:
        code = cli.main(arguments, prog_name="lion-bench", standalone_mode=False)
    except LionError as error:
        code = _fail(str(error), getattr(error, "exit_code", 2))
    except click.UsageError as error:
        code = _fail(error.format_message(), 2)
    except click.Abort:
        code = _fail("interrupted; all processes are ended, and nothing is written", 130)
    except BrokenPipeError:
        # The reader of our output has gone (``| head``): nothing is left to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        code = _fail(f"{error.strerror or error}{where}", 2)
    sys.exit(code or 0)


def _fail(message: str, code: int) -> int:
    print(f"lion-bench: {message}", file=sys.stderr)
    return code
