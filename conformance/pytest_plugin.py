"""``pytest --lion-impl torch:my_pkg:MyLion``: a test for each case of the suite.

A case that asks for what the implementation does not offer is skipped; one that fails, fails with
the suite's own words. The implementation runs in a process of its own, so that a crash is a failed
test. Without the option nothing happens, and nothing but this file is imported.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from lion_ports.conformance.execution import Result
    from lion_ports.conformance.expectations import Expectation
    from lion_ports.conformance.processes import Worker
    from lion_ports.conformance.trial import Case


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of ``lion-conformance run`` that a test run needs."""
    group = parser.getgroup("lion", "is this Lion the Lion of the specification? (lion-ports)")
    group.addoption(
        "--lion-impl",
        action="append",
        default=[],
        metavar="NAME",
        help="test this implementation, named as in 'lion-conformance run --impl'",
    )
    group.addoption(
        "--lion-case",
        action="append",
        default=[],
        metavar="PATTERN",
        help="only cases whose id matches, as in 'sign-*'",
    )
    group.addoption(
        "--lion-level",
        choices=("bitwise", "faithful", "trajectory"),
        default="faithful",
        help="what is asked for (default: faithful)",
    )
    group.addoption("--lion-device", default="cpu", metavar="NAME", help="(default: cpu)")
    group.addoption(
        "--lion-expect",
        type=Path,
        metavar="FILE",
        help="TOML: cases to skip, and cases that are expected to fail",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Refuse what is wrong with the options before anything is collected."""
    if not config.option.lion_impl:
        return
    from lion_ports.conformance.adapters.target import find
    from lion_ports.conformance.cases import select
    from lion_ports.errors import LionError

    try:
        for impl in config.option.lion_impl:
            find(impl, {}, {})
        _expectations(config)
    except LionError as error:
        raise pytest.UsageError(f"--lion-impl: {error}") from None
    for pattern in config.option.lion_case:
        if not select((pattern,)):
            raise pytest.UsageError(f"--lion-case {pattern}: no case matches")


@pytest.hookimpl(tryfirst=True)  # so that -k and -m choose among these items too
def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Add the cases to whatever tests there are."""
    for impl in config.option.lion_impl:
        suite = Suite.from_parent(session, name=impl, nodeid=impl)
        config.add_cleanup(suite.end)
        items.extend(suite.collect())


class Suite(pytest.Collector):
    """The cases of one implementation, and the process that it runs in."""

    _worker: "Worker | None" = None
    _refused = ""

    def collect(self) -> list["CaseItem"]:
        """An item for each case."""
        from lion_ports.conformance.cases import select

        known = _expectations(self.config).get(self.name, {})
        return [
            CaseItem.from_parent(self, name=case.id, case=case, expectation=known.get(case.id))
            for case in select(tuple(self.config.option.lion_case))
        ]

    def result(self, case: "Case") -> "Result":
        """Put a case to the implementation; a process that has died is replaced for the next."""
        from lion_ports.conformance.execution import Result
        from lion_ports.conformance.runner import CASE_SECONDS

        worker = self._started()
        message = worker.ask(case.id, CASE_SECONDS)
        if message is not None:
            return Result(**message)
        words = worker.last_words()
        self.end()
        return Result(case.id, case.rule, "ERROR", detail=words)

    def _started(self) -> "Worker":
        """The process, imported and ready.

        Raises:
            LionFailureError: there is no such implementation, or it cannot be imported.
        """
        from lion_ports.conformance.processes import Worker
        from lion_ports.conformance.runner import CASE_SECONDS

        if self._worker is None and not self._refused:
            options = self.config.option
            request = {"impl": self.name, "kwargs": {}, "rename": {}}
            request |= {"device": options.lion_device, "level": options.lion_level}
            worker = self._worker = Worker(request)
            ready = worker.read(CASE_SECONDS) or {"refused": worker.last_words()}
            self._refused = ready.get("refused", "")
        if self._worker is None or self._refused:
            raise LionFailureError(self._refused)
        return self._worker

    def end(self) -> None:
        """End the process, if there is one."""
        if self._worker is not None:
            self._worker.__exit__()
            self._worker = None


class CaseItem(pytest.Item):
    """One case on one implementation."""

    def __init__(self, *, case: "Case", expectation: "Expectation | None", **more: Any) -> None:
        super().__init__(**more)
        self._case, self._expectation = case, expectation

    def runtest(self) -> None:
        """Pass, skip, or fail with the suite's words."""
        from lion_ports.conformance.execution import UNSUPPORTED
        from lion_ports.conformance.expectations import skipped, with_expectation

        assert isinstance(self.parent, Suite)
        result = skipped(self._case, self._expectation) or self.parent.result(self._case)
        result = with_expectation(result, self._expectation)
        if result.outcome == UNSUPPORTED:
            pytest.skip(f"not offered: {result.detail}")
        if result.outcome == "SKIP":
            pytest.skip(result.reason)
        if result.outcome == "XFAIL":
            pytest.xfail(result.reason)
        if result.failed:
            raise LionFailureError(self._words(result))

    def _words(self, result: "Result") -> str:
        from lion_ports.conformance.reports import words
        from lion_ports.conformance.runner import Report

        options = self.config.option
        assert self.parent is not None
        report = Report(self.parent.name, options.lion_level, device=options.lion_device)
        lines = [
            f"{result.outcome}  {result.id}  {result.rule}  {self._case.reason}",
            words.note(result),
            *words.behaves(result.diagnosis[:2]),
            words.replay(report, result.id),
        ]
        return "\n    ".join(lines)

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        """The suite's words alone: no traceback of ours leads to the mistake."""
        if isinstance(excinfo.value, LionFailureError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        """What stands over a failure."""
        return self.path, None, f"{self.parent.name if self.parent else ''} {self.name}"


class LionFailureError(Exception):
    """A case failed, in the suite's words."""


def _expectations(config: pytest.Config) -> "dict[str, Any]":
    """Those of ``--lion-expect``, by implementation and case."""
    if config.option.lion_expect is None:
        return {}
    from lion_ports.conformance.expectations import load

    return dict(load(config.option.lion_expect))
