"""Work dealt out to threads, for compiled code that lets go of the interpreter.

They are torch's own where they can be called. For a while after an operation these keep their cores
busy, waiting for the next one, and other threads would have to share the cores with them.

Not the threads of Numba: of its layers one aborts the process when two optimizers step at once, and
one when a process steps that was forked off another.
"""

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from itertools import count
from threading import get_ident
from typing import Any

import torch

# Elements that are worth waking another thread for.
GRAIN = 1 << 19
# Blocks for each thread, so that one that is late, or disturbed, gets fewer of them. Not
# many, for between two blocks it may have to wait for the interpreter.
_BLOCKS = 2

# Of the flags of a process: "forked but did not exec", PF_FORKNOEXEC in sched.h of Linux.
_FORKED = 0x40

_Body = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def in_blocks(work: Callable[[int, int], object], elements: int, *, grain: int = GRAIN) -> None:
    """Call ``work(first, last)`` on ranges that make up ``range(elements)``.

    As many threads take part as torch has at the moment (``torch.set_num_threads``), this one among
    them, if there are ``grain`` elements for each of the others. Returns when all is done.

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

    def take_blocks() -> None:
        while (i := next(numbers)) < blocks:
            work(elements * i // blocks, elements * (i + 1) // blocks)

    # Always all of a team: GNU's ends those of its threads that are left out once.
    call = _call_in_team if threads == available and _parallel() is not None else _call_in_pool
    call(take_blocks, threads)


def _call_in_team(task: Callable[[], None], threads: int) -> None:
    """Call a task in so many threads at once, this one and those that torch has beside it."""
    errors: dict[int, BaseException | None] = {}

    def body(_: Any) -> None:
        error = None
        try:
            task()
        except BaseException as raised:
            error = raised
        errors[get_ident()] = error

    parallel: Any = _parallel()
    parallel(_Body(body), None, threads, 0)
    # Ctrl-C in this thread before the first line of ``body`` does not come out of it.
    here = errors.pop(get_ident(), KeyboardInterrupt())
    for error in (here, *errors.values()):
        if error is not None:
            raise error


def _call_in_pool(task: Callable[[], None], threads: int) -> None:
    """Call a task in so many threads at once, this one and those of a pool."""
    others = [_pool().submit(task) for _ in range(threads - 1)]
    try:
        task()
    finally:  # by Ctrl-C as well: what they write to may be let go of after this
        begun = [other for other in others if not other.cancel()]
        wait(begun)
    for other in begun:
        other.result()


@cache
def _parallel() -> Any:
    """``GOMP_parallel`` of GNU's OpenMP, which torch uses on Linux, or LLVM's; None without it.

    It calls a function with an argument in so many threads, and returns when they have done. In a
    process that was forked off it may wait for threads of the parent, and is not used.
    """
    parallel = getattr(ctypes.CDLL(None), "GOMP_parallel", None) if _begun_by_itself() else None
    if parallel is not None:
        parallel.restype = None
        parallel.argtypes = (_Body, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
    return parallel


def _begun_by_itself() -> bool:
    """Whether this process has run a program of its own since its fork, as far as Linux tells.

    >>> isinstance(_begun_by_itself(), bool)
    True
    """
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
    for threads_of in (_parallel, _pool):
        os.register_at_fork(after_in_child=threads_of.cache_clear)
