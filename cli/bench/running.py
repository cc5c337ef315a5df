"""What the commands share: options, one worker a backend, and the document of the results."""

import dataclasses
import importlib.util
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click

from lion_ports.cli.bench.catalog import BACKENDS, BASELINES, Contender
from lion_ports.errors import ConfigError, install_command

Command = TypeVar("Command", bound=Callable[..., Any])
Document = dict[str, Any]

_LONGEST = 3600  # seconds of one contender in one round

DTYPES = ("float32", "bfloat16", "float16", "float64")

_MEASURED = ("device", "dtype", "threads", "rounds", "seconds", "seed")
_NEEDED = {"torch": ("torch",), "jax": ("jax", "optax"), "mlx": ("mlx",)}
_PACKAGES = ("numpy", "torch", "numba", "jax", "jaxlib", "optax", "mlx", "keras", "lion-ports")


@dataclass(frozen=True)
class Settings:
    """What all commands can be told."""

    backends: tuple[str, ...]
    device: str
    dtype: str
    threads: int
    rounds: int
    seconds: float
    seed: int
    json: Path | None
    markdown: Path | None
    plot: Path | None


def common_options(*, rounds: int, seconds: float) -> Callable[[Command], Command]:
    """The options of ``Settings``, as one parameter of the command."""
    path = click.Path(path_type=Path)
    options = (
        click.option("--backend", "backends", multiple=True, type=click.Choice(BACKENDS),
                     help="Framework; may be repeated [all that are installed]."),
        click.option("--device", default="cpu", show_default=True, metavar="cpu|gpu|mps|tpu",
                     help="Where it computes."),
        click.option("--threads", type=click.IntRange(min=1), metavar="N",
                     help="Of the CPU [all cores]."),
        click.option("--rounds", type=click.IntRange(min=1), default=rounds, show_default=True,
                     metavar="N", help="Each times every contender once."),
        click.option("--seconds", type=click.FloatRange(0, _LONGEST), default=seconds,
                     show_default=True, metavar="S", help="At least, of a contender a round."),
        click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True,
                     metavar="N", help="Of the order in each round."),
        click.option("--json", type=path, metavar="FILE",
                     help="Write all figures, as bench.schema.json describes them."),
        click.option("--markdown", type=path, metavar="FILE",
                     help="Write the tables, between the markers of a file that exists."),
        click.option("--plot", type=path, metavar="FILE", help="Draw a picture, PNG or SVG."),
    )  # fmt: skip

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def settings(kind: str, given: dict[str, Any]) -> Settings:
    """Check what click could not.

    Raises:
        BackendError: a backend that was asked for is missing, or all are.
        ConfigError: too many threads, seconds that are no number, or a file that could not be
            written.
    """
    from lion_ports.cli.bench import files, machine
    from lion_ports.cli.bench.printed import counted

    cores = machine.cores()
    threads = given["threads"] or cores
    if threads > cores:
        raise ConfigError(f"--threads {threads}: this machine has {counted(cores, 'core')}")
    if math.isnan(given["seconds"]):  # which no range of click's refuses
        raise ConfigError(f"--seconds nan: write a number from 0 to {_LONGEST}")
    files.check(kind, given["json"], given["plot"], given["markdown"])
    given = {"dtype": "float32", **given, "threads": threads}
    return Settings(**given | {"backends": _backends(given["backends"])})


def collect(
    kind: str,
    chosen: Settings,
    contenders: Sequence[Contender],
    request: Callable[[str], dict[str, Any]],
) -> Document:
    """Run a worker for each backend, and put the results together.

    Args:
        kind: ``"step"``, ``"scaling"`` or ``"train"``.
        chosen: the common settings.
        contenders: of all backends; those that are not installed are listed as such.
        request: what the worker of a backend gets besides.

    Raises:
        WorkerError: a framework cannot be imported, a peer of the user's cannot be found, or a
            worker refuses the request.
    """
    from lion_ports.cli.bench import machine, processes

    begun, on = machine.now(), machine.machine() | machine.load()
    common = {name: getattr(chosen, name) for name in _MEASURED}
    results = []
    with _progress() as show:
        for backend in chosen.backends:
            peers = [c for c in contenders if c.backend == backend and not c.package]
            asked = {**common, "backend": backend, "measure": "imports"}
            asked["contenders"] = [dataclasses.asdict(c) for c in peers]
            processes.run(asked, partial(show, backend))
        for backend in chosen.backends:
            here = [c for c in contenders if c.backend == backend]
            found = [c for c in here if c.installed()]
            if not found:
                continue
            asked = {**common, "backend": backend, **request(backend)}
            asked["contenders"] = [dataclasses.asdict(c) for c in found]
            result, crashed = processes.run(asked, partial(show, backend))
            for case in result["cases"]:
                case["contenders"] += [
                    c.entry("failed", crashed[c.name]) for c in found if c.name in crashed
                ]
            absent = [c.name for c in here if c not in found]
            beside = {"baseline": BASELINES[backend], "not_installed": absent}
            results.append({"backend": backend, **beside, **result})
    if not results:
        names = ", ".join(f"'{c.name}'" for c in contenders)
        raise ConfigError(f"of what is asked for, nothing is installed: {names or 'nobody'}")
    packages = {c.package for c in contenders if c.package} | set(_PACKAGES)
    return {
        "format": 1,
        "kind": kind,
        "date": begun,
        "command": machine.command_line(),
        "machine": on,
        "versions": machine.versions(sorted(packages)),
        "settings": common,
        "backends": results,
    }


def finish(document: Document, chosen: Settings) -> int:
    """Print the tables, write the files; the exit code."""
    from lion_ports.cli.bench import files, pictures, tables, terminal

    terminal.show(document)
    kind = document["kind"]
    if chosen.json is not None:
        files.write_json(chosen.json, document)
    if chosen.markdown is not None:
        files.write_markdown(kind, chosen.markdown, tables.markdown(document))
    if chosen.plot is not None:
        suffix = chosen.plot.suffix.lower().removeprefix(".")
        files.write(chosen.plot, pictures.draw(document, suffix))
    broken = [
        entry["name"]
        for result in document["backends"]
        for case in result["cases"]
        for entry in case["contenders"]
        if entry["ours"] and entry["status"] == "failed"
    ]
    return 1 if broken else 0


def _backends(asked: tuple[str, ...]) -> tuple[str, ...]:
    from lion_ports.trainers.errors import BackendError

    def there(backend: str) -> bool:
        return all(importlib.util.find_spec(name) is not None for name in _NEEDED[backend])

    for backend in asked:
        if not there(backend):
            raise BackendError(
                f"--backend {backend}: it is not installed here: {install_command(backend)}"
            )
    found = tuple(dict.fromkeys(asked)) or tuple(filter(there, BACKENDS))
    if not found:
        raise BackendError(
            f"no backend is installed; install one of the three: {install_command(*BACKENDS)}"
        )
    return found


_WORDS = {"finds": "looking for", "builds": "building", "times": "timing", "weighs": "weighing"}


@contextmanager
def _progress() -> Iterator[Callable[[str, dict[str, Any]], None]]:
    """Who is measured now, on a terminal; silence elsewhere."""
    if not sys.stderr.isatty():
        yield lambda backend, event: None
        return
    from rich.console import Console

    with Console(stderr=True, highlight=False).status("starting") as status:
        yield lambda backend, event: status.update(
            f"{backend}: {_WORDS[event['event']]} {event['name']}"
        )
