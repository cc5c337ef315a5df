"""``lion-conformance``: is this Lion the Lion of the specification?

Each command is the object ``command`` of the module of its name, imported when it is called.
"""

from typing import Any

import click

from lion_ports import SPEC_VERSION, __version__
from lion_ports.cli.shared import LazyGroup

COMMANDS = {
    "list": "Levels, implementations found here, and cases.",
    "run": "Run the cases on one or more implementations, each in a process of its own.",
    "matrix": "All implementations found here, ours and others', against all cases.",
    "explain": "What a case looks at: its rule, its stream, and the wrong Lions that it catches.",
    "diff": "What has changed between two reports that --json has written.",
    "mutants": "Every known wrong Lion, and the cases that fail it.",
    "options": "Which options each implementation offers, by running the cases of each.",
    "replay": "Put recorded gradients to one or more implementations.",
    "vectors": "Check the published vectors, or mint new ones.",
}
"""In the order of --help, with the first line of each command's own help."""


class _Commands(LazyGroup):
    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except KeyboardInterrupt:
            click.echo("lion-conformance: interrupted; all processes are ended", err=True)
            context.exit(130)


@click.group(
    cls=_Commands,
    package=__name__,
    listed=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(f"{__version__}, specification {SPEC_VERSION}", prog_name="lion-conformance")
def main() -> None:
    """Is this Lion the Lion of the specification, and if not, what is it instead?

    Exit status: 0 it conforms; 1 it does not; 2 the command was wrong, or what it names is missing.
    """
