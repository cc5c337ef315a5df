"""What is said of an implementation as a whole: its verdict, the reasons, and what failed."""

from collections import Counter
from collections.abc import Sequence

from lion_ports.conformance.execution import PASSED, UNSUPPORTED, Result
from lion_ports.conformance.reports.words import behaves, note, printable
from lion_ports.conformance.runner import Report


def verdict(report: Report) -> str:
    """Whether an implementation conforms, in one sentence with the counts behind it."""
    found = Counter(result.outcome for result in report.cases)
    passed, lost = sum(found[name] for name in PASSED), sum(r.not_run for r in report.cases)
    judged = len(report.cases) - found[UNSUPPORTED] - found["SKIP"]
    why = _counted(
        (passed if report.conforms else 0, "passed"),
        (found["FAIL"], "failed"),
        (found["ERROR"], "ended in an error"),
        (found["XPASS"], "passed and had to fail"),
        (found["XFAIL"], "failed as expected"),
    )
    if not judged:
        why = ["no case could be judged"]
    elif not passed and not any(result.failed for result in report.cases):
        why = ["no case passed", *why]
    else:
        count, _, words = why[0].partition(" ")
        why[0] = f"{count} of {judged} judged case{'' if judged == 1 else 's'} {words}"
    rest = _counted(
        (found[UNSUPPORTED], "not offered"), (lost, "not run"), (found["SKIP"] - lost, "left out")
    )
    begins = f"{'conforms' if report.conforms else 'does not conform'} at level {report.level}"
    return f"{begins}: " + "; ".join(", ".join(part) for part in (why, rest) if part)


def _counted(*parts: tuple[int, str]) -> list[str]:
    return [f"{count} {words}" for count, words in parts if count]


def reasons(report: Report) -> list[str]:
    """A sentence for each known wrong Lion it behaves as, the rules broken, and why it gave up."""
    rules = sorted({result.rule for result in report.cases if result.outcome == "FAIL"})
    broken = [f"breaks {some(rules, 8)} of docs/spec.md"] if rules else []
    lost = Counter(printable(result.detail) for result in report.cases if result.not_run)
    gave_up = [f"{count} case{'' if count == 1 else 's'} {why}" for why, count in lost.items()]
    return [*behaves(report.diagnosis), *broken, *gave_up]


def some(names: Sequence[str], most: int) -> str:
    """The first of them, and how many more there are.

    >>> some(["a", "b", "c"], 3), some(["a", "b", "c", "d"], 2)
    ('a, b, c', 'a, b and 2 more')
    """
    more = len(names) - most
    return ", ".join(names) if more <= 0 else f"{', '.join(names[:most])} and {more} more"


def causes(report: Report) -> list[list[Result]]:
    """The failures, those together that seem to have one cause; what explains most comes first.

    One known wrong Lion, or the same words of an error, or else the same rule.
    """
    found: dict[tuple[str, str], list[Result]] = {}
    for result in report.cases:
        if result.failed:
            said = result.rule if result.outcome == "FAIL" else note(result)
            named = (name for name in report.diagnosis if name in result.diagnosis)
            found.setdefault((result.outcome, next(named, said)), []).append(result)
    return sorted(found.values(), key=lambda group: -len(group))


def together(reports: Sequence[Report]) -> str:
    """How many of several implementations conform, and which do not, in one sentence."""
    others = [f"{report.name} {report.version}" for report in reports if not report.conforms]
    levels = "/".join(sorted({report.level for report in reports}))
    sentence = f"{len(reports) - len(others)} of {len(reports)} implementations conform"
    ending = f"; these do not: {', '.join(others)}" if others else ""
    return printable(f"{sentence} at level {levels}{ending}")
