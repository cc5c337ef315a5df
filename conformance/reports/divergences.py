"""docs/divergences.md: its numbers are made here, its sentences by people.

A section of the page stands for an implementation, and each paragraph of it for a divergence: a
sentence, the command that shows one of its cases, and the list of all of them. ``update`` writes
commands, lists and numbers anew. A case that no longer fails leaves its list; one that fails, and
stands in none, gets a paragraph of its own that waits for a sentence.
"""

import re
import textwrap
from collections.abc import Iterator, Sequence

from lion_ports import SPEC_VERSION, __version__
from lion_ports.conformance.diagnosis import summary
from lion_ports.conformance.execution import PASSED, UNSUPPORTED, Result
from lion_ports.conformance.peers import PEERS, Peer
from lion_ports.conformance.reports.json import environment, today
from lion_ports.conformance.runner import Report

NEW = "Not described yet."
"""The sentence of cases that nobody has looked at."""

_SECTION = re.compile(r"^### (`.+?` of .+?)\n\n(.*?)(?=^### |\Z)", re.MULTILINE | re.DOTALL)
_DIVERGENCE = re.compile(
    r"(?P<sentence>[^\n].*?)\n\n    [^\n]*lion-conformance run [^\n]+\n\nFails: (?P<cases>.+?)"
    r"(?=\n\n|\Z)",
    re.DOTALL,
)
_MADE = re.compile(r"^Made on .*?\n\n", re.MULTILINE | re.DOTALL)
_TABLE = re.compile(r"^\| implementation .*?\n\n", re.MULTILINE | re.DOTALL)


def update(page: str, reports: Sequence[Report]) -> str:
    """The page with the numbers of these reports; a section without a report is left out.

    Args:
        page: its text.
        reports: of ``PEERS``, each over all cases.
    """
    sections = {_key(heading): body for heading, body in _SECTION.findall(page)}
    head = page[: page.index("\n### ")].rstrip("\n")
    head = _MADE.sub(lambda found: _made(reports) + "\n\n", head)
    head = _TABLE.sub(lambda found: _table(reports) + "\n\n", head)
    parts = [head]
    for report in reports:
        heading = _heading(report)
        paragraphs = list(_paragraphs(sections.get(_key(heading), ""), report))
        if paragraphs:
            parts += [f"### {heading}", *paragraphs]
    return "\n\n".join(parts) + "\n"


def _key(heading: str) -> str:
    """What stays of a heading from one version to the next: the name, and the backend."""
    return re.sub(r" of (\S+) \S+", r" of \1", heading)


def _peer(report: Report) -> Peer:
    """Whose report it is; one package may run on several backends, and its version names which."""
    backend = report.version.rpartition(" on ")[2]
    [peer] = [
        peer
        for peer in PEERS
        if peer.impl == report.name
        and (not peer.environment or backend in peer.environment.values())
    ]
    return peer


def _heading(report: Report) -> str:
    return f"`{report.name.partition(':')[2]}` of {_peer(report).package} {report.version}"


def _made(reports: Sequence[Report]) -> str:
    found = environment()
    names = {"numpy": "NumPy", "torch": "torch", "jax": "JAX"}
    versions = ", ".join(f"{word} {found['versions'][name]}" for name, word in names.items())
    count = max(len(report.cases) for report in reports)
    return textwrap.fill(
        f"Made on {today()} by `lion-conformance matrix --page` (suite {__version__}, "
        f"specification {SPEC_VERSION}, {count} cases, level {reports[0].level}) on "
        f"{found['system']} {found['machine']} with Python {found['python']}, {versions}. "
        "Each divergence stands beside the command that shows one of its cases; the list after it "
        "has all of them. "
        "`tests/conformance/test_divergences.py` runs commands of this page again and compares.",
        100,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _table(reports: Sequence[Report]) -> str:
    rows = [
        "| implementation | version | passed | failed | not offered | behaves as |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for report in reports:
        passed = sum(result.outcome in PASSED for result in report.cases)
        failed = sum(result.failed for result in report.cases)
        absent = sum(result.outcome == UNSUPPORTED for result in report.cases)
        names = ", ".join(f"`{name}`" for name in report.diagnosis)
        cells = (f"`{report.name}`", report.version, str(passed), str(failed), str(absent), names)
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _paragraphs(body: str, report: Report) -> Iterator[str]:
    """The introduction of a section, then its divergences."""
    left = {result.id: result for result in report.cases if result.failed}
    first = _DIVERGENCE.search(body) if left else None
    introduction = first["sentence"].rpartition("\n\n")[0] if first else ""
    yield from [introduction] * bool(introduction)
    for found in _DIVERGENCE.finditer(body):
        known = set(re.findall(r"`(.+?)`", found["cases"].partition("Behaves as")[0]))
        if results := [left.pop(name) for name in list(left) if name in known]:
            yield _paragraph(found["sentence"].rpartition("\n\n")[2], results, report)
    if left:
        yield _paragraph(NEW, list(left.values()), report)


def _paragraph(sentence: str, results: Sequence[Result], report: Report) -> str:
    command = f"    {_peer(report).command} --case {results[0].id}"
    cases = ", ".join(f"`{result.id}`" for result in results)
    text = f"Fails: {cases}."
    if names := summary(result.diagnosis for result in results):
        text += f" Behaves as: {', '.join(f'`{name}`' for name in names)}."
    lists = textwrap.fill(text, 100, break_on_hyphens=False, break_long_words=False)
    return f"{sentence}\n\n{command}\n\n{lists}"
