"""Optimizer steps on MLX: eager, and inside ``mx.compile``."""

from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from lion_ports.cli.bench.catalog import Contender
from lion_ports.cli.bench.steps import LEARNING_RATE, Case, Memory, Step, attribute, wall_clock

BANDWIDTH = "mlx: a = a + b on float32"

stopwatch = wall_clock  # each run waits for its results


def prepare(device: str, threads: int, dtype: str) -> str:
    """Choose the device; its name."""
    from lion_ports.trainers.mlx.engine import pick_device

    chosen = pick_device(device)
    mx.set_default_device(chosen)
    mx.random.seed(0)
    return "cpu" if chosen == mx.Device(mx.cpu) else str(mx.device_info()["device_name"])


def notes() -> list[str]:
    """None: ours needs no other package here."""
    return []


def bandwidth(elements: int) -> Step:
    """Read two arrays, write one: 12 bytes an element."""
    a, b = mx.zeros(elements), mx.ones(elements)
    mx.eval(a, b)

    def run() -> None:
        nonlocal a
        a = a + b
        mx.eval(a)

    return Step(run, lambda: 0)


def build(contender: Contender, case: Case) -> Step:
    """The optimizer on a module that has nothing but its parameters, and on their gradients."""
    dtype = getattr(mx, case.dtype)
    model = nn.Module()
    grads: dict[str, mx.array] = {}
    for index, shape in enumerate(case.shapes):
        x, g = (mx.random.normal(shape).astype(dtype) for _ in range(2))
        model[f"p{index}"], grads[f"p{index}"] = x, g
    optimizer = attribute(contender.target)(LEARNING_RATE, **contender.kwargs)
    optimizer.init(model.trainable_parameters())
    mx.eval(model.parameters(), grads, optimizer.state)
    traces = 0

    def update(grads: Any) -> None:
        nonlocal traces
        traces += 1
        optimizer.update(model, grads)

    compiled = contender.way == "compile"
    held = [model.state, optimizer.state]
    step = mx.compile(update, inputs=held, outputs=held) if compiled else update

    def run() -> None:
        step(grads)
        mx.eval(model.state, optimizer.state)

    def set_lr(lr: float) -> None:
        optimizer.learning_rate = lr

    def memory() -> Memory:
        mx.reset_peak_memory()
        before = mx.get_active_memory()
        run()
        return Memory(max(0, mx.get_peak_memory() - before), None)

    def state_bytes() -> int:
        leaves: Any = tree_flatten(optimizer.state)
        return sum(leaf.nbytes for _, leaf in leaves if leaf.ndim > 0)

    return Step(run, state_bytes, memory, set_lr, (lambda: traces) if compiled else None)
