"""Work dealt out to threads, for compiled code that lets go of the interpreter.

Not the threads of Numba: of its layers one aborts the process when two optimizers step at once, and
one when a process steps that was forked off another.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from itertools import count

import torch

# Elements that are worth waking another thread for.
GRAIN = 1 << 19
# Blocks for each thread, so that one that is late, or disturbed, gets fewer of them.
_BLOCKS = 4


def in_blocks(work: Callable[[int, int], object], elements: int, *, grain: int = GRAIN) -> None:
    """Call ``work(first, last)`` on ranges that make up ``range(elements)``.

    As many threads take part as torch has at the moment (``torch.set_num_threads``), this one among
    them, if there are ``grain`` elements for each of the others. Returns when all is done.

    >>> covered = []
    >>> in_blocks(lambda first, last: covered.extend(range(first, last)), 10)
    >>> covered == list(range(10))
    True
    """
    threads = min(torch.get_num_threads(), 1 + elements // grain)
    if threads == 1:
        work(0, elements)
        return
    blocks, numbers = threads * _BLOCKS, count()

    def take_blocks() -> None:
        while (i := next(numbers)) < blocks:
            work(elements * i // blocks, elements * (i + 1) // blocks)

    others = [_pool().submit(take_blocks) for _ in range(threads - 1)]
    try:
        take_blocks()
    finally:  # by Ctrl-C as well: what they write to may be let go of after this
        begun = [other for other in others if not other.cancel()]
        wait(begun)
    for other in begun:
        other.result()


@cache
def _pool() -> ThreadPoolExecutor:
    """The threads of this process; they are started as they are needed."""
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="lion")


if hasattr(os, "register_at_fork"):  # threads do not survive a fork
    os.register_at_fork(after_in_child=_pool.cache_clear)
