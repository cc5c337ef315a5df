"""The process in which one implementation runs: a request on stdin, a JSON line per result."""

import json
import os
import sys
from collections.abc import Callable
from typing import Any

from lion_ports.conformance.adapters import TargetError, adapt, find
from lion_ports.conformance.cases import CASES
from lion_ports.conformance.execution import run_case


def main() -> None:
    """Serve one request.

    The request is ``{"impl", "kwargs", "rename", "device", "level", "cases"}``. The answer begins
    with ``{"ready": {...}}`` or ``{"refused": sentence}``; then each case gives ``{"begin": id}``
    and ``{"result": {...}}``. What the implementation itself prints goes to stderr.
    """
    request = json.loads(sys.stdin.readline())
    answer = _private_stdout()
    target = find(request["impl"], request["kwargs"], request["rename"])
    try:
        adapter = adapt(target, request["device"])
    except TargetError as error:
        answer({"refused": str(error)})
        return
    answer(
        {
            "ready": {
                "version": adapter.version,
                "device": adapter.device,
                "subnormals": "flushed" if adapter.flushes else "kept",
            }
        }
    )
    for name in request["cases"]:
        answer({"begin": name})
        result = run_case(CASES[name], adapter.make, request["level"], flush=adapter.flushes)
        answer({"result": result.as_dict()})


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
