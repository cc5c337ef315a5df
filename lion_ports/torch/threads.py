"""Work dealt out to threads, for compiled code that lets go of the interpreter.

They are torch's own where they can be called. For a while after an operation these keep their cores
busy, waiting for the next one, and other threads would have to share the cores with them.

Not the threads of Numba: of its layers one aborts the process when two optimizers step at once, and
one when a process steps that was forked off another.
"""

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache
from itertools import count
from typing import Any

import torch

# Elements that are worth waking another thread for.
GRAIN = 1 << 19
# Blocks for each thread, so that one that is late, or disturbed, gets fewer of them. Not many, for
# between two blocks it may have to wait for the interpreter.
_BLOCKS = 2

# Of the flags of a process: "forked but did not exec", PF_FORKNOEXEC in sched.h of Linux.
_FORKED = 0x40

_Body = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def in_blocks(work: Callable[[int, int], object], elements: int, *, grain: int = GRAIN) -> None:
    """Call ``work(first, last)`` on ranges that make up ``range(elements)``.

    As many threads take part as torch has at the moment (``torch.set_num_threads``), this one among
    them, if there are ``grain`` elements for each of the others. Returns when all is done; an error
    of a block, or Ctrl-C, is raised when no thread is at work any more.

    >>> covered = []
    >>> in_blocks(lambda first, last: covered.extend(range(first, last)), 10)
    >>> covered == list(range(10))
    True
    """
    available = torch.get_num_threads()
    threads = min(available, 1 + elements // grain)
    if threads == 1:
        work(0, elements)
        return
    blocks, numbers = threads * _BLOCKS, count()
    errors: list[BaseException] = []

    def here() -> None:
        while (i := next(numbers)) < blocks:
            work(elements * i // blocks, elements * (i + 1) // blocks)

    def beside(_: Any = None) -> None:
        try:
            here()
        except BaseException as error:
            errors.append(error)

    # Always all of a team: GNU's ends those of its threads that are left out once.
    call = _call_in_team if threads == available and _team() is not None else _call_in_pool
    try:
        call(here, beside, threads)
        if errors:
            raise errors.pop()
    finally:
        errors.clear()  # their tracebacks have this list, and with it all that was worked on


def _call_in_team(here: Callable[[], None], beside: Callable[..., None], threads: int) -> None:
    """Call one function in this thread, and the other in those that torch has beside it."""
    start, end = _team()
    body = _Body(beside)
    try:
        start(body, None, threads)
        here()
    finally:  # by Ctrl-C as well: what they write to may be let go of after this
        end()


def _call_in_pool(here: Callable[[], None], beside: Callable[..., None], threads: int) -> None:
    """Call one function in this thread, and the other in those of a pool."""
    others = []
    try:
        others += [_pool().submit(beside) for _ in range(threads - 1)]
        here()
    finally:  # as above
        _end(others)


def _end(others: list[Future[None]]) -> None:
    """Wait for those that have begun, even if Ctrl-C comes again; the rest are left out."""
    try:
        wait([other for other in others if not other.cancel()])
    except BaseException:
        _end(others)
        raise


@cache
def _team() -> Any:
    """How GNU's OpenMP, which torch uses on Linux, or LLVM's starts a team, and waits for its end.

    None where there is neither; nor in a process that was forked off, which would wait for threads
    of its parent. The function that a team is started with is called in all of its threads but the
    calling one. https://gcc.gnu.org/onlinedocs/libgomp/Implementing-PARALLEL-Construct.html
    """
    names = "GOMP_parallel_start", "GOMP_parallel_end"
    library = ctypes.CDLL(None) if _begun_by_itself() else None
    if not all(hasattr(library, name) for name in names):
        return None
    start, end = (getattr(library, name) for name in names)
    start.restype = end.restype = None
    start.argtypes, end.argtypes = (_Body, ctypes.c_void_p, ctypes.c_uint), ()
    return start, end


def _begun_by_itself() -> bool:
    """Whether this process has run a program of its own since its fork, as far as Linux tells."""
    if not os.path.exists("/proc/self/stat"):
        return False
    with open("/proc/self/stat", encoding="utf-8") as file:
        _, _, fields = file.read().rpartition(")")  # a name in parentheses stands before them
    return not int(fields.split()[6]) & _FORKED


@cache
def _pool() -> ThreadPoolExecutor:
    """The threads of this process; they are started as they are needed."""
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="lion")


if hasattr(os, "register_at_fork"):  # threads do not survive a fork
    for threads_of in (_team, _pool):
        os.register_at_fork(after_in_child=threads_of.cache_clear)
