"""docs/divergences.md is what is seen when its commands are run again."""

import re
import shlex
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest
from usual import slow

from lion_ports.conformance.cases import CASES
from lion_ports.conformance.matrix import environment
from lion_ports.conformance.mutants import MUTANTS
from lion_ports.conformance.peers import PEERS
from lion_ports.conformance.runner import run

PAGE = (Path(__file__).parents[2] / "docs" / "divergences.md").read_text()
SECTION = re.compile(r"^### `(.+?)` of (\S+) (\S+).*?\n(.*?)(?=^### |\Z)", re.MULTILINE | re.DOTALL)
DIVERGENCE = re.compile(
    r"^    ([^\n]*lion-conformance run [^\n]+)\n\nFails: (.+?)\.(?:\sBehaves as:\s(.+?)\.)?\n\n",
    re.MULTILINE | re.DOTALL,
)


class Divergence(NamedTuple):
    package: str
    version: str
    command: str
    cases: list[str]
    names: list[str]

    @property
    def peer(self):
        """The peer whose command this is, with a case added."""
        [peer] = [peer for peer in PEERS if self.command.startswith(peer.command + " --case ")]
        return peer

    @property
    def shown(self):
        """The cases of the command itself."""
        words = shlex.split(self.command.removeprefix(self.peer.command))
        return [word for word in words if word != "--case"]


def ticked(words):
    return re.findall(r"`(.+?)`", words or "")


FOUND = [
    Divergence(package, version, command, ticked(cases), ticked(names))
    for _, package, version, text in SECTION.findall(PAGE)
    for command, cases, names in DIVERGENCE.findall(text + "\n\n")
]
BY_PEER = {peer.command: [found for found in FOUND if found.peer == peer] for peer in PEERS}
# One of each implementation, and not the first of each, for many share their first; compilers are
# slow, that of DeepSpeed too, and have their turn in the long form.
SAMPLE = [
    short[i % len(short) - 1]
    for i, found in enumerate(BY_PEER.values())
    if (short := [one for one in found if not one.shown[0].startswith("compiled-")])
    and short[0].package != "deepspeed"
]


def test_the_page_has_what_it_says():
    assert len(FOUND) >= 25
    assert PAGE.count("\nFails: ") == len(FOUND)


def test_the_page_names_only_cases_and_mutants_that_exist():
    for found in FOUND:
        assert {*found.cases, *found.shown} <= set(CASES)
        assert set(found.names) <= set(MUTANTS)
        assert set(found.shown) <= set(found.cases)


def test_a_case_stands_once_for_each_implementation():
    for divergences in BY_PEER.values():
        cases = [case for found in divergences for case in found.cases]
        assert len(cases) == len(set(cases))


def repeat(found, cases):
    try:
        version = metadata.version(found.package)
    except metadata.PackageNotFoundError:
        pytest.skip(f"needs {found.package}; install the extra 'peers'")
    if not found.version.startswith(version):
        pytest.skip(f"the page is about {found.version}, and {version} is installed")
    kind, module, *_ = found.peer.impl.split(":")
    for needed in (module.partition(".")[0], {"optax": "jax"}.get(kind, kind)):
        if find_spec(needed) is None:
            pytest.skip(f"needs {needed}")
    with environment(found.peer.environment):
        return run(
            found.peer.impl,
            [CASES[case] for case in cases],
            "faithful",
            kwargs=found.peer.kwargs,
            rename=found.peer.rename,
        )


# One of each package by default, and none of those that test_backends.py looks at every time.
KNOWN = {"lion-pytorch", "optax"}
RUNS = [
    slow(found)
    if found.package in KNOWN | {before.package for before in SAMPLE[:i]}
    else pytest.param(found)
    for i, found in enumerate(SAMPLE)
]


@pytest.mark.parametrize("found", RUNS, ids=lambda found: f"{found.package}-{found.shown[0]}")
def test_a_command_of_the_page_shows_what_it_says(found):
    report = repeat(found, found.shown)
    assert [result.id for result in report.cases if result.failed] == found.shown


@pytest.mark.slow
@pytest.mark.parametrize("found", FOUND, ids=lambda found: f"{found.package}-{found.cases[0]}")
def test_a_divergence_is_what_the_page_says(found):
    report = repeat(found, found.cases)
    assert [result.id for result in report.cases if result.failed] == found.cases
    assert report.diagnosis == found.names
