"""Optimizer steps on PyTorch."""

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from lion_ports.cli.bench.catalog import Contender
from lion_ports.cli.bench.steps import LEARNING_RATE, Case, Memory, Step, attribute
from lion_ports.errors import install_command

BANDWIDTH = "torch: a.add_(b) on float32"

_device = torch.device("cpu")


def prepare(device: str, threads: int, dtype: str) -> str:
    """Choose device and threads; the device's name."""
    from lion_ports.trainers.torch.engine import pick_device

    global _device
    _device = pick_device(device)
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    return torch.cuda.get_device_name() if _device.type == "cuda" else str(_device)


def notes() -> list[str]:
    """Whether ours had to do without its kernel on the CPU."""
    from lion_ports.torch.cpu_table import has_kernel

    if _device.type != "cpu" or has_kernel():
        return []
    return [
        "numba is missing or broken, so that lion-ports makes its steps by torch's own operations, "
        f"several times slower: {install_command('torch')}"
    ]


def stopwatch(run: Callable[[], object], count: int) -> float:
    """Seconds of ``count`` runs; by the GPU's own clock on CUDA."""
    if _device.type == "cuda":
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(count):
            run()
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end)) / 1000
    _synchronise()
    begun = time.perf_counter()
    for _ in range(count):
        run()
    _synchronise()
    return time.perf_counter() - begun


def bandwidth(elements: int) -> Step:
    """Read two arrays, write one: 12 bytes an element."""
    a, b = (torch.zeros(elements, device=_device) for _ in range(2))
    return Step(lambda: a.add_(b), lambda: 0)


def build(contender: Contender, case: Case) -> Step:
    """The optimizer on parameters and gradients of its own."""
    dtype = getattr(torch, case.dtype)
    xs, gs = (
        [torch.randn(shape, device=_device).to(dtype) for shape in case.shapes] for _ in range(2)
    )
    if contender.way == "keras":
        return _keras(contender, xs, gs)
    parameters = [torch.nn.Parameter(x) for x in xs]
    for parameter, g in zip(parameters, gs, strict=True):
        parameter.grad = g
    optimizer = attribute(contender.target)(parameters, lr=LEARNING_RATE, **contender.kwargs)

    def set_lr(lr: float) -> None:
        for group in optimizer.param_groups:
            group["lr"] = lr

    def state_bytes() -> int:
        slots = [slot for state in optimizer.state.values() for slot in state.values()]
        return sum(slot.nbytes for slot in slots if isinstance(slot, torch.Tensor))

    run, traces = optimizer.step, None
    if contender.way == "compile":
        from torch._dynamo.testing import CompileCounterWithBackend

        counter = CompileCounterWithBackend("inductor")
        run = torch.compile(optimizer.step, backend=counter)
        traces = lambda: int(counter.frame_count)  # noqa: E731
    return Step(run, state_bytes, lambda: _memory(run), set_lr, traces)


def _keras(contender: Contender, xs: list[torch.Tensor], gs: list[torch.Tensor]) -> Step:
    """Keras' optimizer on its own variables, as ``model.fit`` applies it."""
    import keras

    variables = [keras.Variable(x, dtype=str(x.dtype).removeprefix("torch.")) for x in xs]
    optimizer = attribute(contender.target)(LEARNING_RATE, **contender.kwargs)
    optimizer.build(variables)

    def run() -> None:
        optimizer.apply(gs, variables)

    def set_lr(lr: float) -> None:
        optimizer.learning_rate = lr

    return Step(
        run,
        lambda: sum(v.value.nbytes for v in optimizer.variables),
        lambda: _memory(run),
        set_lr,
    )


def _memory(run: Callable[[], object]) -> Memory:
    """By the allocator of CUDA; on the CPU by torch's profiler, which sees what torch allocates."""
    if _device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        torch.cuda.synchronize()
        return Memory(torch.cuda.max_memory_allocated() - before, None)
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        run()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profile.export_chrome_trace(str(trace))
        events: list[dict[str, Any]] = json.loads(trace.read_text())["traceEvents"]
    held = peak = total = 0
    for event in sorted(
        (e for e in events if e.get("name") == "[memory]"), key=lambda e: e["args"]["Ev Idx"]
    ):
        change = int(event["args"]["Bytes"])
        held, total = held + change, total + max(change, 0)
        peak = max(peak, held)
    return Memory(peak, total)


def _synchronise() -> None:
    if _device.type == "mps":
        torch.mps.synchronize()
