"""Measure the trainer and the hand-written loops of one backend, in the worker's process."""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lion_ports.cli.bench.catalog import ALONE, HAND_WRITTEN, TRAINER, Contender
from lion_ports.cli.bench.measure import Tell, sentence
from lion_ports.cli.bench.rounds import interleave, spread
from lion_ports.cli.bench.steps import Case
from lion_ports.trainers.architecture import Architecture
from lion_ports.trainers.batches import training_batch
from lion_ports.trainers.engine import EngineSettings, build_engine
from lion_ports.trainers.init import initial_parameters
from lion_ports.trainers.presets import preset_values

Step = Callable[[NDArray[np.int32], float], float]
"""A training step: tokens ``[B, T + 1]`` and the learning rate to the loss before the update."""

_WATCHED = 3  # first losses that are reported, which show that all train the same model


def measure(request: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """The trainer, the loops, and the optimizer alone, in interleaved rounds."""
    backend = request["backend"]
    values = preset_values(request["preset"], "lion")
    loops: Any = import_module(f"lion_ports.cli.bench.loops.{backend}")
    steps: Any = import_module(f"lion_ports.cli.bench.steps.{backend}")
    device = steps.prepare(request["device"], request["threads"], "float32")
    parts = ("layers", "width", "heads", "hidden", "sequence")
    architecture = Architecture(**{name: values[name] for name in parts})
    given = EngineSettings(
        architecture, "lion", values["betas"], values["weight_decay"], 1.0, request["device"]
    )
    weights = initial_parameters(architecture, 0)
    shapes = list(architecture.shapes().values())
    contenders = [Contender(**fields) for fields in request["contenders"]]
    entries = {c.name: c.entry("measured") for c in contenders}
    runs: dict[str, Callable[[], object]] = {}

    def failed(name: str, error: Exception) -> None:
        entries[name] |= {"status": "failed", "message": sentence(error)}
        runs.pop(name, None)

    batch = partial(_batch, _text(), values)
    for contender in contenders:
        tell("builds", name=contender.name)
        try:
            if contender.name == ALONE:
                built = steps.build(contender, Case(shapes, "float32", request["device"]))
                runs[ALONE] = built.run
                built.run()
                continue
            step: Step
            if contender.way == HAND_WRITTEN:
                step = loops.hand_written(contender, given, weights)
            else:
                step = _trainer(backend, given, weights)
            taken = count()
            run = partial(_next, step, batch, taken, values["lr"])
            entries[contender.name]["losses"] = [run() for _ in range(_WATCHED)]
            runs[contender.name] = run
        except Exception as error:
            failed(contender.name, error)
    samples, orders = interleave(
        dict(runs),
        steps.stopwatch,
        rounds=request["rounds"],
        seconds=request["seconds"],
        seed=request["seed"],
        failed=failed,
        begins=lambda name: tell("times", name=name),
    )
    tokens = values["batch_size"] * values["sequence"]
    for name in runs:
        entries[name]["ms"] = spread(samples[name], 1000)
        if name != ALONE:
            rates = [tokens / seconds for seconds in samples[name]]
            entries[name]["tokens_per_second"] = spread(rates)
    case = {
        "preset": request["preset"],
        "tensors": len(shapes),
        "parameters": architecture.parameter_count(),
        "tokens": tokens,
        "orders": orders,
        "contenders": list(entries.values()),
    }
    return {"device": device, "notes": steps.notes(), "cases": [case]}


def complete(result: dict[str, Any]) -> None:
    """Add the ratios: of the trainer to each loop, and of the optimizer to the trainer's step."""
    for case in result["cases"]:
        measured = {e["name"]: e for e in case["contenders"] if e["status"] == "measured"}
        trainer, alone = measured.get(TRAINER), measured.get(ALONE)
        for name, entry in measured.items():
            if name not in (TRAINER, ALONE) and trainer is not None:
                entry["trainer_times"] = entry["ms"]["median"] / trainer["ms"]["median"]
        case["optimizer_share"] = None
        if trainer is not None and alone is not None:
            case["optimizer_share"] = alone["ms"]["median"] / trainer["ms"]["median"]


def _trainer(backend: str, given: EngineSettings, weights: dict[str, Any]) -> Step:
    engine = build_engine(backend, given, weights)
    return lambda tokens, lr: engine.train_step(tokens, lr).loss


def _next(step: Step, batch: Callable[[int], Any], taken: "count[int]", lr: float) -> float:
    """The next step of a loop; the learning rate changes as under a schedule."""
    number = next(taken)
    return step(batch(number), lr / (1 + number))


def _batch(text: NDArray[np.uint8], values: dict[str, Any], step: int) -> NDArray[np.int32]:
    return training_batch(
        text,
        seed=0,
        step=step,
        batch_size=values["batch_size"],
        sequence=values["sequence"],
    )


def _text() -> NDArray[np.uint8]:
    """A million random letters: what is in the text makes no step slower or faster."""
    return np.random.default_rng(0).integers(97, 123, 1_000_000, np.uint8)
