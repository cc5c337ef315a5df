"""The tests that ``pytest --lion-impl`` adds: imported by the plugin when there are any."""

from pathlib import Path
from typing import Any

import pytest

from lion_ports.conformance import arguments
from lion_ports.conformance.adapters.target import TargetError
from lion_ports.conformance.cases import select
from lion_ports.conformance.execution import UNSUPPORTED, Result, not_run
from lion_ports.conformance.expectations import Expectation, load, with_expectation
from lion_ports.conformance.patience import Patience
from lion_ports.conformance.processes import Worker
from lion_ports.conformance.reports import words
from lion_ports.conformance.runner import CASE_SECONDS, Report, variables
from lion_ports.conformance.trial import Case


class LionFailureError(Exception):
    """A case failed, in the suite's words."""


class Implementation:
    """What ``--lion-impl`` names, and the process that it runs in."""

    def __init__(self, name: str, config: pytest.Config) -> None:
        self.name, self._options = name, config.option
        self._arguments = kwargs_and_renames(config)
        self._worker: Worker | None = None
        self._patience = Patience()

    def begin(self) -> Worker:
        """The process, in which it is imported and ready.

        Raises:
            TargetError: it cannot be imported.
        """
        if self._worker is None:
            kwargs, rename = self._arguments
            request: dict[str, Any] = {"impl": self.name, "kwargs": kwargs, "rename": rename}
            options = self._options
            request |= {"device": options.lion_device, "level": options.lion_level}
            request["seconds"] = CASE_SECONDS
            self._worker = Worker(request)
            try:
                self._worker.shake_hands()
            except TargetError:
                self.end()
                raise
        return self._worker

    def result(self, case: Case, expectation: Expectation | None) -> Result:
        """Put a case to it; a process that has died is replaced for the next.

        Raises:
            TargetError: it could be imported before, and cannot be any more.
        """
        if self._patience.lost:
            return not_run(case, self._patience.lost)
        worker = self.begin()
        message = worker.ask(case.id, CASE_SECONDS)
        if message is not None:
            result = Result(**message)
            self._patience.answered(case, result)
            return with_expectation(result, expectation)
        last = worker.last_words()
        self.end()
        died = Result(case.id, case.rule, "ERROR", detail=last)
        if (result := with_expectation(died, expectation)).failed:  # and was not expected to
            self._patience.died(case, last)
        return result

    def report(self) -> Report:
        """What the suite's words need to know of it."""
        options = self._options
        given = arguments.words(*self._arguments)
        if options.lion_expect is not None:
            given += ("--expect", str(options.lion_expect))
        return Report(
            self.name,
            options.lion_level,
            device=options.lion_device,
            arguments=given,
            environment=variables(self.name),
        )

    def end(self) -> None:
        """End the process, if there is one."""
        if self._worker is not None:
            self._worker.__exit__()
            self._worker = None


class Suite(pytest.Collector):
    """The cases of one implementation."""

    def __init__(self, *, implementation: Implementation, **more: Any) -> None:
        super().__init__(name=implementation.name, nodeid=implementation.name, **more)
        self.implementation = implementation

    def collect(self) -> list["CaseItem"]:
        """An item for each case."""
        known = expectations(self.config).get(self.name, {})
        return [
            CaseItem.from_parent(self, name=case.id, case=case, expectation=known.get(case.id))
            for case in select(tuple(self.config.option.lion_case))
        ]


class CaseItem(pytest.Item):
    """One case on one implementation."""

    def __init__(self, *, case: Case, expectation: Expectation | None, **more: Any) -> None:
        super().__init__(**more)
        self._case, self._expectation = case, expectation

    def runtest(self) -> None:
        """Pass, skip, or fail with the suite's words."""
        assert isinstance(self.parent, Suite)
        implementation = self.parent.implementation
        if self._expectation is not None and self._expectation.kind == "skip":
            pytest.skip(self._expectation.reason)
        result = implementation.result(self._case, self._expectation)
        if result.outcome in (UNSUPPORTED, "SKIP"):
            pytest.skip(words.note(result))
        if result.outcome == "XFAIL":
            pytest.xfail(result.reason)
        if result.failed:
            lines = [
                f"{result.outcome}  {result.id}  {result.rule}  {self._case.reason}",
                words.note(result),
                *words.behaves(result.diagnosis[:2]),
                words.replay(implementation.report(), result.id),
            ]
            raise LionFailureError("\n    ".join(lines))

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        """The suite's words alone: no traceback of ours leads to the mistake."""
        if isinstance(excinfo.value, LionFailureError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        """What stands over a failure."""
        return self.path, None, f"{self.parent.name if self.parent else ''} {self.name}"


def kwargs_and_renames(config: pytest.Config) -> tuple[dict[str, Any], dict[str, str]]:
    """Those of ``--lion-kwarg`` and ``--lion-rename``.

    Raises:
        ArgumentError: one of them is not NAME=VALUE.
    """
    options = config.option
    return arguments.kwargs(options.lion_kwarg), arguments.renames(options.lion_rename)


def expectations(config: pytest.Config) -> dict[str, dict[str, Expectation]]:
    """Those of ``--lion-expect``, by implementation and case.

    Raises:
        ExpectationError: the file cannot be read, or holds something unknown.
    """
    return {} if config.option.lion_expect is None else load(config.option.lion_expect)
