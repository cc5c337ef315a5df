"""The console scripts. Each imports its command only when it is called."""

import importlib
import sys

from lion_ports.errors import install_command


def train() -> None:
    """Run ``lion-train``."""
    _run("lion_ports.cli.train", extra="train")


def conformance() -> None:
    """Run ``lion-conformance``."""
    _run("lion_ports.cli.conformance", extra="conformance")


def bench() -> None:
    """Run ``lion-bench``."""
    _run("lion_ports.cli.bench", extra="bench")


def _run(module: str, extra: str) -> None:
    """Call ``main`` of ``module``; without the extra that it needs, say which one and exit 2."""
    try:
        command = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("lion_ports"):
            raise
        sys.exit(_missing(error.name, extra))
    command.main()


def _missing(name: str, extra: str) -> int:
    print(
        f"this command needs the package {name!r}, which is not installed: "
        f"{install_command(extra)}",
        file=sys.stderr,
    )
    return 2
