"""What all formats say in the same words: outcomes, details, verdicts, and how to replay a case."""

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lion_ports.conformance.cases import CASES
from lion_ports.conformance.cases.recorded import SUFFIX
from lion_ports.conformance.execution import PASSED, UNSUPPORTED, Result
from lion_ports.conformance.mutants import MUTANTS
from lion_ports.conformance.runner import Report

OUTCOMES = {
    "FAIL": "outside of what is allowed",
    "ERROR": "an exception, a crash, or no answer in time",
    "XPASS": "expected to fail, and passed",
    "XFAIL": "fails, as expected",
    "SKIP": "left out, for a reason",
    UNSUPPORTED: "not offered",
    "AMBIGUOUS": "within the bound; some signs were open",
    "BOUNDED": "within the bound",
    "ULP": "within the bound, at most 64 representable numbers off",
    "EXACT": "equal to the reference, bit for bit",
}
"""What each outcome means, what needs attention first."""

SYMBOLS = {
    "FAIL": "✗",
    "ERROR": "!",
    "XPASS": "?",
    "XFAIL": "x",
    "SKIP": "»",
    UNSUPPORTED: "·",
    "AMBIGUOUS": "±",
    "BOUNDED": "≤",
    "ULP": "≈",
    "EXACT": "=",
}
"""One character for each outcome, where colour alone would not tell everybody."""

# The text of a Finding (lion_ports.conformance.finding).
_FINDING = re.compile(
    r"step (?P<step>\d+), (?P<parameter>.+?)(?P<index>\[[\d, ]+\])?: (?P<what>[^:]+?)"
    r"(?: came as (?P<came>.+?), allowed is (?P<allowed>.+?))?"
    r"(?: \((?P<inputs>\w+=\S+(?:, \w+=\S+)*)\))?",
    re.DOTALL,
)
_ZEROS = re.compile(r"(?<=[0-9a-f])\.?0+(?=p[+-]\d)")
_UNPRINTABLE = re.compile("[^\t\n\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Element:
    """The element at which an implementation left what is allowed, read from a result's detail."""

    step: str
    parameter: str
    index: str
    what: str
    came: str
    allowed: str
    inputs: tuple[tuple[str, str], ...]


def element(detail: str) -> Element | None:
    """The element that a detail tells of; None if it tells of something else."""
    match = _FINDING.fullmatch(short(detail))
    if match is None:
        return None
    part = match.groupdict(default="")
    pairs = [pair.partition("=") for pair in part.pop("inputs").split(", ") if pair]
    return Element(**part, inputs=tuple((name, value) for name, _, value in pairs))


def short(detail: str) -> str:
    """The detail without the zeros at the end of hexadecimal numbers, and printable.

    >>> short("came as 0x1.0400000000000p-5, allowed is 0x0.0p+0")
    'came as 0x1.04p-5, allowed is 0x0p+0'
    """
    return _ZEROS.sub("", printable(detail))


def printable(text: str) -> str:
    r"""Control characters and halves of characters written out, so that any format can hold them.

    >>> printable("red: \x1b[31m")
    'red: \\x1b[31m'
    """
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def outcome(result: Result) -> str:
    """The outcome with its measure, as ``ULP(3)``."""
    measure = {"ULP": result.max_ulp, "AMBIGUOUS": result.ambiguous}.get(result.outcome)
    return result.outcome if measure is None else f"{result.outcome}({measure})"


def tone(name: str) -> str:
    """What an outcome is to the reader: ``pass``, ``fail``, ``error``, ``known`` or ``none``."""
    tones = {"FAIL": "fail", "XPASS": "fail", "ERROR": "error", "XFAIL": "known", "SKIP": "known"}
    return "pass" if name in PASSED else tones.get(name, "none")


def counts(results: Iterable[Result]) -> dict[str, int]:
    """How many results have each outcome, what needs attention first."""
    found = Counter(result.outcome for result in results)
    return {name: found[name] for name in OUTCOMES if found[name]}


def category(case_id: str) -> str:
    """The family of a case; for a case that this version does not know, its first word."""
    if case_id.endswith(SUFFIX):  # the path of a stream that was replayed
        return "recorded"
    return CASES[case_id].category if case_id in CASES else case_id.partition("-")[0]


def title(report: Report) -> str:
    """One line that tells a report from all others of its file."""
    return printable(f"{report.name} {report.version} on {report.device}, level {report.level}")


def behaves(names: Sequence[str]) -> list[str]:
    """A sentence for each known wrong Lion that a diagnosis names."""
    return [
        f"behaves as `{name}`" + (f": {MUTANTS[name].sentence}" if name in MUTANTS else "")
        for name in names
    ]


def note(result: Result) -> str:
    """What there is to say about a result in one line; nothing about most that passed."""
    if result.outcome == UNSUPPORTED:
        return f"not offered: {printable(result.detail)}"
    if result.outcome in ("SKIP", "XFAIL", "XPASS"):  # with an expectation, or a run given up
        words = (result.reason, result.link, short(result.detail))
        return "; ".join(printable(part) for part in words if part)
    if result.outcome == "AMBIGUOUS":
        return f"{result.ambiguous} signs lay inside the band, where -1, 0 and +1 are allowed"
    if result.outcome == "ULP":
        return f"at most {result.max_ulp} representable numbers from the reference"
    return short(result.detail)


def replay(report: Report, case_id: str = "") -> str:
    """The command that puts one case to this implementation again, as a shell takes it.

    Args:
        report: of the implementation.
        case_id: without it, the command up to the place where it belongs.
    """
    kind, _, command = report.name.partition(":")
    target = ["--exec", command] if kind == "exec" else ["--impl", report.name]
    # The id of a recorded stream is its path, and its command another one.
    stream = any(result.id.endswith(SUFFIX) for result in report.cases)
    words = [*report.environment, "lion-conformance", "replay" if stream else "run", *target]
    words += report.arguments
    words += ["--device", report.device] if report.device != "cpu" else []
    words += ["--level", report.level] if report.level != "faithful" else []
    words += [] if stream else ["--case"]
    return shlex.join([*words, case_id] if case_id else words)
