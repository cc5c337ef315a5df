"""``lion-bench``: how fast the optimizers are, side by side in one run.

Each command is the object ``command`` of the module of its name, imported when it is called.
"""

import click

from lion_ports import __version__
from lion_ports.cli.shared import LazyGroup, run_and_exit

COMMANDS = {
    "step": "One step of every optimizer found here, on the same shapes.",
    "scaling": "From small to large: one tensor of many sizes, one size in many tensors.",
    "train": "The trainer's tokens a second against a hand-written loop's.",
}
"""In the order of --help, with the first line of each command's own help."""


@click.group(
    cls=LazyGroup,
    package=__name__,
    listed=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="lion-bench")
def cli() -> None:
    """Time optimizers side by side: medians of interleaved rounds, as ratios.

    Each framework runs in a process of its own, one at a time. docs/performance.md says what the
    figures mean.

    Exit status: 0 done, also where somebody else's optimizer failed; 1 one of lion_ports' own
    failed; 2 usage; 3 a backend is missing; 130 stopped by Ctrl-C.
    """


def main(arguments: list[str] | None = None) -> None:
    """Run ``lion-bench`` and exit."""
    words = "interrupted; all processes are ended, and nothing is written"
    run_and_exit(cli, "lion-bench", arguments, interrupted=words)
