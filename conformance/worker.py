"""The process in which one implementation runs: a request and case ids on stdin, JSON on stdout."""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from lion_ports.conformance.adapters import TargetError, adapt, find
from lion_ports.conformance.cases import CASES
from lion_ports.conformance.execution import run_case


def main() -> None:
    """Serve until stdin ends, one line of JSON for each line.

    The first line is ``{"impl", "kwargs", "rename", "device", "level", "seconds"}``, and its answer
    ``{"version", "device", "subnormals"}`` or ``{"refused": sentence}``. Every other line is the id
    of a case, and its answer the result. What the implementation itself prints goes to stderr.
    """
    lines = sys.stdin
    request = json.loads(lines.readline())
    answer = _private_stdout()
    target = find(request["impl"], request["kwargs"], request["rename"])
    target = replace(target, seconds=request["seconds"])
    try:
        adapter = adapt(target, request["device"])
    except TargetError as error:
        answer({"refused": str(error)})
        return
    subnormals = "flushed" if adapter.flushes else "kept"
    answer({"version": adapter.version, "device": adapter.device, "subnormals": subnormals})
    for line in lines:
        case = CASES[json.loads(line)]
        answer(run_case(case, adapter.make, request["level"], flush=adapter.flushes).as_dict())


def _private_stdout() -> Callable[[dict[str, Any]], None]:
    """A channel that nobody else writes to; file descriptor 1 becomes a copy of stderr."""
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(message: dict[str, Any]) -> None:
        channel.write(json.dumps(message) + "\n")
        channel.flush()

    return answer


if __name__ == "__main__":
    main()
