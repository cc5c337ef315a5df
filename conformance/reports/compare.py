"""What has changed between two reports."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lion_ports.conformance.execution import FAILED, PASSED, Result
from lion_ports.conformance.reports.words import outcome
from lion_ports.conformance.runner import Report

KINDS = ("worse", "better", "new", "gone", "changed")
"""``changed`` is another outcome of the same worth, as FAIL and then ERROR."""


@dataclass(frozen=True)
class Change:
    """One case of one implementation, or (without a case) its verdict."""

    kind: str
    case: str
    before: str
    after: str


@dataclass(frozen=True)
class Comparison:
    """What has changed of one implementation; ``old`` or ``new`` is None where it is missing."""

    old: Report | None
    new: Report | None
    changes: Sequence[Change]


def compare(old: Sequence[Report], new: Sequence[Report]) -> list[Comparison]:
    """Implementation by implementation, matched by name, device and level."""
    before, after = ({_key(report): report for report in reports} for reports in (old, new))
    return [
        Comparison(a, b, list(_changes(a, b)))
        for a, b in ((before.get(key), after.get(key)) for key in {**before, **after})
    ]


def _key(report: Report) -> tuple[str, str, str]:
    return report.name, report.device, report.level


def _changes(old: Report | None, new: Report | None) -> Iterator[Change]:
    if old is None or new is None:
        yield Change("gone" if new is None else "new", "", _verdict(old), _verdict(new))
        return
    if old.conforms != new.conforms:
        yield Change("better" if new.conforms else "worse", "", _verdict(old), _verdict(new))
    before, after = ({result.id: result for result in report.cases} for report in (old, new))
    for case_id in {**before, **after}:
        a, b = before.get(case_id), after.get(case_id)
        if kind := _kind(a, b):
            yield Change(kind, case_id, outcome(a) if a else "", outcome(b) if b else "")


def _kind(old: Result | None, new: Result | None) -> str:
    """One of KINDS; nothing if the outcome is the same, whatever its measure."""
    if old is None or new is None:
        return "gone" if new is None else "new"
    if old.outcome == new.outcome:
        return ""
    gain = _worth(new.outcome) - _worth(old.outcome)
    return "better" if gain > 0 else "worse" if gain < 0 else "changed"


def _worth(name: str) -> int:
    """How good an outcome is: equal bits, then passed, then not offered or left out, then failed.

    What is expected (XFAIL, XPASS) counts as what it is: an expectation makes nothing better.
    """
    if name == "EXACT":
        return 3
    if name in PASSED or name == "XPASS":
        return 2
    return 0 if name in FAILED or name == "XFAIL" else 1


def _verdict(report: Report | None) -> str:
    if report is None:
        return ""
    return "conforms" if report.conforms else "does not conform"
