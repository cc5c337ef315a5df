"""Where an implementation left what is allowed."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lion_ports.config import scheduled
from lion_ports.conformance.bits import hexadecimal, reals
from lion_ports.conformance.trial import Snapshot, Trial

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Finding:
    """The first element at which an implementation left what is allowed."""

    what: str
    step: int
    parameter: str
    index: tuple[int, ...] = ()
    inputs: tuple[tuple[str, str], ...] = ()
    allowed: str = ""
    came: str = ""

    def __str__(self) -> str:
        where = f"step {self.step}, {self.parameter}{list(self.index) if self.index else ''}"
        inputs = ", ".join(f"{name}={value}" for name, value in self.inputs)
        text = f"{where}: {self.what}"
        if self.allowed:
            text += f" came as {self.came}, allowed is {self.allowed}"
        return f"{text} ({inputs})" if inputs else text


def first(wrong: Bools) -> tuple[int, ...]:
    """The index of the first True."""
    return tuple(int(k) for k in np.argwhere(wrong)[0]) if wrong.ndim else ()


def found(
    what: str,
    trial: Trial,
    observed: list[Snapshot],
    i: int,
    name: str,
    at: tuple[int, ...],
    allowed: str,
    came: Any,
) -> Finding:
    """A finding at an element, with the inputs of the step that led to snapshot ``i``."""
    inputs: list[tuple[str, str]] = []
    if i > 0:
        before, step = observed[i - 1], trial.steps[i - 1]
        g = step.grads[name]
        inputs = [("x", hexadecimal(reals(before.params[name])[at]))]
        if g is not None:
            inputs.append(("g", hexadecimal(reals(g)[at])))
        if before.momentum is not None:
            inputs.append(("m", hexadecimal(reals(before.momentum[name])[at])))
        inputs.append(("lr", hexadecimal(trial.rate_at(i - 1, name))))
        updates = (i - 1) // trial.config.gradient_accumulation_steps
        inputs.append(("wd", hexadecimal(decay_at(trial, i - 1, updates, name))))
    return Finding(what, i, name, at, tuple(inputs), allowed, hexadecimal(came))


def decay_at(trial: Trial, step: int, updates: int, name: str) -> float:
    """The weight decay of a parameter as it is set (L-017).

    Args:
        trial: the trial.
        step: counted from 0; a setting of a parameter group may change before it.
        updates: the number of updates done before, which schedules see.
        name: of the parameter.
    """
    if trial.mask is not None and not trial.mask[name]:
        return 0.0
    weight_decay = trial.config_at(step, name).weight_decay
    return float(scheduled("weight_decay", weight_decay, updates))
