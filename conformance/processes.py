"""What is said of a process that has ended."""

import signal
from typing import IO


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
