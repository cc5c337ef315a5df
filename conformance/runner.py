"""Run cases on an implementation, in processes of their own, so that a crash is a result."""

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lion_ports.conformance.adapters.target import TargetError
from lion_ports.conformance.diagnosis import summary
from lion_ports.conformance.execution import PASSED, Level, Result
from lion_ports.conformance.expectations import Expectation, skipped, with_expectation
from lion_ports.conformance.processes import Worker
from lion_ports.conformance.trial import Case

CASE_SECONDS = 300.0
"""Longest time for one case, in seconds; compilers are slow."""

_START_SECONDS = 300.0
"""Longest time to import a framework."""

_CASES_PER_JOB = 24
"""A process imports a framework first, which takes as long as some dozens of cases."""


@dataclass
class Report:
    """All results of one implementation at one level."""

    name: str
    level: Level
    version: str = "local"
    device: str = "cpu"
    subnormals: str = "kept"
    cases: list[Result] = field(default_factory=list)

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
        case_seconds: the longest time for one case.
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
    }
    session = _Session(request, cases, expect or {}, on_result, case_seconds)
    session.run(jobs)
    results = [session.results[case.id] for case in cases]
    return Report(impl, level, **{"device": device, **session.ready}, cases=results)


def cores() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Session:
    """The cases that are left, and the threads that hand them to workers, one each."""

    def __init__(
        self,
        request: dict[str, Any],
        cases: Sequence[Case],
        expect: Mapping[str, Expectation],
        on_result: Callable[[Result], None],
        seconds: float,
    ) -> None:
        self._request, self._expect, self._seconds = request, expect, seconds
        self._on_result = on_result
        self._lock = threading.Lock()
        self._workers: list[Worker] = []
        self._error: BaseException | None = None
        self._stopped = False
        self.ready: dict[str, str] = {}
        self.results: dict[str, Result] = {}
        self._left: list[Case] = []
        for case in cases:
            if (result := skipped(case, expect.get(case.id))) is None:
                self._left.append(case)
            else:
                self._add(result)

    def run(self, jobs: int) -> None:
        """Run all cases; on an exception, Ctrl-C among them, end all workers first."""
        self._jobs = max(1, min(jobs, len(self._left) // _CASES_PER_JOB))
        threads = [threading.Thread(target=self._serve) for _ in range(self._jobs)]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        finally:
            self._stop()
        if self._error is not None:
            raise self._error

    def _stop(self) -> None:
        with self._lock:
            self._stopped = True
            for worker in self._workers:
                worker.kill()

    def _serve(self) -> None:
        try:
            while self._left and not self._stopped:
                self._serve_with_one_worker()
        except BaseException as error:  # whatever it is, the main thread raises it
            self._error = self._error or error
            self._stop()

    def _serve_with_one_worker(self) -> None:
        threads = max(1, cores() // self._jobs) if self._jobs > 1 else 0
        with Worker(self._request, threads) as worker:
            self._keep(worker)
            try:
                self._shake_hands(worker)
                while (case := self._next()) is not None:
                    began = time.perf_counter()
                    message = worker.ask(case.id, self._seconds)
                    if self._stopped:
                        return
                    if message is None:
                        took = round(time.perf_counter() - began, 4)
                        words = worker.last_words()
                        self._add(Result(case.id, case.rule, "ERROR", detail=words, seconds=took))
                        return
                    self._add(Result(**message))
            finally:
                with self._lock:
                    self._workers.remove(worker)

    def _keep(self, worker: Worker) -> None:
        with self._lock:
            self._workers.append(worker)
            if self._stopped:
                worker.kill()

    def _shake_hands(self, worker: Worker) -> None:
        message = worker.read(_START_SECONDS)
        if self._stopped:
            return
        if message is None:
            impl = self._request["impl"]
            raise TargetError(f"--impl {impl} does not get ready: {worker.last_words()}")
        if "refused" in message:
            raise TargetError(message["refused"])
        self.ready = message

    def _next(self) -> Case | None:
        """From the end, where the long cases are, so that no run ends with one."""
        with self._lock:
            return self._left.pop() if self._left and not self._stopped else None

    def _add(self, result: Result) -> None:
        result = with_expectation(result, self._expect.get(result.id))
        with self._lock:
            self.results[result.id] = result
            self._on_result(result)
