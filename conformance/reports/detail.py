"""A failing case in HTML: the element, its inputs, what was allowed, what came, the diagnosis."""

import re
from html import escape

from lion_ports.conformance.cases import CASES
from lion_ports.conformance.execution import Result
from lion_ports.conformance.reports.rules import rules
from lion_ports.conformance.reports.words import (
    SYMBOLS,
    behaves,
    element,
    note,
    outcome,
    printable,
    title,
    tone,
)
from lion_ports.conformance.runner import Report


def text(words: str) -> str:
    """Text as it can stand in HTML, in attributes as well."""
    return escape(printable(words))


def code(sentence: str) -> str:
    """Text in which what stands in backticks is code."""
    return re.sub("`(.*?)`", r"<code>\1</code>", text(sentence))


def article(result: Result, anchor: str, report: Report, command: str) -> str:
    """All that is known of a failing case, under an id to link to."""
    rule = rules().get(result.rule)
    facts = {"Implementation": text(title(report))}
    facts["Rule"] = text(f"{result.rule} {rule.title}" if rule else result.rule)
    at = element(result.detail)
    if at is None:
        facts["What came"] = f"<code>{text(note(result))}</code>"
    else:
        facts["Step"], facts["Parameter"] = at.step, f"<code>{text(at.parameter)}</code>"
        if at.index:
            facts["Index"] = f"<code>{text(at.index)}</code>"
        facts["Quantity"] = text(at.what)
        if at.allowed:
            facts["Allowed"], facts["Came"] = _numbers(at.allowed), _numbers(at.came)
        for name, value in at.inputs:
            facts[f"Input {text(name)}"] = _numbers(value)
    if result.reason or result.link:
        facts["Expected"] = f"{text(result.reason)} {_link(result.link)}"
    if result.diagnosis:
        facts["Diagnosis"] = "<br>".join(code(s) for s in behaves(result.diagnosis))
    facts["Replay"] = (
        f'<code class="command">{text(command)}</code>'
        '<button type="button" class="copy" hidden>Copy</button>'
    )
    reason = CASES[result.id].reason if result.id in CASES else ""
    lines = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts.items())
    return (
        f'<article class="failure" id="{text(anchor)}" tabindex="-1">'
        f'<h3><span class="mark {tone(result.outcome)}" aria-hidden="true">'
        f"{SYMBOLS[result.outcome]}</span> {text(outcome(result))} {text(result.id)}</h3>"
        f"<p>{text(reason)}</p><dl>{lines}</dl></article>"
    )


def _numbers(value: str) -> str:
    """Hexadecimal numbers as they are, and beside each what it is in decimal."""
    lines: list[str] = []
    for part in value.split(" to "):
        try:
            decimal = f"<small>{float.fromhex(part)!r}</small>" if "0x" in part else ""
        except ValueError:  # a dtype and a shape
            decimal = ""
        lines.append(
            f'<span class="number">{"to " * bool(lines)}<code>{text(part)}</code>{decimal}</span>'
        )
    return "".join(lines)


def _link(address: str) -> str:
    """A link, if it leads to the web; whatever else is only shown."""
    if address.startswith(("https://", "http://")):
        return f'<a href="{text(address)}" rel="noreferrer">{text(address)}</a>'
    return text(address)
