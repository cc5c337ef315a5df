"""Run cases on implementations, each in a process of its own, so that a crash is a result."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from lion_ports.conformance.adapters.target import TargetError
from lion_ports.conformance.diagnosis import summary
from lion_ports.conformance.execution import UNSUPPORTED, Level, Result
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

    @property
    def conforms(self) -> bool:
        """No case failed, and at least one said yes."""
        judged = [result for result in self.cases if result.outcome != UNSUPPORTED]
        return bool(judged) and not any(result.failed for result in judged)

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
) -> Report:
    """Put cases to one implementation. A crashed or hanging process is replaced by a fresh one.

    Raises:
        TargetError: the implementation cannot be imported, or its device is not there.
    """
    report = Report(impl, level, device=device)
    left = [case.id for case in cases]
    rules = {case.id: case.rule for case in cases}
    request = {
        "impl": impl,
        "kwargs": dict(kwargs or {}),
        "rename": dict(rename or {}),
        "device": device,
        "level": level,
    }
    while left:
        with _Worker({**request, "cases": left}) as worker:
            running, before = "", len(left)
            while left and (message := worker.read(case_seconds)):
                if "refused" in message:
                    raise TargetError(message["refused"])
                if "ready" in message:
                    report.version = message["ready"]["version"]
                    report.subnormals = message["ready"]["subnormals"]
                running = message.get("begin", running)
                if "result" in message:
                    _add(report, Result(**message["result"]), on_result)
                    left.remove(running)
                    running = ""
            if running:
                words = worker.last_words()
                _add(report, Result(running, rules[running], "ERROR", detail=words), on_result)
                left.remove(running)
            if len(left) == before:
                raise TargetError(f"--impl {impl} ended its process: {worker.last_words()}")
    return report


def _add(report: Report, result: Result, on_result: Callable[[Result], None]) -> None:
    report.cases.append(result)
    on_result(result)


class _Worker:
    """A worker process, read line by line with a time limit."""

    def __init__(self, request: dict[str, Any]) -> None:
        # -P keeps the current directory off the front of the path, where a user's own `torch` or
        # `cli` would shadow what is installed; the parent's path is passed on instead.
        path = os.pathsep.join(entry for entry in sys.path if entry)
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed by __exit__
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "lion_ports.conformance.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, "PYTHONPATH": path},
            text=True,
            start_new_session=True,
        )
        self._timed_out = False
        self._lines: queue.Queue[str] = queue.Queue()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it died at once; last_words says why
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.close()
        self._stdout = self._process.stdout
        self._thread = threading.Thread(target=self._pump, args=(self._stdout,), daemon=True)
        self._thread.start()

    def __enter__(self) -> "_Worker":
        return self

    def __exit__(self, *exception: object) -> None:
        with contextlib.suppress(ProcessLookupError):  # it ended by itself
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._thread.join()
        self._stdout.close()
        self._errors.close()

    def _pump(self, stream: IO[str]) -> None:
        for line in stream:
            self._lines.put(line)
        self._lines.put("")

    def read(self, seconds: float) -> dict[str, Any] | None:
        """The next message; None if the process has ended or takes too long."""
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            self._timed_out = True
            self._seconds = seconds
            return None
        message: dict[str, Any] | None = json.loads(line) if line else None
        return message

    def last_words(self) -> str:
        """Why the process gave no result."""
        if self._timed_out:
            return f"no result within {self._seconds:g} s; the process was stopped"
        code = self._process.wait()
        self._errors.seek(0)
        words = [line.strip() for line in self._errors if line.strip()]
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
        return f"the process {how}" + (f": {words[-1]}" if words and code > 0 else "")
