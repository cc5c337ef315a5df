"""Measure the contenders of one backend, in the worker's process."""

import gc
from collections.abc import Callable
from importlib import import_module
from typing import Any

from lion_ports.cli.bench.catalog import Contender
from lion_ports.cli.bench.rounds import interleave, spread
from lion_ports.cli.bench.shapes import size
from lion_ports.cli.bench.steps import Case, Step

Tell = Callable[..., None]
"""Reports to the parent: ``tell(event, **fields)``."""

PROBE = "bandwidth"
PROBE_BYTES = 12
_LEAST_ELEMENTS = 1 << 24  # 64 MiB an array: memory, not cache


def measure(request: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """All cases of the request: what is common to them, and ``cases``."""
    framework: Any = import_module(f"lion_ports.cli.bench.steps.{request['backend']}")
    device = framework.prepare(request["device"], request["threads"], request["dtype"])
    contenders = [Contender(**fields) for fields in request["contenders"]]
    cases = []
    for case in request["cases"]:
        shapes = [tuple(shape) for shape in case["shapes"]]
        few = [c for c in contenders if len(shapes) <= c.tensors]
        on = Case(shapes, request["dtype"], request["device"])
        about = {"shapes": case["name"], "tensors": len(shapes), "parameters": size(shapes)}
        cases.append(about | _case(framework, few, on, request, tell))
        cases[-1]["contenders"] += [
            c.entry("skipped", f"not given more than {c.tensors:,} tensors")
            for c in contenders
            if c not in few
        ]
        gc.collect()
    notes = framework.notes() if any(c.ours for c in contenders) else []
    return {"device": device, "notes": notes, "cases": cases}


def _case(
    framework: Any, contenders: list[Contender], case: Case, request: dict[str, Any], tell: Tell
) -> dict[str, Any]:
    entries = {c.name: c.entry("measured") for c in contenders}
    steps: dict[str, Step] = {}

    def failed(name: str, error: Exception) -> None:
        entries[name] |= {"status": "failed", "message": sentence(error)}
        steps.pop(name, None)

    for contender in contenders:
        tell("builds", name=contender.name)
        try:
            step = framework.build(contender, case)
            entries[contender.name]["first_seconds"] = framework.stopwatch(step.run, 1)
            framework.stopwatch(step.run, 2)
            steps[contender.name] = step
        except Exception as error:
            failed(contender.name, error)
    probe = framework.bandwidth(max(size(case.shapes), _LEAST_ELEMENTS))
    framework.stopwatch(probe.run, 2)
    samples, orders = interleave(
        {PROBE: probe.run} | {name: step.run for name, step in steps.items()},
        framework.stopwatch,
        rounds=request["rounds"],
        seconds=request["seconds"],
        seed=request["seed"],
        failed=failed,
        begins=lambda name: tell("times", name=name),
    )
    for name, step in list(steps.items()):
        tell("weighs", name=name)
        try:
            entries[name] |= _figures(step, samples[name], entries[name], case, request)
        except Exception as error:
            failed(name, error)
    moved = PROBE_BYTES * max(size(case.shapes), _LEAST_ELEMENTS)
    probed = spread(samples[PROBE], 1000)
    return {
        "bandwidth": {
            "gb_per_second": moved / 1e6 / probed["median"],
            "method": framework.BANDWIDTH,
            "ms": probed,
        },
        "orders": orders,
        "contenders": list(entries.values()),
    }


def _figures(
    step: Step, samples: list[float], entry: dict[str, Any], case: Case, request: dict[str, Any]
) -> dict[str, Any]:
    time = spread(samples, 1000)
    memory = step.memory() if step.memory is not None and request["memory"] else None
    count = size(case.shapes)
    element = {"float64": 8, "float32": 4}.get(case.dtype, 2)
    state = step.state_bytes() / count
    figures = {
        "ms": time,
        "state_bytes_per_parameter": round(state, 3),
        # x is read and written, g is read, the state is read and written.
        "bytes_per_parameter": round(3 * element + 2 * state, 3),
        "peak_bytes": None if memory is None else memory.peak,
        "temporary_bytes": None if memory is None else memory.temporary,
        "compile_seconds": None,
        "recompilations": None,
    }
    if step.traces is not None:
        figures["compile_seconds"] = max(0.0, entry["first_seconds"] - time["median"] / 1000)
        if step.set_lr is not None:
            before = step.traces()
            for lr in (2e-4, 3e-4, 4e-4):
                step.set_lr(lr)
                step.run()
            figures["recompilations"] = step.traces() - before
    return figures


def sentence(error: Exception) -> str:
    """The kind of error and the first line of what it says."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
