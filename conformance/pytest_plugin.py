"""``pytest --lion-impl torch:my_pkg:MyLion``: a test for each case of the suite.

A case that asks for what the implementation does not offer is skipped; one that fails, fails with
the suite's own words. The implementation runs in a process of its own, so that a crash is a failed
test; one that cannot be imported is one error of usage. Without the option nothing happens, and
nothing but this file is imported.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from lion_ports.conformance.pytest_items import Implementation

_IMPLEMENTATIONS: "pytest.StashKey[list[Implementation]]" = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of ``lion-conformance run`` that a test run needs."""
    group = parser.getgroup("lion", "is this Lion the Lion of the specification? (lion-ports)")
    group.addoption(
        "--lion-impl",
        action="append",
        default=[],
        metavar="NAME",
        help="test this implementation, named as in 'lion-conformance run --impl'",
    )
    group.addoption(
        "--lion-case",
        action="append",
        default=[],
        metavar="PATTERN",
        help="only cases whose id matches, as in 'sign-*'",
    )
    group.addoption(
        "--lion-level",
        choices=("bitwise", "faithful", "trajectory"),
        default="faithful",
        help="what is asked for (default: faithful)",
    )
    group.addoption("--lion-device", default="cpu", metavar="NAME", help="(default: cpu)")
    group.addoption(
        "--lion-kwarg",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an argument to construct with, as in 'lion-conformance run --kwarg'",
    )
    group.addoption(
        "--lion-rename",
        action="append",
        default=[],
        metavar="OURS=THEIRS",
        help="an argument that it calls otherwise, as in 'lion-conformance run --rename'",
    )
    group.addoption(
        "--lion-expect",
        type=Path,
        metavar="FILE",
        help="TOML: cases to skip, and cases that are expected to fail",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Refuse what is wrong with the options before anything is collected."""
    if not config.option.lion_impl:
        return
    from lion_ports.conformance.adapters.target import find
    from lion_ports.conformance.cases import select
    from lion_ports.conformance.pytest_items import expectations, kwargs_and_renames
    from lion_ports.errors import LionError

    try:
        kwargs, rename = kwargs_and_renames(config)
    except LionError as error:
        raise pytest.UsageError(f"--lion-kwarg, --lion-rename: {error}") from None
    try:
        for impl in config.option.lion_impl:
            find(impl, kwargs, rename)
        expectations(config)
    except LionError as error:
        raise pytest.UsageError(_named_as_here(error)) from None
    for pattern in config.option.lion_case:
        if not select((pattern,)):
            raise pytest.UsageError(f"--lion-case {pattern}: no case matches")


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist starts its own processes
def pytest_sessionstart(session: pytest.Session) -> None:
    """Start each implementation, and end here with one error if one cannot be imported."""
    config = session.config
    if not config.option.lion_impl:
        return
    from lion_ports.conformance.adapters.target import TargetError
    from lion_ports.conformance.pytest_items import Implementation

    found = [Implementation(impl, config) for impl in config.option.lion_impl]
    for implementation in found:
        config.add_cleanup(implementation.end)
    config.stash[_IMPLEMENTATIONS] = found
    if hasattr(config, "workerinput"):  # a process of pytest-xdist, where that has been seen to
        return
    try:
        for implementation in found:
            implementation.begin()
            if config.pluginmanager.hasplugin("dsession"):  # pytest-xdist: others run the cases
                implementation.end()
    except TargetError as error:
        raise pytest.UsageError(_named_as_here(error)) from None


@pytest.hookimpl(tryfirst=True)  # so that -k and -m choose among these items too
def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Add the cases to whatever tests there are."""
    if not config.option.lion_impl:
        return
    from lion_ports.conformance.pytest_items import Suite

    for implementation in config.stash[_IMPLEMENTATIONS]:
        items.extend(Suite.from_parent(session, implementation=implementation).collect())


def _named_as_here(error: Exception) -> str:
    """Its words with the options of this plugin in place of those of the command."""
    return re.sub(r"--(?=impl|kwarg|rename|device|expect)", "--lion-", str(error))
