"""The rules of docs/spec.md by number; ``spec.md`` beside this module is a link to it."""

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources

_HEADING = re.compile(r"^### (L-\d{3}) (.+)$", re.MULTILINE)
_PARTS = ("Reason: ", "Source: ", "Cases: ")


@dataclass(frozen=True)
class Rule:
    """One rule: what has to be done, why, and who says so, as Markdown."""

    number: str
    title: str
    text: str
    reason: str
    source: str


@cache
def rules() -> dict[str, Rule]:
    """Every rule of the specification, by its number.

    >>> rules()["L-001"].title
    'One step'
    """
    spec = resources.files("lion_ports.conformance.reports").joinpath("spec.md").read_text("utf-8")
    pieces = _HEADING.split(spec)[1:]
    return {
        number: _rule(number, title, text)
        for number, title, text in zip(pieces[::3], pieces[1::3], pieces[2::3], strict=True)
    }


def _rule(number: str, title: str, text: str) -> Rule:
    text = re.split(r"^## ", text, flags=re.MULTILINE)[0]  # the next chapter begins
    body, found = [], dict.fromkeys(_PARTS, "")
    for paragraph in text.strip("\n").split("\n\n"):
        part = next((part for part in _PARTS if paragraph.startswith(part)), None)
        if part is None:
            body.append(paragraph)
        else:
            found[part] = paragraph.removeprefix(part)
    return Rule(number, title, "\n\n".join(body), found["Reason: "], found["Source: "])
