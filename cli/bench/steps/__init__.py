"""One optimizer step on each framework: the modules of this folder have the same functions.

prepare(request)               before anything is built: threads, dtypes; returns the device
build(contender, case)         a Step
bandwidth(elements)            a Step that only moves memory
stopwatch(run, count)          seconds of so many runs, finished on the device
notes()                        what makes ours slower here than it could be, after the measurement
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple

LEARNING_RATE = 1e-4


class Memory(NamedTuple):
    """Bytes of one step beyond parameters, gradients and state.

    ``peak`` is the most at one time, ``temporary`` what the framework says that it allocates for
    temporaries, None where it does not say.
    """

    peak: int
    temporary: int | None


@dataclass(frozen=True)
class Step:
    """An optimizer with its parameters and gradients.

    Args:
        run: one step; on the CPU it is finished when this returns.
        state_bytes: of the optimizer's state.
        memory: what another step allocates; None where it cannot be told.
        set_lr: change the learning rate; None where that makes another optimizer.
        traces: how often the framework has traced or compiled the step; None if it never does.
    """

    run: Callable[[], object]
    state_bytes: Callable[[], int]
    memory: Callable[[], Memory] | None = None
    set_lr: Callable[[float], None] | None = None
    traces: Callable[[], int] | None = None


class Case(NamedTuple):
    """Shapes of the parameters, their dtype (also of gradients and state), and the device."""

    shapes: Sequence[tuple[int, ...]]
    dtype: str
    device: str


def wall_clock(run: Callable[[], object], count: int) -> float:
    """Seconds of ``count`` runs that are finished when they return."""
    begun = time.perf_counter()
    for _ in range(count):
        run()
    return time.perf_counter() - begun


def attribute(target: str) -> Any:
    """``"module:name"``, imported."""
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)
