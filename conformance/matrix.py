"""All implementations found here against all cases: ours, and those of ``peers``."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from typing import NamedTuple

from lion_ports.conformance.adapters.target import BUILT_IN, TargetError
from lion_ports.conformance.cases import CASES
from lion_ports.conformance.execution import SILENT, Level, Result
from lion_ports.conformance.peers import PEERS, Peer
from lion_ports.conformance.runner import Report, run
from lion_ports.conformance.trial import Case


class Entry(NamedTuple):
    """An implementation, and its report or why there is none."""

    peer: Peer
    report: Report | None
    absent: str = ""


def entries(
    cases: Sequence[Case],
    level: Level,
    *,
    ours: Sequence[str] = tuple(BUILT_IN),
    peers: Sequence[Peer] = PEERS,
    on_result: Callable[[Result], None] = lambda result: None,
    jobs: int = 1,
) -> Iterator[Entry]:
    """The matrix, row by row; what is not installed, or cannot be imported, says so.

    An implementation that cannot be constructed at all is not one that breaks every rule: where
    each case ends in the same error, that error is why it is absent.
    """
    for peer in (*(Peer("lion-ports", impl) for impl in ours), *peers):
        if not _installed(peer.package):
            yield Entry(peer, None, f"{peer.package} is not installed")
            continue
        try:
            with environment(peer.environment):
                report = run(
                    peer.impl, cases, level, kwargs=peer.kwargs, rename=peer.rename,
                    on_result=on_result, jobs=jobs,
                )  # fmt: skip
        except TargetError as error:
            yield Entry(peer, None, str(error))
            continue
        report.environment = peer.variables
        why = _never_began(report)
        yield Entry(peer, None if why else report, why)


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for the processes that are started within."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def _never_began(report: Report) -> str:
    """The one error that everything ended in but what had to be refused, if there was more."""
    judged = [
        result
        for result in report.cases
        if result.outcome not in SILENT and CASES[result.id].category != "errors"
    ]
    details = {result.detail for result in judged if result.outcome == "ERROR"}
    alike = len(judged) > 1 and all(result.outcome == "ERROR" for result in judged)
    return details.pop() if alike and len(details) == 1 else ""
