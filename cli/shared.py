"""What the commands share: how a group finds its commands, and how a command ends."""

import importlib
import os
import sys
from collections.abc import Mapping

import click

from lion_ports.errors import LionError


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called.

    Args:
        package: where each is the object ``command`` of the module of its name.
        listed: their names in the order of --help, with the first line of each one's own help.
    """

    def __init__(
        self, *, package: str = "", listed: Mapping[str, str] | None = None, **more: object
    ) -> None:
        super().__init__(**more)  # type: ignore[arg-type]
        self._package, self._listed = package, dict(listed or {})

    def list_commands(self, context: click.Context) -> list[str]:
        return list(self._listed)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in self._listed:
            return None
        command: click.Command = importlib.import_module(f"{self._package}.{name}").command
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(self._listed.items()))


# What the frameworks say, by errors of many classes, where NumPy raises a MemoryError.
_NO_MEMORY = ("can't allocate memory", "Unable to allocate", "RESOURCE_EXHAUSTED", "out of memory")


def run_and_exit(
    command: click.Command, program: str, arguments: list[str] | None, *, interrupted: str = ""
) -> None:
    """Run a command and exit; every foreseen error is one sentence on stderr.

    Args:
        command: of click; what it returns is the exit status.
        program: its name.
        arguments: None: those of the process.
        interrupted: what is said after Ctrl-C.
    """
    try:
        code = command.main(arguments, prog_name=program, standalone_mode=False)
    except LionError as error:
        code = _fail(program, str(error), getattr(error, "exit_code", 2))
    except click.UsageError as error:
        code = _fail(program, error.format_message(), 2)
    except click.Abort:
        code = _fail(program, interrupted, 130) if interrupted else 130
    except BrokenPipeError:
        # The reader of our output has gone (``| head``): nothing is left to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        code = _fail(program, f"{error.strerror or error}{where}", 2)
    except (MemoryError, RuntimeError) as error:
        if not (isinstance(error, MemoryError) or any(says in str(error) for says in _NO_MEMORY)):
            raise
        said = " ".join(str(error).split())
        code = _fail(program, f"there is not enough memory; ask for less ({said})", 2)
    sys.exit(code or 0)


def _fail(program: str, message: str, code: int) -> int:
    print(f"{program}: {message}", file=sys.stderr)
    return code
