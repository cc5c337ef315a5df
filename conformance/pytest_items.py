"""The tests that ``pytest --lion-impl`` adds: imported by the plugin when there are any."""

from pathlib import Path
from typing import Any

import pytest

from lion_ports.conformance import arguments
from lion_ports.conformance.cases import select
from lion_ports.conformance.execution import UNSUPPORTED, Result
from lion_ports.conformance.expectations import Expectation, load, skipped, with_expectation
from lion_ports.conformance.processes import Worker
from lion_ports.conformance.reports import words
from lion_ports.conformance.runner import CASE_SECONDS, Report, variables
from lion_ports.conformance.trial import Case


class LionFailureError(Exception):
    """A case failed, in the suite's words."""


class Suite(pytest.Collector):
    """The cases of one implementation, and the process that it runs in."""

    _worker: Worker | None = None
    _refused = ""

    def collect(self) -> list["CaseItem"]:
        """An item for each case."""
        known = expectations(self.config).get(self.name, {})
        return [
            CaseItem.from_parent(self, name=case.id, case=case, expectation=known.get(case.id))
            for case in select(tuple(self.config.option.lion_case))
        ]

    def result(self, case: Case) -> Result:
        """Put a case to the implementation; a process that has died is replaced for the next.

        Raises:
            LionFailureError: there is no such implementation, or it cannot be imported.
        """
        worker = self._started()
        message = worker.ask(case.id, CASE_SECONDS)
        if message is not None:
            return Result(**message)
        last = worker.last_words()
        self.end()
        return Result(case.id, case.rule, "ERROR", detail=last)

    def report(self) -> Report:
        """What the suite's words need to know of the implementation."""
        options = self.config.option
        given = arguments.words(*kwargs_and_renames(self.config))
        if options.lion_expect is not None:
            given += ("--expect", str(options.lion_expect))
        return Report(
            self.name,
            options.lion_level,
            device=options.lion_device,
            arguments=given,
            environment=variables(self.name),
        )

    def _started(self) -> Worker:
        """The process, imported and ready."""
        if self._worker is None and not self._refused:
            options = self.config.option
            kwargs, rename = kwargs_and_renames(self.config)
            request = {"impl": self.name, "kwargs": kwargs, "rename": rename}
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

    def __init__(self, *, case: Case, expectation: Expectation | None, **more: Any) -> None:
        super().__init__(**more)
        self._case, self._expectation = case, expectation

    def runtest(self) -> None:
        """Pass, skip, or fail with the suite's words."""
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
            lines = [
                f"{result.outcome}  {result.id}  {result.rule}  {self._case.reason}",
                words.note(result),
                *words.behaves(result.diagnosis[:2]),
                words.replay(self.parent.report(), result.id),
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
