"""What is known of an implementation beforehand: ``--expect expectations.toml``."""

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from lion_ports.conformance.cases import CASES
from lion_ports.conformance.execution import PASSED, Result
from lion_ports.conformance.trial import Case
from lion_ports.errors import LionError

_KEYS = ("impl", "cases", "reason", "outcome", "link")
_OUTCOMES = ("FAIL", "ERROR")


class ExpectationError(LionError):
    """The file of ``--expect`` is not what docs/conformance.md says ("Expectations")."""


@dataclass(frozen=True)
class Expectation:
    """A case that is skipped, or that is expected to come out as FAIL (or ERROR).

    Args:
        kind: ``"skip"`` or ``"xfail"``.
        reason: why; it stands in every report.
        link: where it is discussed, if anywhere.
        outcome: what exactly is expected of an ``"xfail"``.
    """

    kind: Literal["skip", "xfail"]
    reason: str
    link: str = ""
    outcome: str = "FAIL"


def skipped(case: Case, expectation: Expectation | None) -> Result | None:
    """The outcome SKIP of a case that is not to be run; None for any other."""
    if expectation is None or expectation.kind != "skip":
        return None
    return Result(case.id, case.rule, "SKIP")


def with_expectation(result: Result, expectation: Expectation | None) -> Result:
    """The result as it counts: an expected failure is XFAIL, and XPASS where it passed.

    Any other outcome stays what it is; a crash in place of a failure says how to expect it.
    """
    if expectation is None:
        return result
    outcome, detail = result.outcome, result.detail
    if expectation.kind == "xfail" and outcome == expectation.outcome:
        outcome = "XFAIL"
    elif expectation.kind == "xfail" and outcome in PASSED:
        detail = f"it passed ({outcome}): take it out of the file of --expect"
        outcome = "XPASS"
    elif expectation.kind == "xfail" and outcome == "ERROR":
        detail += (
            "; it was expected as FAIL and came as ERROR: if that is what is known, "
            'set outcome = "ERROR" in the file of --expect'
        )
    reason, link = expectation.reason, expectation.link
    return replace(result, outcome=outcome, detail=detail, reason=reason, link=link)


def load(path: Path) -> dict[str, dict[str, Expectation]]:
    """Expectations by implementation, as ``--impl`` has it, and by case.

    Raises:
        ExpectationError: the file cannot be read, or holds something unknown.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ExpectationError(f"--expect {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ExpectationError(f"--expect {path}: {error}") from error
    found: dict[str, dict[str, Expectation]] = {}
    try:
        for kind, entries in content.items():
            _known(kind, ("skip", "xfail"), "the table [[{}]]")
            if not isinstance(entries, list):
                raise ExpectationError(f"write [[{kind}]], with two brackets: there may be more")
            for entry in entries:
                _add(found, kind, entry)
    except ExpectationError as error:
        raise ExpectationError(f"--expect {path}: {error}") from None
    return found


def _add(found: dict[str, dict[str, Expectation]], kind: Any, entry: dict[str, Any]) -> None:
    allowed = [key for key in _KEYS if kind == "xfail" or key != "outcome"]
    for key in entry:
        _known(key, allowed, f"{{!r}} in [[{kind}]]")
    for key in ("impl", "reason"):
        if not isinstance(entry.get(key), str) or not entry[key].strip():
            raise ExpectationError(f"[[{kind}]] needs {key} = a text; this has none: {entry}")
    cases = entry.get("cases")
    if not isinstance(cases, list) or not cases or not all(isinstance(c, str) for c in cases):
        raise ExpectationError(f"[[{kind}]] needs cases = a list of case ids: {entry}")
    link, outcome = entry.get("link", ""), entry.get("outcome", "FAIL")
    if not isinstance(link, str):
        raise ExpectationError(f"link = {link!r} is not a text")
    if outcome not in _OUTCOMES:
        raise ExpectationError(f"outcome = {outcome!r} is not one of {', '.join(_OUTCOMES)}")
    of_impl = found.setdefault(entry["impl"], {})
    for case in cases:
        _known(case, CASES, "the case {!r}")
        if case in of_impl:
            raise ExpectationError(f"the case {case!r} of {entry['impl']!r} is named twice")
        of_impl[case] = Expectation(kind, entry["reason"], link, outcome)


def _known(name: str, names: Mapping[str, Any] | list[str] | tuple[str, ...], what: str) -> None:
    if name in names:
        return
    near = difflib.get_close_matches(name, list(names), 1, cutoff=0.0)
    raise ExpectationError(f"{what.format(name)} is unknown; did you mean {near[0]!r}?")
