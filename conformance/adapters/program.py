"""A process that answers a line of JSON with a line of JSON."""

import contextlib
import errno
import json
import os
import select
import shlex
import subprocess
import time
import weakref
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from lion_ports.conformance.bits import DTYPES
from lion_ports.conformance.processes import how_it_ended
from lion_ports.conformance.protocol import UnsupportedError

PROTOCOL = 1
"""The version that the handshake asks for."""

PAGE = "docs/conformance-exec.md"


class RefusedError(RuntimeError):
    """The program answered with an error of its own."""


class ProgramError(Exception):
    """The program ended, or gave something that the protocol does not know."""


class Program:
    """One process, and the lines that go to and from it.

    Args:
        command: as a shell has it.
        seconds: the longest time to shake hands; None: as long as it takes.

    Raises:
        ProgramError: it cannot be started, it ended, it is late, or its answer is not one.
    """

    def __init__(self, command: str, seconds: float | None = None) -> None:
        words = _split(command)
        self._errors = TemporaryFile("w+")  # noqa: SIM115  # closed by _end
        try:
            self._process = subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors
            )
        except OSError as error:
            self._errors.close()
            raise ProgramError(_why_not(words[0], error)) from error
        self._end = weakref.finalize(self, _end, self._process, self._errors)
        self.hello = self._ask("hello", seconds, protocol=PROTOCOL)
        if (spoken := self.hello.get("protocol")) != PROTOCOL:
            raise ProgramError(
                f"the program speaks protocol {spoken!r}, and this suite speaks {PROTOCOL} ({PAGE})"
            )
        dtypes = self.hello.get("dtypes")
        if not isinstance(dtypes, list) or not any(name in dtypes for name in DTYPES):
            raise ProgramError(
                "the answer to 'hello' names no dtype that the suite knows; it has to say which it "
                f'takes, as "dtypes": ["float32"] ({PAGE})'
            )

    def ask(self, what: str, **arguments: Any) -> dict[str, Any]:
        """The answer to one request.

        Raises:
            RefusedError: the program answered with ``error``.
            UnsupportedError: it answered with ``unsupported``.
            ProgramError: it ended, or its answer is not one.
        """
        return self._ask(what, None, **arguments)

    def _ask(self, what: str, seconds: float | None, **arguments: Any) -> dict[str, Any]:
        request = json.dumps({"do": what, **arguments}, allow_nan=False) + "\n"
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, perhaps with some last answer
            self._process.stdin.write(request.encode())
            self._process.stdin.flush()
        line = self._line(seconds)
        if line is None:
            raise ProgramError(
                f"no answer to {what!r} within {seconds:g} s; the program was stopped"
            )
        if not line.endswith(b"\n"):
            words = how_it_ended(self._process.wait(), self._errors)
            raise ProgramError(
                f"the program {words}, and gave no answer to {what!r}; it has to answer each line "
                f"on stdin with one on stdout, until stdin ends ({PAGE})"
            )
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise ProgramError(
                f"the answer to {what!r} is {_short(line)}, not a line with a JSON object; what is "
                f"no answer belongs on stderr ({PAGE})"
            )
        if "unsupported" in answer:
            raise UnsupportedError(str(answer["unsupported"]))
        if "error" in answer:
            raise RefusedError(str(answer["error"]))
        return answer

    def _line(self, seconds: float | None) -> bytes | None:
        """The next line, or what came of it before the end; None if it takes too long."""
        assert self._process.stdout is not None
        if seconds is None:
            return self._process.stdout.readline()
        line, end = b"", time.monotonic() + seconds
        while not line.endswith(b"\n"):
            left = max(0.0, end - time.monotonic())
            if not select.select([self._process.stdout], [], [], left)[0]:
                return None
            # One byte each, and past the buffer: what follows the line is there for readline.
            byte = os.read(self._process.stdout.fileno(), 1)
            if not byte:
                break
            line += byte
        return line


def _split(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError as error:
        raise ProgramError(
            f"a shell could not split this into words ({error}); quote what belongs together"
        ) from error


def _why_not(program: str, error: OSError) -> str:
    """Why a program cannot be started, and what to do about it."""
    interpreter = f"as --exec 'python {program}'"
    if Path(program).is_dir():
        return f"{program!r} is a folder; name a program in it"
    if isinstance(error, FileNotFoundError) and "/" not in program:
        return f"there is no program {program!r} on the PATH; one that is here is ./{program}"
    if isinstance(error, FileNotFoundError) and not Path(program).exists():
        return f"there is no file {program!r}; name a program, as --exec ./my_lion"
    if isinstance(error, FileNotFoundError):
        return f"the interpreter that the first line of {program!r} names is not there; correct it"
    if isinstance(error, PermissionError):
        return (
            f"{program!r} is not executable; chmod +x {shlex.quote(program)} makes it so, or name "
            f"what runs it, {interpreter}"
        )
    if error.errno == errno.ENOEXEC:
        return (
            f"{program!r} is nothing that this system can run; give a script a first line such as "
            f"#!/usr/bin/env python3, or name what runs it, {interpreter}"
        )
    return f"{program!r} cannot be started ({error.strerror}); see that a shell can run it here"


def _short(line: bytes) -> str:
    text = repr(line.decode(errors="replace").rstrip("\n"))
    return text if len(text) <= 60 else f"{text[:57]}..."


def _end(process: subprocess.Popen[bytes], errors: Any) -> None:
    """A program that is no longer needed; most end by themselves when their input does."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.kill()
    process.wait()
    for stream in (process.stdout, errors):
        stream.close()
    with contextlib.suppress(BrokenPipeError):  # with a request that it never took
        process.stdin.close()
