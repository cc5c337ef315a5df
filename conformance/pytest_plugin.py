"""``pytest --lion-impl torch:my_pkg:MyLion``: a test for each case of the suite.

A case that asks for what the implementation does not offer is skipped; one that fails, fails with
the suite's own words. The implementation runs in a process of its own, so that a crash is a failed
test. Without the option nothing happens, and nothing but this file is imported.
"""

from pathlib import Path

import pytest


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
        raise pytest.UsageError(f"--lion-impl: {error}") from None
    for pattern in config.option.lion_case:
        if not select((pattern,)):
            raise pytest.UsageError(f"--lion-case {pattern}: no case matches")


@pytest.hookimpl(tryfirst=True)  # so that -k and -m choose among these items too
def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Add the cases to whatever tests there are."""
    if not config.option.lion_impl:
        return
    from lion_ports.conformance.pytest_items import Suite

    for impl in config.option.lion_impl:
        suite = Suite.from_parent(session, name=impl, nodeid=impl)
        config.add_cleanup(suite.end)
        items.extend(suite.collect())
