"""One run: threads that put cases to worker processes, and gather what comes."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lion_ports.conformance.adapters.target import TargetError
from lion_ports.conformance.execution import Result, not_run
from lion_ports.conformance.expectations import Expectation, skipped, with_expectation
from lion_ports.conformance.patience import Patience
from lion_ports.conformance.processes import Worker
from lion_ports.conformance.trial import Case

CASES_PER_JOB = 24
"""A process imports a framework first, which takes as long as some dozens of cases."""


class Session:
    """The cases that are left, and the threads that hand them to workers, one each.

    Args:
        request: the first line for every worker.
        cases: in any order; those that take long stand at the end.
        expect: by case, what is known beforehand.
        on_result: called after each case, by one thread at a time.
        seconds: the longest time for one case.
    """

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
        self._patience = Patience()
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

    def run(self, jobs: int, cores: int) -> None:
        """Run all cases; on an exception, Ctrl-C among them, end all workers first.

        Raises:
            TargetError: the implementation cannot be imported, or does not get ready.
        """
        jobs = max(1, min(jobs, len(self._left) // CASES_PER_JOB))
        self._cores_each = max(1, cores // jobs) if jobs > 1 else 0
        threads = [threading.Thread(target=self._serve) for _ in range(jobs)]
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
        with Worker(self._request, self._cores_each) as worker:
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
                        self._add_death(case, worker.last_words(), took)
                        return
                    result = Result(**message)
                    with self._lock:
                        self._patience.answered(case, result)
                    self._add(result)
            finally:
                with self._lock:
                    self._workers.remove(worker)

    def _keep(self, worker: Worker) -> None:
        with self._lock:
            self._workers.append(worker)
            if self._stopped:
                worker.kill()

    def _shake_hands(self, worker: Worker) -> None:
        try:
            self.ready = worker.shake_hands()
        except TargetError:
            if not self._stopped:
                raise

    def _next(self) -> Case | None:
        """From the end, where the long cases are, so that no run ends with one."""
        with self._lock:
            if not self._left or self._stopped:
                return None
            return self._left.pop(self._patience.pick(self._left))

    def _add_death(self, case: Case, words: str, seconds: float) -> None:
        """A case that got no answer; where it was one too many, none of those left is run."""
        result = self._add(Result(case.id, case.rule, "ERROR", detail=words, seconds=seconds))
        left: list[Case] = []
        with self._lock:
            if result.failed:  # and was not expected to
                self._patience.died(case, words)
            if self._patience.lost:
                left, self._left = self._left, []
        for case in left:
            self._add(not_run(case, self._patience.lost))

    def _add(self, result: Result) -> Result:
        result = with_expectation(result, self._expect.get(result.id))
        with self._lock:
            self.results[result.id] = result
            self._on_result(result)
        return result
