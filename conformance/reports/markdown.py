"""Markdown for the summary page of a CI run: short, and the details folded in."""

import re
from collections.abc import Sequence
from html import escape

from lion_ports import SPEC_VERSION, __version__
from lion_ports.conformance.execution import Result
from lion_ports.conformance.reports.json import today
from lion_ports.conformance.reports.verdicts import reasons, verdict
from lion_ports.conformance.reports.words import counts, note, printable, replay, title
from lion_ports.conformance.runner import Report

# Whatever starts something in Markdown or HTML.
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|~#&@])")


def markdown(reports: Sequence[Report]) -> str:
    """The text of ``--markdown``."""
    conforming = sum(report.conforms for report in reports)
    parts = [
        f"## Lion conformance: {conforming} of {len(reports)} conform",
        "| | implementation | version | device | level | outcomes |\n"
        "| --- | --- | --- | --- | --- | --- |\n" + "\n".join(_row(report) for report in reports),
    ]
    for report in reports:
        if not report.conforms:
            parts.append(_failures(report))
    parts.append(f"lion-ports {__version__}, specification {SPEC_VERSION}, {today()}")
    return "\n\n".join(parts) + "\n"


def _row(report: Report) -> str:
    found = ", ".join(f"{count} {name}" for name, count in counts(report.cases).items())
    cells = (report.version, report.device, report.level, found)
    mark = "✅ conforms" if report.conforms else "❌ does not"
    return f"| {mark} | {_code(report.name)} | {' | '.join(_plain(cell) for cell in cells)} |"


def _failures(report: Report) -> str:
    failed = [result for result in report.cases if result.failed]
    lines = [f"### {_code(report.name)} {_plain(verdict(report))}"]
    lines += [f"- {_sentence(sentence)}" for sentence in reasons(report)]
    if not failed:
        return "\n".join(lines)
    rows = [
        f"| {result.outcome} | {_code(result.id)} | {result.rule} | "
        f"{', '.join(_code(name) for name in result.diagnosis[:2])} |"
        for result in failed
    ]
    details = [_detail(result, replay(report, result.id)) for result in failed]
    return "\n".join(
        [
            *lines,
            "",
            "| outcome | case | rule | behaves as |\n| --- | --- | --- | --- |",
            *rows,
            "",
            f"<details><summary>Details of {escape(title(report))}</summary>\n",
            *details,
            "</details>",
        ]
    )


def _detail(result: Result, command: str) -> str:
    text = f"{result.outcome} {result.id} ({result.rule})\n{note(result)}\n{command}"
    runs = re.findall(r"`{3,}", text)
    fence = "`" * max([3, *(len(run) + 1 for run in runs)])
    return f"{fence}text\n{printable(text)}\n{fence}\n"


def _plain(text: str) -> str:
    """Text that means nothing to Markdown, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(printable(text).split()))


def _code(text: str) -> str:
    return "`" + printable(text).replace("`", "'").replace("|", "\\|") + "`"


def _sentence(sentence: str) -> str:
    """A sentence in which what stands in backticks stays code."""
    parts = re.split("`(.*?)`", " ".join(printable(sentence).split()))
    escaped = [_SPECIAL.sub(r"\\\1", part) for part in parts[::2]]
    return "".join(a + b for a, b in zip(escaped, [*map(_code, parts[1::2]), ""], strict=True))
