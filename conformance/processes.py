"""A worker process, and what is said of a process that has ended."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from typing import IO, Any

from lion_ports.conformance.adapters.target import TargetError

START_SECONDS = 300.0
"""Longest time to get ready, which takes the import of a framework."""


class Worker:
    """A process of ``lion_ports.conformance.worker``, read line by line with a time limit.

    Args:
        request: its first line.
        threads: how many threads its numerical libraries may use, where the environment does not
            say so; 0: as many as they like.
    """

    def __init__(self, request: dict[str, Any], threads: int = 0) -> None:
        # -P keeps the current directory off the front of the path, where a user's own `torch` or
        # `cli` would shadow what is installed; the parent's path is passed on instead.
        path = os.pathsep.join(entry for entry in sys.path if entry)
        limit = {"OMP_NUM_THREADS": str(threads)} if threads else {}
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed by __exit__
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "lion_ports.conformance.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**limit, **os.environ, "PYTHONPATH": path},
            text=True,
            start_new_session=True,  # so that all that it starts can be ended with it
        )
        self._impl = request["impl"]
        self._late: float | None = None
        self._lines: queue.Queue[str] = queue.Queue()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self._thread = threading.Thread(target=self._pump, daemon=True)
        self._thread.start()
        self._send(request)

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()
        self._process.wait()
        self._thread.join()
        self._stdout.close()
        self._errors.close()
        with contextlib.suppress(BrokenPipeError):  # with a line that it never took
            self._stdin.close()

    def kill(self) -> None:
        """End it, and all processes that it started; ``read`` then gives None."""
        with contextlib.suppress(ProcessLookupError):  # it ended by itself
            os.killpg(self._process.pid, signal.SIGKILL)

    def shake_hands(self) -> dict[str, str]:
        """What is known of the implementation when it has been imported.

        Raises:
            TargetError: it cannot be imported, or its process ends or hangs before that.
        """
        message = self.read(START_SECONDS)
        if message is None:
            raise TargetError(f"--impl {self._impl} does not get ready: {self.last_words()}")
        if "refused" in message:
            raise TargetError(message["refused"])
        return message

    def ask(self, message: Any, seconds: float) -> dict[str, Any] | None:
        """Send a line of JSON and read the next one, as ``read`` does."""
        self._send(message)
        return self.read(seconds)

    def read(self, seconds: float) -> dict[str, Any] | None:
        """The next message; None if the process has ended or takes too long."""
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            self._late = seconds
            return None
        message: dict[str, Any] | None = json.loads(line) if line else None
        return message

    def last_words(self) -> str:
        """Why the process gave no result."""
        if self._late is not None:
            return f"no result within {self._late:g} s; the process was stopped"
        return f"the process {how_it_ended(self._process.wait(), self._errors)}"

    def _send(self, message: Any) -> None:
        with contextlib.suppress(BrokenPipeError):  # it has died, and last_words says why
            self._stdin.write(json.dumps(message) + "\n")
            self._stdin.flush()

    def _pump(self) -> None:
        for line in self._stdout:
            self._lines.put(line)
        self._lines.put("")


def how_it_ended(code: int, errors: IO[str]) -> str:
    """In words: by which signal, or with which status and which last line on stderr.

    Args:
        code: the return code of ``subprocess``, negative for a signal.
        errors: a file with all that it wrote to stderr.
    """
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    errors.seek(0)
    words = [line.strip() for line in errors if line.strip()]
    return f"exited with {code}" + (f": {words[-1]}" if words and code > 0 else "")
