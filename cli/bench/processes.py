"""A process for each backend, one at a time: thread pools and BLAS do not disturb each other."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any

from lion_ports.errors import LionError

Watch = Callable[[dict[str, Any]], None]


class WorkerError(LionError):
    """A process ended without a result; or refused the request, with ``exit_code``."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def run(request: dict[str, Any], watch: Watch) -> tuple[dict[str, Any], dict[str, str]]:
    """The result of ``measure`` in a process of its own, and who made such a process end.

    A contender that takes the process along (a crash, too much memory) is left out of another
    attempt, and returned with the reason.

    Raises:
        WorkerError: the worker refused, or ended while it was at no contender.
    """
    crashed: dict[str, str] = {}
    while True:
        left = [c for c in request["contenders"] if c["name"] not in crashed]
        result, at, reason = _attempt(request | {"contenders": left}, watch)
        if result is not None:
            return result, crashed
        if at is None or not any(c["name"] == at for c in left):
            raise WorkerError(f"the process of {request['backend']} ended early: {reason}")
        crashed[at] = reason


def _attempt(
    request: dict[str, Any], watch: Watch
) -> tuple[dict[str, Any] | None, str | None, str]:
    """The result, or None with the contender that it was at and why the process ended."""
    at: str | None = None
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as words:
        worker = subprocess.Popen(
            [sys.executable, "-m", "lion_ports.cli.bench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=words,
            text=True,
            encoding="utf-8",
            env=_environment(request),
        )
        assert worker.stdin is not None
        assert worker.stdout is not None
        try:
            with contextlib.suppress(BrokenPipeError):  # it has ended; the lines below say why
                worker.stdin.write(json.dumps(request))
                worker.stdin.close()
            for line in worker.stdout:
                event = json.loads(line)
                if event["event"] == "done":
                    found: dict[str, Any] = event["result"]
                    return found, None, ""
                if event["event"] == "refused":
                    raise WorkerError(event["message"], event["exit_code"])
                at = event.get("name")
                watch(event)
            code = worker.wait()
        finally:
            worker.kill()
            worker.wait()
            worker.stdout.close()
        words.seek(0)
        return None, at, _reason(code, words.read())


def _reason(code: int, words: str) -> str:
    if code < 0:
        return f"the process was ended by {signal.Signals(-code).name}"
    lines = words.strip().splitlines()
    return lines[-1] if lines else f"exit code {code}"


def _environment(request: dict[str, Any]) -> dict[str, str]:
    """Threads for those libraries that ask for them before they are told."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    threads = dict.fromkeys(names, str(request["threads"]))
    keras = {"KERAS_BACKEND": request["backend"]} if request["backend"] != "mlx" else {}
    return {**os.environ, **threads, **keras}
