"""The process of one backend: a request on stdin, events as JSON lines on what was stdout."""

import json
import os
import sys
from importlib import import_module

from lion_ports.errors import LionError


def main() -> None:
    """Measure what the request asks for, and report it as the last event."""
    # What libraries print goes to stderr: stdout is for the events.
    channel = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)

    def tell(event: str, **fields: object) -> None:
        channel.write(json.dumps({"event": event, **fields}) + "\n")

    request = json.load(sys.stdin)
    if hasattr(os, "sched_setaffinity"):
        # The frameworks count the cores that they may use, each in its own way.
        allowed = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, allowed[: request["threads"]])
    try:
        measure = import_module(f"lion_ports.cli.bench.{request['measure']}").measure
        tell("done", result=measure(request, tell))
    except LionError as error:
        tell("refused", message=str(error), exit_code=getattr(error, "exit_code", 2))


if __name__ == "__main__":
    main()
