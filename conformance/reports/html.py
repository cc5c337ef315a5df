"""One HTML file: a table of cases and implementations, with the details of what failed.

The file asks for nothing outside itself, which its Content-Security-Policy also forbids. It is put
together from ``page.html``, ``page.css`` and ``page.js`` beside this module, and can be read
without the script.
"""

import base64
import hashlib
from collections.abc import Sequence
from importlib import resources
from string import Template
from urllib.parse import quote

from lion_ports import SPEC_VERSION, __version__
from lion_ports.conformance.cases import CASES
from lion_ports.conformance.execution import Result
from lion_ports.conformance.reports.detail import article, code, text
from lion_ports.conformance.reports.json import environment, today
from lion_ports.conformance.reports.verdicts import reasons, verdict
from lion_ports.conformance.reports.words import (
    OUTCOMES,
    SYMBOLS,
    category,
    counts,
    note,
    outcome,
    replay,
    title,
    tone,
)
from lion_ports.conformance.runner import Report


def html(reports: Sequence[Report]) -> str:
    """The text of ``--html``."""
    css, js = _file("page.css"), _file("page.js")
    ids = _case_ids(reports)
    conforming = sum(report.conforms for report in reports)
    there = counts(result for report in reports for result in report.cases)
    return Template(_file("page.html")).substitute(
        policy=f"default-src 'none'; img-src data:; style-src '{_hash(css)}'; "
        f"script-src '{_hash(js)}'; base-uri 'none'; form-action 'none'",
        css=css,
        js=js,
        title=f"Lion conformance: {conforming} of {len(reports)} conform",
        about=text(_about()),
        cards="\n".join(_card(i, report) for i, report in enumerate(reports)),
        legend="".join(
            f'<li>{_mark(name)} {name}: <span data-name="{name}">{text(OUTCOMES[name])}</span></li>'
            for name in reversed(there)
        ),
        categories=_options({name: name for name in dict.fromkeys(map(category, ids))}),
        outcomes=_options({name: f"{SYMBOLS[name]} {name}" for name in there}),
        columns=_options({str(i): f"{_letter(i)} {r.name}" for i, r in enumerate(reports)}),
        heads="".join(_head(i, report) for i, report in enumerate(reports)),
        rows=_rows(reports, ids),
        failures="".join(_failures(i, r) for i, r in enumerate(reports))
        or "<p>No case failed.</p>",
    )


def _file(name: str) -> str:
    return resources.files("lion_ports.conformance.reports").joinpath(name).read_text("utf-8")


def _hash(content: str) -> str:
    digest = hashlib.sha256(content.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _about() -> str:
    found = environment()
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    return (
        f"lion-ports {__version__}, specification {SPEC_VERSION}, {today()}. "
        f"Python {found['python']} on {found['system']} {found['machine']}; {versions}."
    )


def _case_ids(reports: Sequence[Report]) -> list[str]:
    """Every case that any of them ran, in the order of the suite."""
    ran = dict.fromkeys(result.id for report in reports for result in report.cases)
    return [name for name in CASES if name in ran] + [name for name in ran if name not in CASES]


def _letter(i: int) -> str:
    """A, B, ... Z, A1, ...: what a column is called where there is no room for its name."""
    return chr(ord("A") + i % 26) + (str(i // 26) if i >= 26 else "")


def _mark(name: str) -> str:
    return f'<span class="mark {tone(name)}" aria-hidden="true">{SYMBOLS[name]}</span>'


def _options(choices: dict[str, str]) -> str:
    return "".join(f'<option value="{text(v)}">{text(t)}</option>' for v, t in choices.items())


def _card(i: int, report: Report) -> str:
    found = counts(report.cases)
    words = ", ".join(f"{count} {name}" for name, count in reversed(found.items()))
    kind, mark = ("pass", "✓") if report.conforms else ("fail", "✗")
    bar, x = "", 0
    for name, count in reversed(found.items()):
        bar += f'<rect class="{tone(name)}" x="{x}" width="{count}" height="1"/>'
        x += count
    short, _, why = verdict(report).partition(": ")
    sentences = "".join(f"<li>{code(sentence)}</li>" for sentence in reasons(report))
    return (
        f'<article class="card"><h2><span class="letter">{_letter(i)}</span> {text(report.name)}'
        f"</h2><small>{text(f'{report.version} on {report.device}')}</small>"
        f'<p class="verdict"><span class="mark {kind}" aria-hidden="true">{mark}</span> '
        f"<b>{text(short)}</b></p><p>{text(why)}</p>"
        f'<svg viewBox="0 0 {max(x, 1)} 1" preserveAspectRatio="none" aria-hidden="true">{bar}'
        f'</svg><p class="counts">{words}</p>'
        f"{f'<ul>{sentences}</ul>' if sentences else ''}</article>"
    )


def _head(i: int, report: Report) -> str:
    return (
        f'<th scope="col" data-column="{i}"><span class="letter">{_letter(i)}</span> '
        f'<span class="name">{text(report.name)}</span></th>'
    )


def _rows(reports: Sequence[Report], ids: Sequence[str]) -> str:
    """A body for each category, a row for each case."""
    results = [{result.id: result for result in report.cases} for report in reports]
    bodies: dict[str, list[str]] = {}
    for case_id in ids:
        family = category(case_id)
        cells = "".join(_cell(i, found.get(case_id)) for i, found in enumerate(results))
        rule = next(found[case_id].rule for found in results if case_id in found)
        reason = CASES[case_id].reason if case_id in CASES else ""
        bodies.setdefault(family, []).append(
            f'<tr data-id="{text(case_id)}" data-category="{text(family)}">'
            f'<th scope="row"><code>{text(case_id)}</code> <small>{text(rule)}</small>'
            f'<div class="reason">{text(reason)}</div></th>{cells}</tr>'
        )
    width = len(reports) + 1
    return "\n".join(
        f'<tbody><tr class="category"><th scope="rowgroup" colspan="{width}">'
        f"<span>{text(family)}</span></th></tr>\n" + "\n".join(lines) + "</tbody>"
        for family, lines in bodies.items()
    )


def _cell(i: int, result: Result | None) -> str:
    if result is None:
        return f'<td data-column="{i}" data-outcome=""><span class="word">not run</span></td>'
    shown = (
        f'<span aria-hidden="true">{SYMBOLS[result.outcome]}</span> '
        f'<span class="word">{text(outcome(result))}</span>'
    )
    if result.failed:
        shown = f'<a href="#{_anchor(i, result)}">{shown}</a>'
    return (
        f'<td class="{tone(result.outcome)}" data-column="{i}" data-outcome="{result.outcome}" '
        f'title="{text(note(result))}">{shown}</td>'
    )


def _anchor(i: int, result: Result) -> str:
    return quote(f"{_letter(i)}-{result.id}")


def _failures(i: int, report: Report) -> str:
    failed = [result for result in report.cases if result.failed]
    if not failed:
        return ""
    articles = "\n".join(
        article(result, f"{_letter(i)}-{result.id}", report, replay(report, result.id))
        for result in failed
    )
    return (
        f'<details data-column="{i}" open><summary>{_letter(i)} {text(title(report))}: '
        f"{len(failed)} failing</summary>\n{articles}\n</details>\n"
    )
