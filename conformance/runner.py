"""Run cases on an implementation, in processes of their own, so that a crash is a result."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lion_ports.conformance import arguments
from lion_ports.conformance.diagnosis import summary
from lion_ports.conformance.execution import PASSED, Level, Result
from lion_ports.conformance.expectations import Expectation
from lion_ports.conformance.session import Session
from lion_ports.conformance.trial import Case

CASE_SECONDS = 300.0
"""Longest time for one case, in seconds; compilers are slow."""


@dataclass
class Report:
    """All results of one implementation at one level."""

    name: str
    level: Level
    version: str = "local"
    device: str = "cpu"
    subnormals: str = "kept"
    cases: list[Result] = field(default_factory=list)
    arguments: tuple[str, ...] = ()
    """Words of the command line beside all that, without which a case would be another one."""
    environment: tuple[str, ...] = ()
    """Variables that its processes read, as ``NAME=VALUE``."""
    seconds: float = 0.0
    """How long it took, by the clock on the wall."""

    @property
    def conforms(self) -> bool:
        """No case failed, and at least one said yes."""
        passed = any(result.outcome in PASSED for result in self.cases)
        return passed and not any(result.failed for result in self.cases)

    @property
    def diagnosis(self) -> list[str]:
        """The mutants that explain the failures, the most telling first."""
        return summary(result.diagnosis for result in self.cases if result.failed)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.name,
            "version": self.version,
            "device": self.device,
            "subnormals": self.subnormals,
            "level": self.level,
            "conforms": self.conforms,
            "diagnosis": self.diagnosis,
            "cases": [result.as_dict() for result in self.cases],
        }


def run(
    impl: str,
    cases: Sequence[Case],
    level: Level,
    *,
    kwargs: Mapping[str, Any] | None = None,
    rename: Mapping[str, str] | None = None,
    device: str = "cpu",
    on_result: Callable[[Result], None] = lambda result: None,
    case_seconds: float = CASE_SECONDS,
    jobs: int = 1,
    expect: Mapping[str, Expectation] | None = None,
) -> Report:
    """Put cases to one implementation. A crashed or hanging process is replaced by a fresh one.

    Args:
        impl: what ``--impl`` names.
        cases: in the order of the report, whatever order they end in.
        level: what is asked for.
        kwargs: arguments to construct with, where a case does not set them.
        rename: what the implementation calls an argument of ours.
        device: of its framework.
        on_result: called after each case, by one thread at a time.
        case_seconds: the longest time for one case, and for a program to shake hands.
        jobs: processes at the same time; a few cases get fewer.
        expect: by case, what is known beforehand.

    Raises:
        TargetError: the implementation cannot be imported, or its device is not there.
    """
    request = {
        "impl": impl,
        "kwargs": dict(kwargs or {}),
        "rename": dict(rename or {}),
        "device": device,
        "level": level,
        "seconds": case_seconds,
    }
    began = time.perf_counter()
    session = Session(request, cases, expect or {}, on_result, case_seconds)
    session.run(jobs, cores())
    results = [session.results[case.id] for case in cases]
    words = arguments.words(kwargs or {}, rename or {})
    if case_seconds != CASE_SECONDS:
        words += ("--timeout", f"{case_seconds:g}")
    ready: dict[str, Any] = {"device": device, **session.ready}
    report = Report(impl, level, **ready, arguments=words, environment=variables(impl))
    report.cases, report.seconds = results, time.perf_counter() - began
    return report


def variables(impl: str) -> tuple[str, ...]:
    """The environment variables, as ``NAME=VALUE``, that decide what ``--impl`` names here."""
    names = ("KERAS_BACKEND",) if impl.startswith("keras:") else ()
    return tuple(f"{name}={os.environ[name]}" for name in names if name in os.environ)


def cores() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
